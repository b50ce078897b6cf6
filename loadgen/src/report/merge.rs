//! Parts of one run as one: threads were added up before, processes and machines are here.

use super::{ConnectionFigures, CpuFigures, Lag, MemoryFigures, Quantiles, Report, Verdict};
use crate::edge::add_log;
use crate::measure::Latency;
use std::fmt;

/// Reports that are not parts of one run. Told to the operator; exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeError {
    /// There is none.
    Nothing,
    /// They differ in this: not parts of one run.
    Unlike(&'static str),
    /// A histogram of this name cannot be read.
    Histogram(String),
}

impl fmt::Display for MergeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => out.write_str("no report to merge"),
            Self::Unlike(what) => write!(
                out,
                "the reports differ in their {what}: they are not parts of one run"
            ),
            Self::Histogram(name) => write!(out, "the histogram of {name} cannot be read"),
        }
    }
}

impl std::error::Error for MergeError {}

/// The report of the whole run from those of its parts: counts and histograms add up exactly; the span is the longest; the
/// worst verdict holds; what limited any part limited the run.
///
/// # Errors
/// See [`MergeError`].
pub fn merge(parts: &[Report]) -> Result<Report, MergeError> {
    let (first, others) = parts.split_first().ok_or(MergeError::Nothing)?;
    let mut sum = first.clone();
    for part in others {
        add(&mut sum, part)?;
    }
    Ok(sum)
}

fn add(sum: &mut Report, part: &Report) -> Result<(), MergeError> {
    for (unlike, what) in [
        (sum.schema != part.schema, "schema"),
        (sum.mode != part.mode, "mode"),
        (sum.target != part.target, "target"),
    ] {
        if unlike {
            return Err(MergeError::Unlike(what));
        }
    }
    // RFC 3339 in UTC sorts as time does.
    if part.started < sum.started {
        sum.started.clone_from(&part.started);
    }
    sum.duration_s = sum.duration_s.max(part.duration_s);
    sum.verdict = sum.verdict.max(part.verdict);
    sum.ok = sum.verdict == Verdict::Well;
    sum.saturated = sum.saturated.or(part.saturated);
    if let Some(sessions) = &part.sessions {
        sum.sessions.get_or_insert_default().add(sessions);
    }
    sum.messages.add(&part.messages);
    add_connections(&mut sum.connections, part.connections);
    for (name, latency) in &part.latency_us {
        let own = sum.latency_us.entry(name.clone()).or_default();
        let texts =
            [own.as_ref(), latency.as_ref()].map(|side| side.map(|side| side.hdr.as_deref()));
        *own = Quantiles::new(&both(name, texts)?);
    }
    let texts = [&sum.schedule_lag_us, &part.schedule_lag_us]
        .map(|side| side.as_ref().map(|lag| lag.hdr.as_deref()));
    sum.schedule_lag_us = Lag::new(&both("schedule_lag_us", texts)?);
    sum.cpu = cpu(sum, part);
    sum.memory = memory(sum.memory, part.memory);
    for (kind, count) in &part.errors {
        *sum.errors.entry(kind.clone()).or_default() += count;
    }
    add_log(&mut sum.intervals, &part.intervals);
    Ok(())
}

/// Both histograms in one; a side may have none.
fn both(name: &str, sides: [Option<Option<&str>>; 2]) -> Result<Latency, MergeError> {
    let mut sum = Latency::new();
    for text in sides.into_iter().flatten() {
        let latency = text.and_then(Latency::read);
        sum.add(&latency.ok_or_else(|| MergeError::Histogram(name.to_owned()))?);
    }
    Ok(sum)
}

const fn add_connections(sum: &mut ConnectionFigures, part: ConnectionFigures) {
    sum.opened += part.opened;
    sum.failed += part.failed;
    sum.peak += part.peak;
    sum.cycles += part.cycles;
}

/// CPU times add up; what a message costs follows from how many there were in the spans that were measured.
fn cpu(sum: &Report, part: &Report) -> CpuFigures {
    let driver_s = sum.cpu.driver_s + part.cpu.driver_s;
    // One part alone knows the server: all see the same one.
    let server_s = sum.cpu.server_s.or(part.cpu.server_s);
    let count = |cpu: &CpuFigures, each: Option<f64>| {
        each.map_or(0, |each| whole(cpu.driver_s * 1e6 / each))
    };
    let messages = [sum, part].map(|report| count(&report.cpu, report.cpu.driver_us_per_message));
    let connections =
        [sum, part].map(|report| count(&report.cpu, report.cpu.driver_us_per_connection));
    CpuFigures::of(
        driver_s,
        server_s,
        messages.iter().sum(),
        connections.iter().sum(),
    )
}

fn memory(sum: MemoryFigures, part: MemoryFigures) -> MemoryFigures {
    let driver = [sum.driver_rss_bytes, part.driver_rss_bytes];
    MemoryFigures {
        driver_rss_bytes: driver
            .into_iter()
            .flatten()
            .reduce(|one, other| one + other),
        server_rss_bytes: sum.server_rss_bytes.or(part.server_rss_bytes),
        server_bytes_per_connection: None,
    }
}

fn whole(count: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count; a float casts saturating"
    )]
    let whole = count.round() as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;
    use crate::measure::Sessions;

    #[test]
    fn parts_add_up_to_the_whole() {
        // One run of spans 1 to 100 ms, and the same in parts of odd and even ones.
        let whole = report(1..=100);
        let parts = [report((1..=100).step_by(2)), report((2..=100).step_by(2))];
        let merged = merge(&parts).unwrap();
        assert_eq!(merged.latency_us, whole.latency_us);
        assert_eq!(merged.schedule_lag_us, whole.schedule_lag_us);
        assert_eq!(
            (merged.messages, merged.sessions),
            (whole.messages, whole.sessions)
        );
        assert_eq!(
            merged.sessions,
            Some(Sessions {
                scheduled: 100,
                completed: 100,
                failed: 0
            })
        );
        assert_eq!(merged.cpu, whole.cpu);
        assert_eq!(merge(&parts[..1]).unwrap(), parts[0]);
    }

    #[test]
    fn the_worst_verdict_holds() {
        let well = report(1..=2);
        let faulty = Report {
            verdict: Verdict::Faulty,
            ok: false,
            ..well.clone()
        };
        let merged = merge(&[well, faulty]).unwrap();
        assert_eq!((merged.verdict, merged.ok), (Verdict::Faulty, false));
    }

    #[test]
    fn strangers_are_refused() {
        let one = report(1..=2);
        let other = Report {
            target: "http://127.0.0.1:2".into(),
            ..one.clone()
        };
        assert_eq!(
            merge(&[one.clone(), other]),
            Err(MergeError::Unlike("target"))
        );
        assert_eq!(merge(&[]), Err(MergeError::Nothing));
        let mut broken = one.clone();
        broken.latency_us.insert(
            "setup".into(),
            Some(Quantiles {
                hdr: Some("x".into()),
                ..Quantiles::new(&latency()).unwrap()
            }),
        );
        assert_eq!(
            merge(&[one, broken]),
            Err(MergeError::Histogram("setup".into()))
        );
    }

    fn latency() -> Latency {
        let mut latency = Latency::new();
        latency.record_ns(1_000);
        latency
    }
}
