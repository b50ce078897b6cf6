//! The waits of healthy clients for what they do, alone and under attack, and when these are too long.

use std::time::Duration;

/// p99 under attack at most, in milliseconds, or this many times the quiet one if that is more (full runs).
const P99_MS_MAX: f64 = 5.0;
const TIMES_QUIET_MAX: f64 = 3.0;

/// An operation that a healthy client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// A message of a viewer, at its master.
    Relay,
    /// A connection and the answer to its upgrade.
    Connect,
    /// DescribeSignalingChannel.
    Describe,
    /// ListSignalingChannels.
    List,
}

impl Wait {
    /// All, in the order of the table.
    pub(crate) const ALL: [Self; 4] = [Self::Relay, Self::Connect, Self::Describe, Self::List];

    fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Connect => "connect",
            Self::Describe => "describe",
            Self::List => "list",
        }
    }
}

/// The samples of all waits, by when each began.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    pub(crate) quiet: Samples,
    pub(crate) attacked: Samples,
}

/// Spans in microseconds, by what was waited for.
#[derive(Debug, Default)]
pub(crate) struct Samples([Vec<u32>; Wait::ALL.len()]);

impl Latencies {
    /// Takes in those of another client.
    pub(crate) fn add(&mut self, other: Self) {
        self.quiet.add(other.quiet);
        self.attacked.add(other.attacked);
    }

    /// The faults of those that are judged: those that are too long, and those that nobody waited for.
    pub(crate) fn faults(&self, judged: &[Wait]) -> Vec<String> {
        let fault = |wait: &Wait| {
            let name = wait.name();
            let (Some(quiet), Some(attacked)) =
                (self.quiet.p99_ms(*wait), self.attacked.p99_ms(*wait))
            else {
                return Some(format!("no {name} was measured"));
            };
            (attacked > P99_MS_MAX.max(TIMES_QUIET_MAX * quiet)).then(|| {
                format!(
                    "p99 of {name} {attacked:.2} ms, quiet {quiet:.2} ms; at most {P99_MS_MAX} ms or \
                     {TIMES_QUIET_MAX} times quiet"
                )
            })
        };
        judged.iter().filter_map(fault).collect()
    }
}

impl Samples {
    /// Notes one.
    pub(crate) fn note(&mut self, wait: Wait, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.0[wait as usize].push(micros);
    }

    /// The number of samples of this kind.
    pub(crate) fn count(&self, wait: Wait) -> usize {
        self.0[wait as usize].len()
    }

    /// The p99 of each kind for the table, in milliseconds; a dash for those that nobody waited for.
    pub(crate) fn column(&self) -> String {
        let p99 = |wait| match self.p99_ms(wait) {
            Some(ms) => format!("{ms:.2}"),
            None => "–".to_owned(),
        };
        Wait::ALL.map(p99).join(" / ") + " ms"
    }

    fn add(&mut self, other: Self) {
        for (own, more) in self.0.iter_mut().zip(other.0) {
            own.extend(more);
        }
    }

    fn p99_ms(&self, wait: Wait) -> Option<f64> {
        let mut sorted = self.0[wait as usize].clone();
        sorted.sort_unstable();
        let micros = sorted.get(sorted.len() * 99 / 100)?;
        Some(f64::from(*micros) / 1000.0)
    }
}
