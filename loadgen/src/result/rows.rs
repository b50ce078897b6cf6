//! A document as rows of label and value, in the order in which a reader asks: the one list behind the text table and
//! the page.

use crate::result::{Document, Span, words};
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

    /// The meaning of the service's CPU time for each message, where the rate is too low for it to be the cost of one.
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

    /// Sessions completed each second of the measured span. Those of a storm stay to its end: they have no rate.
    #[must_use]
    pub fn sessions_per_s(&self) -> Option<f64> {
        if self.mode == "storm" {
            return None;
        }
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
    let mut rows = Rows::default();
    load(&mut rows, document);
    rows.group = "Targets";
    for url in targets {
        let counts = document.targets.iter().find(|target| target.url == **url);
        let (opened, failed) = (counts.map(|it| it.opened), counts.map(|it| it.failed));
        rows.count(Sense::Plain, &format!("{url} opened"), opened);
        rows.count(Sense::Zero, &format!("{url} failed"), failed);
    }
    messages(&mut rows, document);
    latencies(&mut rows, document);
    costs(&mut rows, document);
    rows.group = "Errors";
    for kind in kinds {
        let count = document.errors.get(*kind).copied().unwrap_or_default();
        rows.count(Sense::Zero, kind, Some(count));
    }
    rows.rows
}

fn load(rows: &mut Rows, document: &Document) {
    let (sessions, open) = (&document.sessions, &document.connections);
    // Nothing was cut off: there is nothing to say of it.
    let cut_off = document.cut_off.channels.filter(|count| *count > 0);
    let recovered = document.cut_off.recovered.filter(|_| cut_off.is_some());
    let span_s = Some(document.duration_s);
    rows.group = "Load";
    rows.figure(Sense::Plain, "measured", span_s, words::seconds);
    rows.count(Sense::Plain, "sessions scheduled", sessions.scheduled);
    rows.count(Sense::High, "sessions completed", sessions.completed);
    rows.count(Sense::Zero, "sessions failed", sessions.failed);
    rows.rate("sessions/s", document.sessions_per_s());
    rows.count(Sense::Plain, "connections opened", open.opened);
    rows.count(Sense::Zero, "connections failed", open.failed);
    rows.count(Sense::Plain, "most at once", open.peak);
    rows.count(Sense::Zero, "channels cut off", cut_off);
    rows.count(Sense::Plain, "channels that met again", recovered);
    rows.rate("connections/s", document.cycles_per_s());
}

fn messages(rows: &mut Rows, document: &Document) {
    let messages = &document.messages;
    rows.group = "Messages";
    rows.count(Sense::Plain, "sent", messages.sent);
    rows.count(Sense::Plain, "received", messages.received);
    rows.rate("messages/s", document.messages_per_s());
    for (name, count) in messages.faults().into_iter().chain(messages.declined()) {
        rows.count(Sense::Zero, name, count);
    }
}

fn latencies(rows: &mut Rows, document: &Document) {
    rows.group = "Latency";
    for span in Span::ALL {
        let spread = document.latency_us.of(span);
        for (name, share) in QUANTILES {
            let us = spread.and_then(|spread| spread.quantile(share));
            let label = format!("{} {name}", span.label());
            rows.whole(Sense::Low, &label, us, words::span_us);
        }
    }
}

/// CPU time, memory, and the lag of the schedule.
fn costs(rows: &mut Rows, document: &Document) {
    let Document { cpu, memory, .. } = document;
    let float = |count: Option<u64>| count.map(|count| count as f64);
    rows.group = "Cost";
    rows.sides("CPU", [cpu.server_s, cpu.driver_s], words::seconds);
    let message = [cpu.server_us_per_message, cpu.driver_us_per_message];
    rows.sides("CPU per message", message, words::cost_us);
    let connection = [cpu.server_us_per_connection, cpu.driver_us_per_connection];
    rows.sides("CPU per connection", connection, words::cost_us);
    let (server, driver) = (memory.server_rss_bytes, memory.driver_rss_bytes);
    let (grown, bytes) = (memory.server_bytes_per_connection, words::bytes);
    rows.figure(Sense::Low, "service memory", float(server), bytes);
    rows.figure(Sense::Low, "service memory per connection", grown, bytes);
    rows.figure(Sense::Plain, "driver memory", float(driver), bytes);
    let lag = &document.schedule_lag_us;
    rows.figure(Sense::Plain, "schedule lag p99", float(lag.p99), lag_us);
    rows.figure(Sense::Plain, "schedule lag max", float(lag.max), lag_us);
}

fn lag_us(us: f64) -> String {
    if us < 1e6 {
        words::cost_us(us)
    } else {
        words::seconds(us / 1e6)
    }
}

/// The rows of a document, and the group of the next one.
#[derive(Default)]
struct Rows {
    group: &'static str,
    rows: Vec<Row>,
}

impl Rows {
    fn count(&mut self, sense: Sense, label: &str, count: Option<u64>) {
        self.whole(sense, label, count, words::count);
    }

    fn rate(&mut self, label: &str, rate: Option<f64>) {
        self.figure(Sense::High, label, rate, words::figure);
    }

    fn figure(&mut self, sense: Sense, label: &str, value: Option<f64>, say: Say) {
        self.put(sense, label, value, value.map(say));
    }

    /// Of the service, and of the driver.
    fn sides(&mut self, label: &str, [service, driver]: [Option<f64>; 2], say: Say) {
        self.figure(Sense::Low, &format!("service {label}"), service, say);
        self.figure(Sense::Plain, &format!("driver {label}"), driver, say);
    }

    fn whole(&mut self, sense: Sense, label: &str, value: Option<u64>, say: fn(u64) -> String) {
        let float = value.map(|value| value as f64);
        self.put(sense, label, float, value.map(say));
    }

    fn put(&mut self, sense: Sense, label: &str, value: Option<f64>, text: Option<String>) {
        self.rows.push(Row {
            group: self.group,
            label: label.into(),
            text: text.unwrap_or_else(|| UNKNOWN.into()),
            value,
            sense,
        });
    }
}

/// A figure in words.
type Say = fn(f64) -> String;

/// Messages a second below which a service has nothing else to do when one arrives.
const LOW_RATE: f64 = 5_000.0;

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
