//! The result of a run: every figure, as JSON (schema 1) and as a few lines of text; and how results of parts add up.
//!
//! A [`Report`] is what the JSON file holds, neither more nor less: written by one program, read by another, merged by
//! [`merge`] without loss, since every percentile comes with its whole histogram. What is not known is null.

mod compare;
mod merge;
mod text;

pub use compare::table;
pub use merge::{MergeError, merge};

use crate::edge::{Finished, Interval, Machine};
use crate::measure::{Latencies, Latency, Sessions, Tally};
use crate::options::{Mode, Options};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// How a run ended, as the program's exit code says it. In ascending order of what outranks what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All well: 0.
    Well,
    /// Messages lost, duplicated, reordered, corrupted or misrouted: 1.
    Faulty,
    /// The target failed: connections did not come about or broke: 3.
    TargetFailed,
    /// This machine's ports or descriptors did not suffice: 2.
    Limits,
    /// Stopped by the operator: 130.
    Stopped,
}

impl Verdict {
    /// Judges a run. Ctrl-C outranks all; a target that is gone, or was never there, outranks what became of messages. In a
    /// storm connections may fail as long as every session comes about.
    #[must_use]
    pub fn of(finished: &Finished) -> Self {
        let connections = finished.connections;
        let gone = !finished.all_opened
            || (connections.failed > 0 && connections.failed >= connections.opened);
        let unwell = match finished.sessions {
            Some(sessions) => sessions.failed > 0,
            None => connections.failed > 0,
        };
        if finished.stopped {
            Self::Stopped
        } else if exhausted(finished).is_some() && (unwell || !finished.all_opened) {
            Self::Limits
        } else if gone && (unwell || !finished.all_opened) {
            Self::TargetFailed
        } else if !finished.tally.is_clean() {
            Self::Faulty
        } else if unwell {
            Self::TargetFailed
        } else {
            Self::Well
        }
    }

    /// The exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Faulty => 1,
            Self::Limits => 2,
            Self::TargetFailed => 3,
            Self::Stopped => 130,
        }
    }
}

/// What limited a run on the driver's side, so that its figures are the driver's and not the target's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Saturated {
    /// The driver's CPUs.
    Cpu,
    /// Sessions began too late: the driver was not given the CPU in time.
    Lag,
    /// Local ports: more source addresses are needed.
    Ports,
    /// Descriptors.
    Descriptors,
}

/// Every figure of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Of this layout: 1.
    pub schema: u32,
    /// What kind of load.
    pub mode: Mode,
    /// The target as given.
    pub target: String,
    /// All flags by their names.
    pub arguments: serde_json::Value,
    /// When it began, RFC 3339.
    pub started: String,
    /// Seconds that the counts and CPU times span.
    pub duration_s: f64,
    /// Whether all was well.
    pub ok: bool,
    /// How it ended.
    pub verdict: Verdict,
    /// What limited it on the driver's side.
    pub saturated: Option<Saturated>,
    /// By how much sessions began later than they were due.
    pub schedule_lag_us: Option<Lag>,
    /// Sessions by what became of them.
    pub sessions: Option<Sessions>,
    /// Connections by what became of them.
    pub connections: ConnectionFigures,
    /// Messages by what became of them.
    pub messages: Tally,
    /// Spans: `connect` (from the moment that was due), `tls` and `upgrade` (each from the step before), `offer_answer` (from
    /// the answer 101), `message` (from composing to reading), `setup` (from the moment that was due to the SDP answer).
    pub latency_us: BTreeMap<String, Option<Quantiles>>,
    /// CPU time of both sides.
    pub cpu: CpuFigures,
    /// Memory of both sides.
    pub memory: MemoryFigures,
    /// Failures by kind.
    pub errors: BTreeMap<String, u64>,
    /// Second by second.
    pub intervals: Vec<Interval>,
    /// The machine that drove it.
    pub machine: Machine,
    /// Of the programs.
    pub versions: BTreeMap<String, String>,
}

/// The schedule's lag in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    /// 99th percentile.
    pub p99: u64,
    /// Longest.
    pub max: u64,
    /// The histogram, see [`Quantiles::hdr`].
    #[serde(default)]
    pub hdr: Option<String>,
}

/// Connections by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFigures {
    /// Reached the answer 101.
    pub opened: u64,
    /// Did not, or ended otherwise than we wanted.
    pub failed: u64,
    /// Most at one time; of several threads or processes the sum of theirs, an upper bound.
    pub peak: u64,
    /// Opened and closed in the measured span (connect).
    #[serde(default)]
    pub cycles: u64,
}

/// A histogram in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Values in it.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Highest.
    pub max: u64,
    /// HDR V2 deflate in base64: merges exactly with others.
    pub hdr: Option<String>,
}

/// CPU time, in seconds and for each message and connection of the measured span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuFigures {
    /// Of the driver.
    pub driver_s: f64,
    /// Of the server's process, if it was named.
    pub server_s: Option<f64>,
    /// Microseconds of the driver for a message.
    pub driver_us_per_message: Option<f64>,
    /// Microseconds of the server for a message.
    pub server_us_per_message: Option<f64>,
    /// Microseconds of the driver for a connection (connect) or a session.
    #[serde(default)]
    pub driver_us_per_connection: Option<f64>,
    /// Microseconds of the server for a connection (connect) or a session.
    #[serde(default)]
    pub server_us_per_connection: Option<f64>,
}

/// Memory in bytes at the end of the measured span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryFigures {
    /// Resident, of the driver.
    pub driver_rss_bytes: Option<u64>,
    /// Resident, of the server.
    pub server_rss_bytes: Option<u64>,
    /// By how much the server grew for each connection (idle, relay).
    #[serde(default)]
    pub server_bytes_per_connection: Option<f64>,
}

impl Report {
    /// The report of a run.
    #[must_use]
    pub fn new(options: &Options, finished: &Finished, machine: &Machine) -> Self {
        let connections = finished.connections;
        let verdict = Verdict::of(finished);
        Self {
            schema: SCHEMA,
            mode: options.mode,
            target: options.target.clone(),
            arguments: serde_json::to_value(options).unwrap_or_default(),
            started: rfc3339(finished.started),
            duration_s: finished.duration_s,
            ok: verdict == Verdict::Well,
            verdict,
            saturated: saturated(options.mode, finished),
            schedule_lag_us: Lag::new(&finished.latencies.lag),
            sessions: finished.sessions,
            connections: ConnectionFigures {
                opened: connections.opened,
                failed: connections.failed,
                peak: connections.peak,
                cycles: finished.cycles,
            },
            messages: finished.tally,
            latency_us: quantiles(&finished.latencies),
            cpu: CpuFigures::of(
                finished.driver_cpu_ns as f64 / 1e9,
                finished.server_cpu_ns.map(|ns| ns as f64 / 1e9),
                finished.messages,
                finished
                    .sessions
                    .map_or(finished.cycles, |sessions| sessions.completed),
            ),
            memory: MemoryFigures {
                driver_rss_bytes: finished.driver_rss_bytes,
                server_rss_bytes: finished.server_rss_bytes,
                server_bytes_per_connection: finished.server_bytes_per_connection,
            },
            errors: finished.errors.kinds().clone(),
            intervals: finished.intervals.clone(),
            machine: machine.clone(),
            versions: BTreeMap::from([("loadgen".into(), env!("CARGO_PKG_VERSION").into())]),
        }
    }

    /// The report as JSON text.
    ///
    /// # Errors
    /// None in practice: everything in it has a JSON form.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

impl CpuFigures {
    /// CPU time in seconds, over so many messages and connections.
    fn of(driver_s: f64, server_s: Option<f64>, messages: u64, connections: u64) -> Self {
        let each = |seconds: f64, count: u64| (count > 0).then(|| seconds * 1e6 / count as f64);
        Self {
            driver_s,
            server_s,
            driver_us_per_message: each(driver_s, messages),
            server_us_per_message: server_s.and_then(|s| each(s, messages)),
            driver_us_per_connection: each(driver_s, connections),
            server_us_per_connection: server_s.and_then(|s| each(s, connections)),
        }
    }
}

impl Lag {
    fn new(lag: &Latency) -> Option<Self> {
        let histogram = lag.histogram();
        (!histogram.is_empty()).then(|| Self {
            p99: histogram.value_at_quantile(0.99),
            max: histogram.max(),
            hdr: lag.text(),
        })
    }
}

impl Quantiles {
    fn new(latency: &Latency) -> Option<Self> {
        let histogram = latency.histogram();
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
            hdr: latency.text(),
        })
    }
}

fn quantiles(latencies: &Latencies) -> BTreeMap<String, Option<Quantiles>> {
    let named = [
        ("connect", &latencies.connect),
        ("tls", &latencies.tls),
        ("upgrade", &latencies.upgrade),
        ("offer_answer", &latencies.offer_answer),
        ("message", &latencies.message),
        ("setup", &latencies.setup),
    ];
    named
        .map(|(name, latency)| (name.to_owned(), Quantiles::new(latency)))
        .into()
}

/// What limited the run. A storm begins all at once, so that its lag says nothing.
fn saturated(mode: Mode, finished: &Finished) -> Option<Saturated> {
    let lag = finished.latencies.lag.histogram();
    let late = mode == Mode::Sessions && lag.value_at_quantile(0.99) > LAG_US_MAX;
    exhausted(finished)
        .or_else(|| (finished.driver_busy > BUSY_MAX).then_some(Saturated::Cpu))
        .or_else(|| late.then_some(Saturated::Lag))
}

/// What this machine had too little of.
fn exhausted(finished: &Finished) -> Option<Saturated> {
    let kinds = finished.errors.kinds();
    let some = |kind: &str| kinds.get(kind).is_some_and(|&count| count > 0);
    if some("ports_exhausted") {
        Some(Saturated::Ports)
    } else if some("descriptors_exhausted") {
        Some(Saturated::Descriptors)
    } else {
        None
    }
}

/// A moment as `2026-01-31T23:59:59Z`.
fn rfc3339(moment: SystemTime) -> String {
    let seconds = moment
        .duration_since(UNIX_EPOCH)
        .map_or(0, |span| span.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = codec::calendar::civil(days.cast_signed());
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The layout of the JSON file.
const SCHEMA: u32 = 1;
/// From this share of its CPUs on the driver is what limits the run.
const BUSY_MAX: f64 = 0.95;
/// From this 99th percentile of the schedule's lag on the driver is what limits the run, in microseconds.
const LAG_US_MAX: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Errors;
    use std::time::Duration;

    #[test]
    fn moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn histograms_survive_the_file() {
        let mut latency = Latency::new();
        (1..1000).for_each(|us| latency.record_ns(us * 1000));
        assert_eq!(Latency::read(&latency.text().unwrap()), Some(latency));
        assert_eq!(Latency::read("AAAA"), None);
    }

    /// A report of one session for each of these spans in milliseconds, at 1 ms of the driver's CPU each.
    pub(super) fn report(spans_ms: impl Iterator<Item = u64>) -> Report {
        use clap::Parser;
        let line = crate::options::CommandLine::parse_from([
            "loadgen",
            "run",
            "--target",
            "http://127.0.0.1:1",
        ]);
        let crate::options::Command::Run(options) = line.command else {
            panic!("it is a run");
        };
        let mut finished = Finished::blank(UNIX_EPOCH);
        finished.all_opened = true;
        let sessions = finished.sessions.get_or_insert_default();
        for span in spans_ms {
            sessions.scheduled += 1;
            sessions.completed += 1;
            finished.messages += 10;
            finished.tally.sent += 10;
            finished.tally.received += 10;
            finished.latencies.setup.record_ns(span * 1_000_000);
            finished.latencies.lag.record_ns(span * 1_000);
            finished.driver_cpu_ns += 1_000_000;
        }
        Report::new(&options, &finished, &crate::edge::machine())
    }

    fn finished(change: impl Fn(&mut Finished)) -> Verdict {
        let mut finished = Finished::blank(UNIX_EPOCH);
        finished.all_opened = true;
        finished.connections.opened = 10;
        finished.sessions = Some(Sessions {
            scheduled: 10,
            completed: 10,
            failed: 0,
        });
        change(&mut finished);
        Verdict::of(&finished)
    }

    #[test]
    fn verdicts_by_rank() {
        let errors = |kind: &str| {
            let mut errors = Errors::default();
            errors.count(kind);
            errors
        };
        assert_eq!(finished(|_| {}), Verdict::Well);
        assert_eq!(
            finished(|run| run.connections.failed = 100),
            Verdict::Well,
            "a storm may fail and come back"
        );
        assert_eq!(finished(|run| run.tally.lost = 1), Verdict::Faulty);
        let unwell = |run: &mut Finished| {
            run.sessions = Some(Sessions {
                failed: 1,
                ..Sessions::default()
            })
        };
        assert_eq!(finished(unwell), Verdict::TargetFailed);
        assert_eq!(
            finished(|run| (unwell(run), run.tally.lost = 1).1),
            Verdict::Faulty
        );
        assert_eq!(
            finished(|run| (unwell(run), run.connections.failed = 10, run.tally.lost = 1).2),
            Verdict::TargetFailed
        );
        assert_eq!(
            finished(|run| (unwell(run), run.errors = errors("ports_exhausted")).1),
            Verdict::Limits
        );
        assert_eq!(
            finished(|run| run.all_opened = false),
            Verdict::TargetFailed
        );
        assert_eq!(
            finished(|run| (run.stopped = true, run.tally.lost = 1).1),
            Verdict::Stopped
        );
    }
}
