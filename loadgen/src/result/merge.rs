//! Adds up the documents of the parts of one run: `--processes`, or `--part K/N` on several machines.
//!
//! Exact: histograms are added and quantiles read from the sum, never averaged; counts are summed; what one part does
//! not know the sum does not know. The order of the parts does not matter.

use crate::result::{
    Arguments, Connections, Cpu, CutOff, Document, Interval, Latencies, Memory, Messages,
    ScheduleLag, Sessions, Spread, TargetCounts, spread,
};
use serde_json::Value;
use thiserror::Error;

/// Adds up the parts of one run.
///
/// Intervals are added one by one from the beginning of each part: parts are meant to start together. Peaks are summed,
/// which is their upper bound. The service is one, so of its CPU time and memory the largest report counts. Arguments,
/// machines and versions that differ become lists.
///
/// # Errors
/// There are none, or they are not parts of one run; see [`MergeError`].
pub fn merge(parts: &[Document]) -> Result<Document, MergeError> {
    let (first, rest) = parts.split_first().ok_or(MergeError::Nothing)?;
    let mut sum = first.clone();
    for part in rest {
        for (what, one, other) in [
            ("mode", &sum.mode, &part.mode),
            ("target", &sum.target, &part.target),
        ] {
            if one != other {
                return Err(MergeError::Differ(what, one.clone(), other.clone()));
            }
        }
        sum = add(&sum, part);
    }
    Ok(sum)
}

/// Why documents were not merged. Shown to the operator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MergeError {
    /// None was given.
    #[error("nothing to merge: at least one report is needed")]
    Nothing,
    /// This member differs, so that they are not parts of one run.
    #[error(
        "these are not parts of one run: {0} is {1} and {2}; leave out --merge to see them side by side"
    )]
    Differ(&'static str, String, String),
}

fn add(one: &Document, other: &Document) -> Document {
    Document {
        schema: one.schema,
        mode: one.mode.clone(),
        target: one.target.clone(),
        arguments: lists(&one.arguments, &other.arguments),
        started: one.started.clone().min(other.started.clone()),
        duration_s: one.duration_s.max(other.duration_s),
        ok: one.ok && other.ok,
        verdict: one
            .verdict
            .zip(other.verdict)
            .map(|(one, other)| one.max(other)),
        saturated: match (one.saturated, other.saturated) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        },
        schedule_lag_us: lag(&one.schedule_lag_us, &other.schedule_lag_us),
        sessions: Sessions {
            scheduled: plus(one.sessions.scheduled, other.sessions.scheduled),
            completed: plus(one.sessions.completed, other.sessions.completed),
            failed: plus(one.sessions.failed, other.sessions.failed),
        },
        connections: Connections {
            opened: plus(one.connections.opened, other.connections.opened),
            failed: plus(one.connections.failed, other.connections.failed),
            peak: plus(one.connections.peak, other.connections.peak),
            cycles: plus(one.connections.cycles, other.connections.cycles),
            resumed: plus(one.connections.resumed, other.connections.resumed),
        },
        targets: targets(&one.targets, &other.targets),
        cut_off: CutOff {
            channels: plus(one.cut_off.channels, other.cut_off.channels),
            recovered: plus(one.cut_off.recovered, other.cut_off.recovered),
        },
        messages: messages(&one.messages, &other.messages),
        latency_us: latencies(&one.latency_us, &other.latency_us),
        cpu: cpu(&one.cpu, &other.cpu),
        memory: Memory {
            driver_rss_bytes: plus(one.memory.driver_rss_bytes, other.memory.driver_rss_bytes),
            server_rss_bytes: one
                .memory
                .server_rss_bytes
                .max(other.memory.server_rss_bytes),
            server_bytes_per_connection: None, // each part saw the growth that all caused
        },
        errors: {
            let mut errors = one.errors.clone();
            for (kind, count) in &other.errors {
                let sum = errors.entry(kind.clone()).or_default();
                *sum = sum.saturating_add(*count);
            }
            errors
        },
        request_ids: {
            let mut ids = other.request_ids.clone();
            ids.extend(one.request_ids.clone());
            ids
        },
        intervals: intervals(&one.intervals, &other.intervals),
        machine: lists(&one.machine, &other.machine),
        versions: lists(&one.versions, &other.versions),
    }
}

/// The sum of two counts; unknown if either is.
fn plus(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.zip(other).map(|(one, other)| one.saturating_add(other))
}

/// Both count the same targets in the same order, or one of them none.
fn targets(one: &[TargetCounts], other: &[TargetCounts]) -> Vec<TargetCounts> {
    let mut sum = one.to_vec();
    for (place, counts) in other.iter().enumerate() {
        match sum.get_mut(place) {
            Some(sum) => {
                sum.opened = sum.opened.saturating_add(counts.opened);
                sum.failed = sum.failed.saturating_add(counts.failed);
            }
            None => sum.push(counts.clone()),
        }
    }
    sum
}

fn messages(one: &Messages, other: &Messages) -> Messages {
    Messages {
        sent: plus(one.sent, other.sent),
        received: plus(one.received, other.received),
        lost: plus(one.lost, other.lost),
        duplicated: plus(one.duplicated, other.duplicated),
        reordered: plus(one.reordered, other.reordered),
        corrupted: plus(one.corrupted, other.corrupted),
        misrouted: plus(one.misrouted, other.misrouted),
        throttled: plus(one.throttled, other.throttled),
        refused: plus(one.refused, other.refused),
    }
}

fn latencies(one: &Latencies, other: &Latencies) -> Latencies {
    // Null is "no such span was seen", and thus adds nothing.
    let both = |one: &Option<Spread>, other: &Option<Spread>| match (one, other) {
        (Some(one), Some(other)) => Some(one.plus(other)),
        (one, other) => one.clone().or_else(|| other.clone()),
    };
    Latencies {
        connect: both(&one.connect, &other.connect),
        tls: both(&one.tls, &other.tls),
        upgrade: both(&one.upgrade, &other.upgrade),
        offer_answer: both(&one.offer_answer, &other.offer_answer),
        message: both(&one.message, &other.message),
        setup: both(&one.setup, &other.setup),
        recovery: both(&one.recovery, &other.recovery),
    }
}

/// The lag of both: exact where both have their histogram, else only the largest is known.
fn lag(one: &ScheduleLag, other: &ScheduleLag) -> ScheduleLag {
    let max = one.max.max(other.max);
    if other.max.is_none() {
        return one.clone();
    }
    if one.max.is_none() {
        return other.clone();
    }
    match both_histograms(one.hdr.as_deref(), other.hdr.as_deref()) {
        Some(spread) => ScheduleLag {
            p99: spread.quantile(0.99),
            max,
            hdr: spread.hdr(),
        },
        None => ScheduleLag {
            p99: None,
            max,
            hdr: None,
        },
    }
}

fn both_histograms(one: Option<&str>, other: Option<&str>) -> Option<Spread> {
    let read = |text: &str| Spread::of(&spread::decode(text).ok()?);
    Some(read(one?)?.plus(&read(other?)?))
}

fn cpu(one: &Cpu, other: &Cpu) -> Cpu {
    // The number of messages behind the figures of a part follows from the quotient of its own.
    let count = |seconds: Option<f64>, each: Option<f64>| {
        let (seconds, each) = seconds.zip(each)?;
        (each > 0.0).then(|| seconds * 1e6 / each)
    };
    let sum = |of: fn(&Cpu) -> Option<f64>| {
        let counts = [one, other].map(|cpu| count(cpu.driver_s, of(cpu)).unwrap_or_default());
        counts.iter().sum::<f64>()
    };
    let driver_s = one
        .driver_s
        .zip(other.driver_s)
        .map(|(one, other)| one + other);
    let server_s = match (one.server_s, other.server_s) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    };
    let each =
        |seconds: Option<f64>, count: f64| seconds.filter(|_| count > 0.0).map(|s| s * 1e6 / count);
    let count_messages = sum(|cpu| cpu.driver_us_per_message);
    let count_connections = sum(|cpu| cpu.driver_us_per_connection);
    Cpu {
        driver_s,
        server_s,
        driver_us_per_message: each(driver_s, count_messages),
        server_us_per_message: each(server_s, count_messages),
        driver_us_per_connection: each(driver_s, count_connections),
        server_us_per_connection: each(server_s, count_connections),
    }
}

/// Both logs, interval by interval: the n-th of each ends n seconds after its beginning, or later if there was a stall.
/// A log without an entry adds nothing.
fn intervals(one: &[Interval], other: &[Interval]) -> Vec<Interval> {
    let (longer, shorter) = if one.len() >= other.len() {
        (one, other)
    } else {
        (other, one)
    };
    let both = longer.iter().zip(shorter);
    let both = both.map(|(one, other)| both_intervals(one, other));
    both.chain(longer.iter().skip(shorter.len()).cloned())
        .collect()
}

fn both_intervals(one: &Interval, other: &Interval) -> Interval {
    let mut sum = Interval {
        t_s: one.t_s.max(other.t_s),
        sessions: plus(one.sessions, other.sessions),
        messages: plus(one.messages, other.messages),
        open: plus(one.open, other.open),
        p50_us: None,
        p99_us: None,
        errors: plus(one.errors, other.errors),
        hdr: None,
    };
    if let Some(spread) = both_histograms(one.hdr.as_deref(), other.hdr.as_deref()) {
        sum.p50_us = spread.quantile(0.5);
        sum.p99_us = spread.quantile(0.99);
        sum.hdr = spread.hdr();
    } else if let Some(only) = match (one.p99_us, other.p99_us) {
        (Some(_), None) => Some(one),
        (None, Some(_)) => Some(other),
        (None, None) | (Some(_), Some(_)) => None,
    } {
        sum.p50_us = only.p50_us;
        sum.p99_us = only.p99_us;
        sum.hdr = only.hdr.clone();
    }
    sum
}

/// Values that both have in common stay; those that differ become a list of all, in a fixed order.
fn lists(one: &Arguments, other: &Arguments) -> Arguments {
    let mut all = Arguments::new();
    for name in one.keys().chain(other.keys()) {
        let values = [one.get(name), other.get(name)];
        let value = match values {
            [Some(one), Some(other)] if one == other => one.clone(),
            [Some(one), Some(other)] => list(one, other),
            [one, other] => one.or(other).cloned().unwrap_or_default(),
        };
        all.insert(name.clone(), value);
    }
    all
}

fn list(one: &Value, other: &Value) -> Value {
    let mut values: Vec<Value> = Vec::new();
    for value in [one, other] {
        match value {
            Value::Array(many) => values.extend(many.iter().cloned()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => {
                values.push(value.clone());
            }
        }
    }
    values.sort_by_cached_key(Value::to_string);
    values.dedup();
    values.into()
}

#[cfg(test)]
mod tests;
