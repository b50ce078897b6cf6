//! A document as rows of label and value, in the order in which a reader asks: the one list behind the text table and
//! the page.

use super::{Document, Span, words};
use std::collections::BTreeSet;

/// One figure of one document.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The group that it belongs to.
    pub group: &'static str,
    /// The name of the figure.
    pub label: String,
    /// The figure for people; `–` if it is not known.
    pub text: String,
    /// The figure itself, for comparisons.
    pub value: Option<f64>,
    /// The rule by which it is judged.
    pub sense: Sense,
}

/// The rule by which a figure is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// It says what was asked for, or is neither good nor bad.
    Plain,
    /// More is better.
    High,
    /// Less is better.
    Low,
    /// Anything but zero is a fault.
    Zero,
}

impl Document {
    /// Messages that arrived each second of the measured span, if the log has them.
    #[must_use]
    pub fn messages_per_s(&self) -> Option<f64> {
        let seen = self.intervals.iter().map(|interval| interval.messages);
        self.rate(seen.sum::<Option<u64>>()?, self.messages.received)
    }

    /// Sessions completed each second of the measured span.
    #[must_use]
    pub fn sessions_per_s(&self) -> Option<f64> {
        let seen = self.intervals.iter().map(|interval| interval.sessions);
        self.rate(seen.sum::<Option<u64>>()?, self.sessions.completed)
    }

    /// Connections opened and closed each second of the measured span.
    #[must_use]
    pub fn cycles_per_s(&self) -> Option<f64> {
        let cycles = self.connections.cycles.filter(|count| *count > 0)?;
        (self.duration_s > 0.0).then(|| cycles as f64 / self.duration_s)
    }

    /// The rate by the log if there is one, else by the count of the whole run.
    fn rate(&self, seen: u64, whole: Option<u64>) -> Option<f64> {
        match self.intervals.last() {
            Some(last) => (last.t_s > 0.0).then(|| seen as f64 / last.t_s),
            None => whole
                .filter(|_| self.duration_s > 0.0)
                .map(|count| count as f64 / self.duration_s),
        }
    }
}

/// The rows of several documents, the same in number, order and label for all: a figure that none knows is left out.
#[must_use]
pub fn rows(documents: &[&Document]) -> Vec<Vec<Row>> {
    let kinds: BTreeSet<&String> = documents
        .iter()
        .flat_map(|document| document.errors.keys())
        .collect();
    let targets = documents.iter().flat_map(|document| &document.targets);
    let targets: BTreeSet<&String> = targets.map(|target| &target.url).collect();
    let mut all: Vec<Vec<Row>> = documents
        .iter()
        .map(|document| of(document, &kinds, &targets))
        .collect();
    let known: Vec<bool> = (0..all.first().map_or(0, Vec::len))
        .map(|place| {
            all.iter()
                .any(|rows| rows.get(place).is_some_and(|row| row.text != UNKNOWN))
        })
        .collect();
    for rows in &mut all {
        let mut places = known.iter();
        rows.retain(|_| places.next().copied().unwrap_or(false));
    }
    all
}

fn of(document: &Document, kinds: &BTreeSet<&String>, targets: &BTreeSet<&String>) -> Vec<Row> {
    let mut rows = load(document);
    for url in targets {
        let mut known = document.targets.iter();
        let counts = known.find(|target| target.url == **url);
        let opened = counts.map(|counts| counts.opened);
        let failed = counts.map(|counts| counts.failed);
        rows.push(counted(
            "Targets",
            &format!("{url} opened"),
            opened,
            Sense::Plain,
        ));
        rows.push(counted(
            "Targets",
            &format!("{url} failed"),
            failed,
            Sense::Zero,
        ));
    }
    rows.extend(messages(document));
    rows.extend(latencies(document));
    rows.extend(cpu(document));
    rows.extend(memory(document));
    for kind in kinds {
        let count = document.errors.get(*kind).copied().unwrap_or_default();
        rows.push(counted("Errors", kind, Some(count), Sense::Zero));
    }
    rows
}

fn load(document: &Document) -> Vec<Row> {
    let (sessions, open) = (&document.sessions, &document.connections);
    // Nothing was cut off: there is nothing to say of it.
    let cut_off = document.cut_off.channels.filter(|count| *count > 0);
    let recovered = document.cut_off.recovered.filter(|_| cut_off.is_some());
    let group = "Load";
    vec![
        row(
            group,
            "measured",
            Some(document.duration_s),
            words::seconds,
            Sense::Plain,
        ),
        counted(
            group,
            "sessions scheduled",
            sessions.scheduled,
            Sense::Plain,
        ),
        counted(group, "sessions completed", sessions.completed, Sense::High),
        counted(group, "sessions failed", sessions.failed, Sense::Zero),
        row(
            group,
            "sessions/s",
            document.sessions_per_s(),
            words::figure,
            Sense::High,
        ),
        counted(group, "connections opened", open.opened, Sense::Plain),
        counted(group, "connections failed", open.failed, Sense::Zero),
        counted(group, "most at once", open.peak, Sense::Plain),
        counted(group, "channels cut off", cut_off, Sense::Zero),
        counted(group, "channels that met again", recovered, Sense::Plain),
        row(
            group,
            "connections/s",
            document.cycles_per_s(),
            words::figure,
            Sense::High,
        ),
    ]
}

fn messages(document: &Document) -> Vec<Row> {
    let messages = &document.messages;
    let group = "Messages";
    let mut rows = vec![
        counted(group, "sent", messages.sent, Sense::Plain),
        counted(group, "received", messages.received, Sense::Plain),
        row(
            group,
            "messages/s",
            document.messages_per_s(),
            words::figure,
            Sense::High,
        ),
    ];
    let faults = messages.faults().into_iter();
    rows.extend(faults.map(|(name, count)| counted(group, name, count, Sense::Zero)));
    rows
}

fn latencies(document: &Document) -> Vec<Row> {
    let mut rows = Vec::new();
    for span in Span::ALL {
        let spread = document.latency_us.of(span);
        for (name, share) in QUANTILES {
            let us = spread.and_then(|spread| spread.quantile(share));
            let label = format!("{} {name}", span.label());
            rows.push(Row {
                group: "Latency",
                label,
                text: us.map_or_else(|| UNKNOWN.into(), words::span_us),
                value: us.map(|us| us as f64),
                sense: Sense::Low,
            });
        }
    }
    rows
}

fn cpu(document: &Document) -> Vec<Row> {
    let cpu = &document.cpu;
    let seconds = [
        ("service CPU", cpu.server_s, Sense::Low),
        ("driver CPU", cpu.driver_s, Sense::Plain),
    ];
    let costs = [
        (
            "service CPU per message",
            cpu.server_us_per_message,
            Sense::Low,
        ),
        (
            "driver CPU per message",
            cpu.driver_us_per_message,
            Sense::Plain,
        ),
        (
            "service CPU per connection",
            cpu.server_us_per_connection,
            Sense::Low,
        ),
        (
            "driver CPU per connection",
            cpu.driver_us_per_connection,
            Sense::Plain,
        ),
    ];
    let seconds =
        seconds.map(|(label, value, sense)| row(COST, label, value, words::seconds, sense));
    let costs = costs.map(|(label, value, sense)| row(COST, label, value, words::cost_us, sense));
    seconds.into_iter().chain(costs).collect()
}

fn memory(document: &Document) -> Vec<Row> {
    let (memory, lag) = (&document.memory, &document.schedule_lag_us);
    let float = |count: Option<u64>| count.map(|count| count as f64);
    let bytes = [
        ("service memory", float(memory.server_rss_bytes), Sense::Low),
        (
            "service memory per connection",
            memory.server_bytes_per_connection,
            Sense::Low,
        ),
        (
            "driver memory",
            float(memory.driver_rss_bytes),
            Sense::Plain,
        ),
    ];
    let lags = [("schedule lag p99", lag.p99), ("schedule lag max", lag.max)];
    let bytes = bytes.map(|(label, value, sense)| row(COST, label, value, words::bytes, sense));
    let lags = lags.map(|(label, us)| row(COST, label, float(us), lag_us, Sense::Plain));
    bytes.into_iter().chain(lags).collect()
}

fn lag_us(us: f64) -> String {
    if us < 1e6 {
        words::cost_us(us)
    } else {
        words::seconds(us / 1e6)
    }
}

fn row(
    group: &'static str,
    label: &str,
    value: Option<f64>,
    say: fn(f64) -> String,
    sense: Sense,
) -> Row {
    Row {
        group,
        label: label.into(),
        text: value.map_or_else(|| UNKNOWN.into(), say),
        value,
        sense,
    }
}

fn counted(group: &'static str, label: &str, count: Option<u64>, sense: Sense) -> Row {
    Row {
        group,
        label: label.into(),
        text: count.map_or_else(|| UNKNOWN.into(), words::count),
        value: count.map(|count| count as f64),
        sense,
    }
}

const COST: &str = "Cost";
/// Shown in place of an unknown figure.
pub const UNKNOWN: &str = "–";
/// The quantiles of a table; the longest is the last.
pub const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];
