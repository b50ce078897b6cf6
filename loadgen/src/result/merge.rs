//! Merges the documents of a run's parts (`--processes`, or `--part K/N` on several machines) by summing them.
//!
//! The sums are exact: histograms are added up, and quantiles are computed from the sum rather than averaged. A figure
//! that is unknown in one part is unknown in the sum. The order of the parts makes no difference.

use crate::result::{
    Cpu, Document, EventArguments, Interval, LatencyFigures, MemoryFigures, ScheduleLag, Spread,
    spread,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use thiserror::Error;

/// Merges the documents of a run's parts.
///
/// Intervals are summed pairwise. Each part counts them from its own start, which should be the same time for all
/// parts. The sum of the peaks is an upper bound. There is only one service, so its CPU time and its memory are the
/// highest values that any part reports. Arguments, machines and versions become lists if they differ.
///
/// # Errors
/// Returns a [`MergeError`] if there are no documents, or if they belong to different runs.
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

/// The documents cannot be merged. The error is shown to the operator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MergeError {
    /// No documents were given.
    #[error("nothing to merge: at least one report is needed")]
    Nothing,
    /// The documents differ in the named member, so they belong to different runs.
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
        saturated: one.saturated.into_iter().chain(other.saturated).min(),
        schedule_lag_us: lag(&one.schedule_lag_us, &other.schedule_lag_us),
        sessions: sum(&one.sessions, &other.sessions),
        connections: sum(&one.connections, &other.connections),
        targets: sum(&one.targets, &other.targets),
        cut_off: sum(&one.cut_off, &other.cut_off),
        messages: sum(&one.messages, &other.messages),
        latency_us: latencies(&one.latency_us, &other.latency_us),
        cpu: cpu(&one.cpu, &other.cpu),
        memory: MemoryFigures {
            server_rss_bytes: one
                .memory
                .server_rss_bytes
                .max(other.memory.server_rss_bytes),
            server_bytes_per_connection: None, // each part saw the growth caused by all parts
            ..sum(&one.memory, &other.memory)
        },
        errors: sum(&one.errors, &other.errors),
        request_ids: sum(&one.request_ids, &other.request_ids),
        intervals: intervals(&one.intervals, &other.intervals),
        machine: lists(&one.machine, &other.machine),
        versions: lists(&one.versions, &other.versions),
    }
}

fn sum<T: Serialize + DeserializeOwned>(one: &T, other: &T) -> T {
    let [one, other] = [one, other].map(serde_json::to_value);
    let both = one.and_then(|one| serde_json::from_value(plus(one, other?)));
    both.expect("the sum of two groups has the members of both")
}

/// Sums two values. Numbers are added, and a figure that is unknown in either value is unknown in the sum. Members that
/// only one value has, such as a failure kind, are kept. Lists are added element by element. For texts, the first one
/// is kept.
fn plus(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_u64(), other.as_u64()) {
            (Some(one), Some(other)) => one.saturating_add(other).into(),
            (_, _) => {
                let both = one.as_f64().zip(other.as_f64());
                // JSON cannot represent infinity.
                both.map(|(one, other)| (one + other).clamp(f64::MIN, f64::MAX))
                    .into()
            }
        },
        (Value::Object(mut one), Value::Object(other)) => {
            for (name, other) in other {
                let both = match one.remove(&name) {
                    Some(one) => plus(one, other),
                    None => other,
                };
                one.insert(name, both);
            }
            one.into()
        }
        (Value::Array(one), Value::Array(other)) => {
            let (mut one, mut other) = (one.into_iter(), other.into_iter());
            std::iter::from_fn(|| match (one.next(), other.next()) {
                (Some(one), Some(other)) => Some(plus(one, other)),
                (one, other) => one.or(other),
            })
            .collect()
        }
        (one @ Value::String(_), Value::String(_)) => one,
        (_, _) => Value::Null,
    }
}

fn latencies(one: &LatencyFigures, other: &LatencyFigures) -> LatencyFigures {
    // A null means that no value was recorded, so it adds nothing.
    let both = |one: &Option<Spread>, other: &Option<Spread>| {
        let all = one.iter().chain(other).cloned();
        all.reduce(|one, other| one.plus(&other))
    };
    LatencyFigures {
        connect: both(&one.connect, &other.connect),
        tls: both(&one.tls, &other.tls),
        upgrade: both(&one.upgrade, &other.upgrade),
        offer_answer: both(&one.offer_answer, &other.offer_answer),
        message: both(&one.message, &other.message),
        setup: both(&one.setup, &other.setup),
        recovery: both(&one.recovery, &other.recovery),
    }
}

/// Combines two schedule lags. If both have a histogram, the result is exact. Otherwise, only the maximum is known.
fn lag(one: &ScheduleLag, other: &ScheduleLag) -> ScheduleLag {
    match (one.max, other.max) {
        (_, None) => one.clone(),
        (None, Some(_)) => other.clone(),
        (Some(max), Some(other_max)) => match spread::both(&one.hdr, &other.hdr) {
            Some(histogram) => ScheduleLag::of(&histogram),
            None => ScheduleLag {
                max: Some(max.max(other_max)),
                ..ScheduleLag::default()
            },
        },
    }
}

fn cpu(one: &Cpu, other: &Cpu) -> Cpu {
    // Recover each part's message count from its CPU time and its CPU time per message.
    let count = |each: fn(&Cpu) -> Option<f64>| {
        let of = |cpu: &Cpu| Some(cpu.driver_s? * 1e6 / each(cpu).filter(|each| *each > 0.0)?);
        [one, other].into_iter().filter_map(of).sum()
    };
    let driver_s = one
        .driver_s
        .zip(other.driver_s)
        .map(|(one, other)| one + other);
    let server_s = one
        .server_s
        .into_iter()
        .chain(other.server_s)
        .reduce(f64::max);
    let (messages, cycles) = (
        count(|cpu| cpu.driver_us_per_message),
        count(|cpu| cpu.driver_us_per_connection),
    );
    Cpu::of(driver_s, server_s, messages, cycles)
}

/// Sums two logs, interval by interval. The n-th interval ends n seconds after its log starts, or later after a stall.
/// If one log is longer, its extra intervals are kept.
fn intervals(one: &[Interval], other: &[Interval]) -> Vec<Interval> {
    let (mut one, mut other) = (one.iter(), other.iter());
    std::iter::from_fn(|| match (one.next(), other.next()) {
        (Some(one), Some(other)) => Some(both_intervals(one, other)),
        (one, other) => one.or(other).cloned(),
    })
    .collect()
}

fn both_intervals(one: &Interval, other: &Interval) -> Interval {
    let sum = Interval {
        t_s: one.t_s.max(other.t_s),
        p50_us: None,
        p99_us: None,
        hdr: None,
        ..sum(one, other)
    };
    if let Some(histogram) = spread::both(&one.hdr, &other.hdr) {
        return sum.with_latencies(&histogram);
    }
    let only = match (one.p99_us, other.p99_us) {
        (Some(_), None) => one,
        (None, Some(_)) => other,
        (None, None) | (Some(_), Some(_)) => return sum,
    };
    Interval {
        p50_us: only.p50_us,
        p99_us: only.p99_us,
        hdr: only.hdr.clone(),
        ..sum
    }
}

/// Combines two maps. A member with equal values is kept. Different values become a list in a fixed order.
fn lists(one: &EventArguments, other: &EventArguments) -> EventArguments {
    let mut all = one.clone();
    for (name, other) in other {
        let both = match one.get(name) {
            Some(one) if one != other => list(one, other),
            Some(_) | None => other.clone(),
        };
        all.insert(name.clone(), both);
    }
    all
}

fn list(one: &Value, other: &Value) -> Value {
    let values = [one, other]
        .into_iter()
        .flat_map(|value| match value.as_array() {
            Some(many) => many.clone(),
            None => vec![value.clone()],
        });
    let mut values: Vec<Value> = values.collect();
    values.sort_by_cached_key(Value::to_string);
    values.dedup();
    values.into()
}

#[cfg(test)]
mod tests;
