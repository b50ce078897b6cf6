//! What a run came to, as the document that is written, read, merged and shown.

use crate::edge::{Finished, Interval, Machine};
use crate::measure::{Errors, Latencies, Sessions, Tally};
use crate::options::{Mode, Options};
use crate::result::{
    self, Arguments, Cpu, Document, Memory, Saturated, ScheduleLag, Spread, Verdict,
};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// The document of a run.
#[must_use]
pub fn document(options: &Options, finished: &Finished, machine: &Machine) -> Document {
    let mut document = Document::new(
        options.mode.name(),
        &options.target,
        members(options),
        rfc3339(finished.started),
    );
    let verdict = verdict(finished);
    document.duration_s = finished.duration_s;
    document.ok = verdict == Verdict::Well;
    document.verdict = Some(verdict);
    document.saturated = saturated(options.mode, finished);
    document.schedule_lag_us = ScheduleLag::of(finished.latencies.lag.histogram());
    if let Some(sessions) = finished.sessions {
        document.sessions = sessions_of(sessions);
    }
    document.connections = result::Connections {
        opened: Some(finished.connections.opened),
        failed: Some(finished.connections.failed),
        peak: Some(finished.connections.peak),
        cycles: finished.sessions.is_none().then_some(finished.cycles),
    };
    document.messages = messages(&finished.tally);
    document.latency_us = latencies(&finished.latencies);
    // What a session costs stands where what a connection costs does: it has one.
    let cycles = finished
        .sessions
        .map_or(finished.cycles, |sessions| sessions.completed);
    let seconds = |ns: u64| ns as f64 / 1e9;
    let server_s = finished.server_cpu_ns.map(seconds);
    document.cpu = Cpu::of(
        seconds(finished.driver_cpu_ns),
        server_s,
        finished.messages,
        cycles,
    );
    document.memory = Memory {
        driver_rss_bytes: finished.driver_rss_bytes,
        server_rss_bytes: finished.server_rss_bytes,
        server_bytes_per_connection: finished.server_bytes_per_connection,
    };
    document.errors.clone_from(finished.errors.kinds());
    document.intervals = finished.intervals.iter().map(interval).collect();
    document.machine = members(machine);
    document.versions = Arguments::from([("loadgen".into(), env!("CARGO_PKG_VERSION").into())]);
    document
}

/// The members of a value as a document lists them: flags by their names, say.
#[must_use]
pub fn members(value: &impl Serialize) -> Arguments {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::Object(members)) => members.into_iter().collect(),
        Ok(_) | Err(_) => Arguments::new(),
    }
}

/// Judges a run. Ctrl-C outranks all; a target that is gone, or was never there, outranks what became of messages. In a storm
/// connections may fail as long as every session comes about.
fn verdict(finished: &Finished) -> Verdict {
    let connections = finished.connections;
    let gone = connections.failed > 0 && connections.failed >= connections.opened;
    let unwell = match finished.sessions {
        Some(sessions) => sessions.failed > 0,
        None => connections.failed > 0,
    } || !finished.all_opened;
    if finished.stopped {
        Verdict::Stopped
    } else if unwell && exhausted(&finished.errors).is_some() {
        Verdict::Limits
    } else if unwell && (gone || !finished.all_opened) {
        Verdict::TargetFailed
    } else if !finished.tally.is_clean() {
        Verdict::Faulty
    } else if unwell {
        Verdict::TargetFailed
    } else {
        Verdict::Well
    }
}

/// What limited the run. A storm begins all at once, so that its lag says nothing.
fn saturated(mode: Mode, finished: &Finished) -> Option<Saturated> {
    let lag = finished.latencies.lag.histogram();
    let late = mode == Mode::Sessions && lag.value_at_quantile(0.99) > LAG_US_MAX;
    exhausted(&finished.errors)
        .or_else(|| (finished.driver_busy > BUSY_MAX).then_some(Saturated::Cpu))
        .or_else(|| late.then_some(Saturated::Lag))
}

/// What this machine had too little of.
fn exhausted(errors: &Errors) -> Option<Saturated> {
    let some = |kind: &str| errors.kinds().get(kind).is_some_and(|&count| count > 0);
    if some("descriptors_exhausted") {
        Some(Saturated::Descriptors)
    } else if some("ports_exhausted") {
        Some(Saturated::Ports)
    } else {
        None
    }
}

const fn sessions_of(sessions: Sessions) -> result::Sessions {
    result::Sessions {
        scheduled: Some(sessions.scheduled),
        completed: Some(sessions.completed),
        failed: Some(sessions.failed),
    }
}

const fn messages(tally: &Tally) -> result::Messages {
    result::Messages {
        sent: Some(tally.sent),
        received: Some(tally.received),
        lost: Some(tally.lost),
        duplicated: Some(tally.duplicated),
        reordered: Some(tally.reordered),
        corrupted: Some(tally.corrupted),
        misrouted: Some(tally.misrouted),
    }
}

fn latencies(latencies: &Latencies) -> result::Latencies {
    result::Latencies {
        connect: Spread::of(latencies.connect.histogram()),
        tls: Spread::of(latencies.tls.histogram()),
        upgrade: Spread::of(latencies.upgrade.histogram()),
        offer_answer: Spread::of(latencies.offer_answer.histogram()),
        message: Spread::of(latencies.message.histogram()),
        setup: Spread::of(latencies.setup.histogram()),
    }
}

fn interval(interval: &Interval) -> result::Interval {
    let seen = result::Interval {
        t_s: interval.t_s,
        sessions: interval.sessions,
        messages: Some(interval.messages),
        open: Some(interval.open),
        errors: Some(interval.errors),
        ..result::Interval::default()
    };
    match interval.latency() {
        Some(spans) => seen.with_latencies(spans.histogram()),
        None => seen,
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

/// From this share of its CPUs on the driver is what limits the run.
const BUSY_MAX: f64 = 0.95;
/// From this 99th percentile of the schedule's lag on the driver is what limits the run, in microseconds.
const LAG_US_MAX: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
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

    /// The verdict of a run in which all was well but for this change.
    fn judged(change: impl Fn(&mut Finished)) -> Verdict {
        let mut finished = Finished::blank(UNIX_EPOCH);
        finished.all_opened = true;
        finished.connections.opened = 10;
        finished.sessions = Some(Sessions {
            scheduled: 10,
            completed: 10,
            failed: 0,
        });
        change(&mut finished);
        verdict(&finished)
    }

    fn unwell(run: &mut Finished) {
        run.sessions.get_or_insert_default().failed = 1;
    }

    #[test]
    fn verdicts_by_rank() {
        assert_eq!(judged(|_| {}), Verdict::Well);
        let storm = |run: &mut Finished| run.connections.failed = 100;
        assert_eq!(
            judged(storm),
            Verdict::Well,
            "connections may fail and come back"
        );
        assert_eq!(judged(|run| run.tally.lost = 1), Verdict::Faulty);
        assert_eq!(judged(unwell), Verdict::TargetFailed);
        assert_eq!(judged(|run| run.all_opened = false), Verdict::TargetFailed);
        let lossy = |run: &mut Finished| {
            unwell(run);
            run.tally.lost = 1;
        };
        assert_eq!(judged(lossy), Verdict::Faulty);
        let gone = |run: &mut Finished| {
            lossy(run);
            run.connections.failed = 10;
        };
        assert_eq!(judged(gone), Verdict::TargetFailed);
        let short = |run: &mut Finished| {
            gone(run);
            run.errors.count("ports_exhausted");
        };
        assert_eq!(judged(short), Verdict::Limits);
        let stopped = |run: &mut Finished| {
            short(run);
            run.stopped = true;
        };
        assert_eq!(judged(stopped), Verdict::Stopped);
    }

    #[test]
    fn what_limits_the_driver_is_said() {
        let judged = |mode, change: &dyn Fn(&mut Finished)| {
            let mut finished = Finished::blank(UNIX_EPOCH);
            change(&mut finished);
            saturated(mode, &finished)
        };
        let late: &dyn Fn(&mut Finished) = &|run| run.latencies.lag.record_ns(30_000_000);
        assert_eq!(judged(Mode::Sessions, &|_| {}), None);
        assert_eq!(judged(Mode::Sessions, late), Some(Saturated::Lag));
        assert_eq!(judged(Mode::Storm, late), None);
        assert_eq!(
            judged(Mode::Relay, &|run| run.driver_busy = 0.97),
            Some(Saturated::Cpu)
        );
        let ports: &dyn Fn(&mut Finished) = &|run| run.errors.count("ports_exhausted");
        assert_eq!(judged(Mode::Storm, ports), Some(Saturated::Ports));
    }
}
