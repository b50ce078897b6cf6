//! The figures of a report as rows, in reading order. The terminal, the HTML page and comparisons of several runs all
//! use these rows.

use crate::result::words::{self, bytes, cost_us, figure, seconds};
use crate::result::{Document, LatencyFigures};
use serde::Serialize;
use std::collections::BTreeSet;

/// A figure and its value in each displayed run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The group the figure belongs to.
    pub group: &'static str,
    /// The name of the figure, unique within its group.
    pub label: String,
    /// How comparisons judge the figure.
    pub sense: Sense,
    /// The value in each run, as a number for comparisons.
    pub values: Vec<Option<f64>>,
    /// The value in each run, as displayed.
    pub texts: Vec<String>,
}

/// How to judge a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sense {
    /// The figure is neither good nor bad, or describes the requested load.
    Plain,
    /// Higher is better.
    High,
    /// Lower is better.
    Low,
    /// Any value other than zero is a fault.
    Zero,
}

impl Document {
    /// Returns the number of messages received per second of the measured phase, if the log contains it.
    #[must_use]
    pub fn messages_per_s(&self) -> Option<f64> {
        let seen = self.intervals.iter().map(|interval| interval.messages);
        self.rate(seen.sum::<Option<u64>>()?, self.messages.received)
    }

    /// Returns an explanation if the message rate is so low that the service's CPU time per message is not meaningful.
    #[must_use]
    pub fn service_cost_words(&self) -> Option<String> {
        self.cpu.server_us_per_message?;
        let rate = self.messages_per_s().filter(|rate| *rate < LOW_RATE)?;
        let rate = words::figure(rate);
        Some(format!(
            "service CPU per message: at {rate} messages/s the service wakes for each message, and what it does \
             besides (timers, its metrics) counts too; --mode relay without --rate shows what a message costs"
        ))
    }

    /// Returns the number of sessions completed per second of the measured phase. A storm has no such rate (`None`),
    /// because its sessions stay until the end.
    #[must_use]
    pub fn sessions_per_s(&self) -> Option<f64> {
        if self.mode == "storm" {
            return None;
        }
        let seen = self.intervals.iter().map(|interval| interval.sessions);
        self.rate(seen.sum::<Option<u64>>()?, self.sessions.completed)
    }

    /// Returns the number of connections opened and closed per second of the measured phase.
    #[must_use]
    pub fn cycles_per_s(&self) -> Option<f64> {
        let cycles = self.connections.cycles.filter(|count| *count > 0)?;
        (self.duration_s > 0.0).then(|| cycles as f64 / self.duration_s)
    }

    /// Returns the number of events per second. With a log, this is `seen` (the count in the log) divided by the
    /// duration of the log. Otherwise, it is `whole` (the count for the whole run) divided by the duration of the
    /// measured phase.
    fn rate(&self, seen: u64, whole: Option<u64>) -> Option<f64> {
        match self.intervals.last() {
            Some(last) => (last.t_s > 0.0).then(|| seen as f64 / last.t_s),
            None => whole
                .filter(|_| self.duration_s > 0.0)
                .map(|count| count as f64 / self.duration_s),
        }
    }
}

type FigureRow = (&'static str, Unit, Sense, fn(&Document) -> Option<f64>);

type Unit = fn(f64) -> String;

macro_rules! figures {
    ($($label:literal, $unit:ident, $sense:ident, $document:ident => $figure:expr;)+) => {
        &[$(($label, $unit, Sense::$sense, |$document| $figure)),+]
    };
}

const LOAD: &[FigureRow] = figures![
    "measured", seconds, Plain, d => Some(d.duration_s);
    "sessions scheduled", count, Plain, d => float(d.sessions.scheduled);
    "sessions completed", count, High, d => float(d.sessions.completed);
    "sessions failed", count, Zero, d => float(d.sessions.failed);
    "sessions/s", figure, High, d => d.sessions_per_s();
    "connections opened", count, Plain, d => float(d.connections.opened);
    "connections failed", count, Zero, d => float(d.connections.failed);
    "most at once", count, Plain, d => float(d.connections.peak);
    "channels cut off", count, Zero, d => float(cut_off(d));
    "channels that met again", count, Plain, d => float(cut_off(d).and(d.cut_off.recovered));
    "connections/s", figure, High, d => d.cycles_per_s();
];

const MESSAGES: &[FigureRow] = figures![
    "sent", count, Plain, d => float(d.messages.sent);
    "received", count, Plain, d => float(d.messages.received);
    "messages/s", figure, High, d => d.messages_per_s();
    "lost", count, Zero, d => float(d.messages.lost);
    "duplicated", count, Zero, d => float(d.messages.duplicated);
    "reordered", count, Zero, d => float(d.messages.reordered);
    "corrupted", count, Zero, d => float(d.messages.corrupted);
    "misrouted", count, Zero, d => float(d.messages.misrouted);
    "throttled", count, Zero, d => float(d.messages.throttled);
    "refused", count, Zero, d => float(d.messages.refused);
];

const COST: &[FigureRow] = figures![
    "service CPU", seconds, Low, d => d.cpu.server_s;
    "driver CPU", seconds, Plain, d => d.cpu.driver_s;
    "service CPU per message", cost_us, Low, d => d.cpu.server_us_per_message;
    "driver CPU per message", cost_us, Plain, d => d.cpu.driver_us_per_message;
    "service CPU per connection", cost_us, Low, d => d.cpu.server_us_per_connection;
    "driver CPU per connection", cost_us, Plain, d => d.cpu.driver_us_per_connection;
    "service memory", bytes, Low, d => float(d.memory.server_rss_bytes);
    "service memory per connection", bytes, Low, d => d.memory.server_bytes_per_connection;
    "driver memory", bytes, Plain, d => float(d.memory.driver_rss_bytes);
    "schedule lag p99", lag_us, Plain, d => float(d.schedule_lag_us.p99);
    "schedule lag max", lag_us, Plain, d => float(d.schedule_lag_us.max);
];

/// The quantiles shown in tables, in ascending order.
pub const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

/// Returns the figures of several runs, one row per figure. Omits figures that are unknown in all runs.
#[must_use]
pub fn rows(documents: &[&Document]) -> Vec<Row> {
    let rows = &mut Vec::new();
    let mut put = |group, label: &str, unit: Unit, sense, of: &dyn Fn(&Document) -> Option<f64>| {
        let values: Vec<_> = documents.iter().map(|document| of(document)).collect();
        let text = |value: &Option<f64>| value.map_or_else(|| UNKNOWN.into(), unit);
        let texts: Vec<String> = values.iter().map(text).collect();
        if texts.iter().any(|text| text != UNKNOWN) {
            let label = label.to_owned();
            rows.push(Row {
                group,
                label,
                sense,
                values,
                texts,
            });
        }
    };
    for (label, unit, sense, of) in LOAD {
        put("Load", label, *unit, *sense, of);
    }
    let targets = documents.iter().flat_map(|document| &document.targets);
    for url in targets.map(|target| &target.url).collect::<BTreeSet<_>>() {
        let find = |d: &Document| d.targets.iter().find(|target| target.url == *url).cloned();
        let (opened, failed) = (format!("{url} opened"), format!("{url} failed"));
        put("Targets", &opened, count, Sense::Plain, &|d| {
            float(find(d).map(|it| it.opened))
        });
        put("Targets", &failed, count, Sense::Zero, &|d| {
            float(find(d).map(|it| it.failed))
        });
    }
    for (label, unit, sense, of) in MESSAGES {
        put("Messages", label, *unit, *sense, of);
    }
    for (place, (span, _)) in LatencyFigures::default().all().iter().enumerate() {
        for (name, share) in QUANTILES {
            let of = |d: &Document| d.latency_us.all().get(place)?.1?.quantile(share);
            put(
                LATENCY,
                &format!("{span} {name}"),
                span_us,
                Sense::Low,
                &|d| float(of(d)),
            );
        }
    }
    for (label, unit, sense, of) in COST {
        put("Cost", label, *unit, *sense, of);
    }
    let kinds = documents.iter().flat_map(|document| document.errors.keys());
    for kind in kinds.collect::<BTreeSet<_>>() {
        let of = |d: &Document| Some(d.errors.get(kind).copied().unwrap_or_default());
        put("Errors", kind, count, Sense::Zero, &|d| float(of(d)));
    }
    std::mem::take(rows)
}

fn cut_off(document: &Document) -> Option<u64> {
    document.cut_off.channels.filter(|count| *count > 0)
}

fn float(count: Option<u64>) -> Option<f64> {
    count.map(|count| count as f64)
}

fn count(count: f64) -> String {
    words::count(words::whole(count))
}

fn span_us(us: f64) -> String {
    words::span_us(words::whole(us))
}

fn lag_us(us: f64) -> String {
    if us < 1e6 {
        cost_us(us)
    } else {
        seconds(us / 1e6)
    }
}

/// Name of the latency quantile group. For a single document, these quantiles get a table of their own.
pub const LATENCY: &str = "Latency";
/// Messages per second below which a service has to wake up for each message separately.
const LOW_RATE: f64 = 5_000.0;
/// Placeholder for an unknown figure.
pub const UNKNOWN: &str = "–";
