//! The parts of a report that are tables: every figure side by side, failures, cost, machine, arguments, and the times
//! of a session.

use crate::page::{Run, cores, key, visible};
use crate::result::rows::{QUANTILES, Row, Sense, UNKNOWN, rows};
use crate::result::{Arguments, Cpu, Document, ErrorKind, Memory, Span, Spread, words};
use maud::{Markup, html};
use serde_json::Value;
use std::collections::BTreeSet;

/// Which figures a comparison holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The figures that a reader asks for first.
    Key,
    /// Every one.
    All,
}

/// Figures of all runs side by side; differences to the first run in percent.
pub fn comparison(runs: &[Run], extent: Extent) -> Markup {
    let documents: Vec<&Document> = runs.iter().map(|run| &run.document).collect();
    let columns = rows(&documents);
    let caption = match extent {
        Extent::Key => "What a reader asks first; differences are to the first run",
        Extent::All => "As far as they are known",
    };
    let all = columns.first().into_iter().flatten().enumerate();
    let shown: Vec<(usize, &Row)> = all
        .filter(|(_, row)| extent == Extent::All || is_key(row))
        .collect();
    let groups = shown.chunk_by(|(_, one), (_, next)| one.group == next.group);
    let body = html! {
        @for group in groups {
            tr.group {
                th scope="rowgroup" colspan=(runs.len() + 1) { (group[0].1.group) }
            }
            @for (place, first) in group {
                tr {
                    th scope="row" { (visible(&first.label)) }
                    @for (number, row) in columns.iter().filter_map(|rows| rows.get(*place)).enumerate() {
                        td class=[bad(is_fault(row))] data-column=[column_name(runs, number)] {
                            (visible(&row.text))
                            @if number > 0 {
                                @let (class, words) = difference(first, row);
                                small class={"change" (class)} { (words) }
                            }
                        }
                    }
                }
            }
        }
    };
    table(caption, runs, &body)
}

/// Whether a row is a key figure: of latencies the median and the 99th percentile. Failures by kind have a section of
/// their own.
fn is_key(row: &Row) -> bool {
    match row.group {
        "Latency" => row.label.ends_with(" p50") || row.label.ends_with(" p99"),
        group => group != "Errors",
    }
}

/// Whether a row counts what should not have happened, and did.
fn is_fault(row: &Row) -> bool {
    row.sense == Sense::Zero && row.value.is_some_and(|value| value > 0.0)
}

/// The class of a cell that should not be as it is.
fn bad(is_bad: bool) -> Option<&'static str> {
    is_bad.then_some("bad")
}

/// The difference of a figure from that of the first run: whether it is good, and its size; empty if there is nothing
/// to say.
fn difference(base: &Row, row: &Row) -> (&'static str, String) {
    let both = base.value.zip(row.value).filter(|(base, _)| *base > 0.0);
    let percent = both.map(|(base, value)| (value / base - 1.0) * 100.0);
    let Some(percent) = percent.filter(|percent| percent.is_finite() && percent.abs() >= 0.5)
    else {
        return ("", String::new());
    };
    let class = match (row.sense, percent > 0.0) {
        (Sense::Plain | Sense::Zero, _) => "",
        (Sense::High, true) | (Sense::Low, false) => " better",
        (Sense::High, false) | (Sense::Low, true) => " worse",
    };
    if percent > 900.0 {
        (class, format!("×{}", words::figure(percent / 100.0 + 1.0)))
    } else {
        (class, format!("{percent:+.0} %"))
    }
}

/// The failures by kind, with what to do about each.
pub fn errors(runs: &[Run]) -> Markup {
    let errors = runs.iter().flat_map(|run| run.document.errors.keys());
    let kinds: BTreeSet<&String> = errors.collect();
    let body = html! {
        @for kind in &kinds {
            tr {
                th scope="row" {
                    code { (visible(kind)) }
                    small { (ErrorKind::of(kind).advice()) }
                    @let mut ids = runs.iter().filter_map(|run| run.document.request_ids.get(*kind));
                    @if let Some(id) = ids.next() {
                        small { "the first of them: " code { "heliograph why " (visible(id)) } }
                    }
                }
                @for (number, run) in runs.iter().enumerate() {
                    @let count = run.document.errors.get(*kind).copied().unwrap_or_default();
                    td class=[bad(count > 0)] data-column=[column_name(runs, number)] { (words::count(count)) }
                }
            }
        }
    };
    html! {
        section {
            h2 { "Failures" }
            div.card.scroll {
                @if kinds.is_empty() {
                    p.none { "None." }
                } @else {
                    (table("Failures by kind", runs, &body))
                }
            }
        }
    }
}

/// CPU time and memory of both sides.
pub fn costs(runs: &[Run]) -> Markup {
    let [run] = runs else {
        return Markup::default(); // of several, all of it is in the comparison
    };
    let document = &run.document;
    let lag = &document.schedule_lag_us;
    html! {
        section {
            h2 { "CPU and memory" }
            div.card.scroll {
                table {
                    caption { "Both sides in the measured span" }
                    thead {
                        tr {
                            td {}
                            th scope="col" { "service" }
                            th scope="col" { "driver" }
                        }
                    }
                    tbody {
                        @for (name, service, driver) in sides(&document.cpu, &document.memory, document.duration_s) {
                            @if service.is_some() || driver.is_some() {
                                tr {
                                    th scope="row" { (name) }
                                    td { (service.as_deref().unwrap_or(UNKNOWN)) }
                                    td { (driver.as_deref().unwrap_or(UNKNOWN)) }
                                }
                            }
                        }
                    }
                }
                @if document.cpu.server_s.is_none() {
                    p.none { "The service's side is not known: name its process with " code { "--server-pid" } "." }
                }
                @if let Some((p99, max)) = lag.p99.zip(lag.max) {
                    p.none {
                        "Starts were behind their schedule by at most " (words::span_us(p99))
                        " in 99 of 100 cases, and by " (words::span_us(max)) " at worst."
                    }
                }
            }
        }
    }
}

/// Each figure of the service and of the driver.
fn sides(
    cpu: &Cpu,
    memory: &Memory,
    duration_s: f64,
) -> [(&'static str, Option<String>, Option<String>); 6] {
    let both = |service: Option<f64>, driver: Option<f64>, say: &dyn Fn(f64) -> String| {
        (service.map(say), driver.map(say))
    };
    let float = |count: Option<u64>| count.map(|count| count as f64);
    let time = both(cpu.server_s, cpu.driver_s, &words::seconds);
    let busy = both(cpu.server_s, cpu.driver_s, &|seconds| {
        cores(seconds, duration_s)
    });
    let message = both(
        cpu.server_us_per_message,
        cpu.driver_us_per_message,
        &words::cost_us,
    );
    let connection = both(
        cpu.server_us_per_connection,
        cpu.driver_us_per_connection,
        &words::cost_us,
    );
    let bytes = both(
        float(memory.server_rss_bytes),
        float(memory.driver_rss_bytes),
        &words::bytes,
    );
    let grown = both(memory.server_bytes_per_connection, None, &words::bytes);
    [
        ("CPU time", time.0, time.1),
        ("in use", busy.0, busy.1),
        ("CPU per message", message.0, message.1),
        ("CPU per connection", connection.0, connection.1),
        ("memory", bytes.0, bytes.1),
        ("memory per connection", grown.0, grown.1),
    ]
}

/// The machines and versions.
pub fn machines(runs: &[Run]) -> Markup {
    let machine = |run: &Run| {
        let mut all = run.document.machine.clone();
        let versions = run.document.versions.iter();
        all.extend(versions.map(|(name, value)| (format!("{name} version"), value.clone())));
        all
    };
    let all: Vec<Arguments> = runs.iter().map(machine).collect();
    let caption = "The machine that drove the load, and the programs";
    html! {
        section {
            h2 { "Machine and versions" }
            div.card.scroll { (names_and_values(caption, runs, &all)) }
        }
    }
}

/// The command line, and all figures of a single run.
pub fn arguments(runs: &[Run]) -> Markup {
    let all = runs.iter().map(|run| run.document.arguments.clone());
    let all: Vec<Arguments> = all.collect();
    let caption = "As given or by default; what differs is marked";
    html! {
        section {
            h2 { "Details" }
            details.card.scroll {
                summary { "Arguments" }
                (names_and_values(caption, runs, &all))
            }
            details.card.scroll {
                summary { "Every figure" }
                (comparison(runs, Extent::All))
            }
        }
    }
}

fn names_and_values(caption: &str, runs: &[Run], all: &[Arguments]) -> Markup {
    let names: BTreeSet<&String> = all.iter().flat_map(Arguments::keys).collect();
    let body = html! {
        @for name in names {
            @let values: Vec<&Value> = all.iter().map(|one| one.get(name).unwrap_or(&Value::Null)).collect();
            @if !values.iter().all(|value| value.is_null()) {
                @let differs = values.windows(2).any(|pair| pair.first() != pair.last());
                tr class=[differs.then_some("differs")] {
                    th scope="row" { (visible(&name.trim_end_matches("_bytes").replace('_', " "))) }
                    @for (number, value) in values.into_iter().enumerate() {
                        td.text data-column=[column_name(runs, number)] { (visible(&plain(name, value))) }
                    }
                }
            }
        }
    };
    table(caption, runs, &body)
}

/// The name of a cell's column where columns have no room; `None` for a single run, whose figures need no name.
fn column_name(runs: &[Run], number: usize) -> Option<String> {
    let run = runs.get(number).filter(|_| runs.len() > 1)?;
    Some(visible(&run.name))
}

/// A table with a column for each run, which are named if there are several.
fn table(caption: &str, runs: &[Run], body: &Markup) -> Markup {
    let named = runs.len() > 1;
    html! {
        table class=[named.then_some("stack")] {
            caption { (caption) }
            @if named {
                thead {
                    tr {
                        td {}
                        @for (colour, run) in runs.iter().enumerate() {
                            th scope="col" { (key(colour)) (visible(&run.name)) }
                        }
                    }
                }
            }
            tbody { (body) }
        }
    }
}

/// A value of a command line or of a machine for people.
fn plain(name: &str, value: &Value) -> String {
    match value {
        Value::Null => UNKNOWN.into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) if name.ends_with("_bytes") => number
            .as_f64()
            .map_or_else(|| number.to_string(), words::bytes),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let words: Vec<String> = values.iter().map(|value| plain(name, value)).collect();
            words.join(", ")
        }
        Value::Object(_) => value.to_string(),
    }
}

// The times of a session: the parts of its way to its answer, and the quantiles of each.

/// The parts of the mean session, and the quantiles of each kind of span.
pub fn latencies(runs: &[Run]) -> Markup {
    let known = |run: &Run| {
        let latencies = &run.document.latency_us;
        Span::ALL.iter().any(|span| latencies.of(*span).is_some())
    };
    if !runs.iter().any(known) {
        return Markup::default();
    }
    let named = runs.len() > 1;
    let all: Vec<Vec<Part>> = runs.iter().map(|run| parts(&run.document)).collect();
    html! {
        section {
            h2 { "Where the time goes" }
            div.card {
                @if all.iter().any(|parts| !parts.is_empty()) {
                    (legend(&all))
                    div.splits {
                        @for (run, parts) in runs.iter().zip(&all) { (split(run, parts, named)) }
                    }
                    p.none {
                        @for run in runs { (tls_share(run, named)) }
                        (NOTE)
                    }
                }
                (quantiles(runs))
            }
        }
    }
}

/// A part of the way, in microseconds of the mean session.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    label: &'static str,
    colour: usize,
    us: f64,
}

/// The parts of the mean way to an answer. They add up to the mean of the whole; what none of the steps explains is
/// time in which the driver waited: behind its schedule, between two attempts, for its API calls. Without sessions,
/// each step's mean.
fn parts(document: &Document) -> Vec<Part> {
    let latencies = &document.latency_us;
    let sum = |spread: &Spread| Some(spread.histogram()?.mean() * spread.count() as f64);
    let whole = latencies
        .setup
        .as_ref()
        .and_then(|setup| Some((sum(setup)?, setup.count())));
    let mut parts: Vec<Part> = Span::STEPS
        .into_iter()
        .enumerate()
        .filter_map(|(colour, span)| {
            let spread = latencies.of(span)?;
            let count = whole.map_or_else(|| spread.count(), |(_, count)| count);
            let us = sum(spread)? / count as f64;
            let label = span.label();
            Some(Part { label, colour, us })
        })
        .collect();
    let Some((whole, count)) = whole else {
        return parts;
    };
    // A session's first step counts from the moment that it was due.
    let lag = document.schedule_lag_us.spread();
    let lag = lag.as_ref().and_then(sum).unwrap_or_default() / count as f64;
    if let Some(first) = parts.first_mut().filter(|part| part.colour == 0) {
        first.us = (first.us - lag).max(0.0);
    }
    let explained: f64 = parts.iter().map(|part| part.us).sum();
    let us = (whole / count as f64 - explained).max(0.0);
    parts.push(Part {
        label: WAITING,
        colour: Span::STEPS.len(),
        us,
    });
    parts
}

fn legend(all: &[Vec<Part>]) -> Markup {
    let labels = Span::STEPS.map(Span::label).into_iter().chain([WAITING]);
    html! {
        ul.legend {
            @for (colour, label) in labels.enumerate() {
                @if all.iter().flatten().any(|part| part.colour == colour) {
                    li { i class={"key block c" (colour)} {} (label) }
                }
            }
        }
    }
}

/// A bar for the mean of each part, and their sum.
fn split(run: &Run, parts: &[Part], named: bool) -> Markup {
    let sum: f64 = parts.iter().map(|part| part.us).sum();
    if sum <= 0.0 {
        return Markup::default();
    }
    let whole = words::cost_us(sum);
    let name = if named { &*run.name } else { "mean" };
    let between = if named { ": " } else { " " };
    let say = |part: &Part| format!("{} {}; ", part.label, words::cost_us(part.us));
    html! {
        div.split {
            span { (visible(name)) (between) (whole) }
            div.bar role="img" aria-label=(parts.iter().map(say).collect::<String>()) {
                @for Part { label, colour, us } in parts {
                    @let width = 100.0 * us / sum;
                    @let words = words::cost_us(*us);
                    i class={"c" (colour)} style=(format!("width:{width:.2}%")) title={(label) ": " (words)} {
                        @if width > ROOM { (words) }
                    }
                }
            }
        }
    }
}

/// The number of connections that spoke TLS if it was not all, since the part of TLS is that of all connections.
fn tls_share(run: &Run, named: bool) -> Markup {
    let latencies = &run.document.latency_us;
    let both = latencies.tls.as_ref().zip(latencies.upgrade.as_ref());
    let counts = both.map(|(tls, all)| (tls.count(), all.count()));
    html! {
        @if let Some((tls, all)) = counts.filter(|(tls, all)| tls < all) {
            @if named { (visible(&run.name)) ": " }
            "TLS was spoken by " (words::count(tls)) " of " (words::count(all)) " connections. "
        }
    }
}

fn quantiles(runs: &[Run]) -> Markup {
    let named = runs.len() > 1;
    html! {
        div.scroll {
            table.stack {
                caption { "Quantiles of each step" }
                thead {
                    tr {
                        th scope="col" { "step" }
                        @if named { th.text scope="col" { "run" } }
                        th scope="col" { "count" }
                        @for (name, _) in QUANTILES { th scope="col" { (name) } }
                    }
                }
                tbody {
                    @for span in Span::ALL {
                        @for (colour, run) in runs.iter().enumerate() {
                            @if let Some(spread) = run.document.latency_us.of(span) {
                                (row(span.label(), spread, named.then_some((colour, run))))
                            }
                        }
                    }
                    @for (colour, run) in runs.iter().enumerate() {
                        @if let Some(spread) = run.document.schedule_lag_us.spread() {
                            (row("behind schedule", &spread, named.then_some((colour, run))))
                        }
                    }
                }
            }
        }
    }
}

/// A row of the table; each cell has its column's name, for screens too narrow for columns.
fn row(label: &str, spread: &Spread, run: Option<(usize, &Run)>) -> Markup {
    let say = |share| spread.quantile(share).map(words::span_us);
    html! {
        tr {
            th scope="row" { (label) }
            @if let Some((colour, run)) = run {
                td.text { (key(colour)) (visible(&run.name)) }
            }
            td data-column="count" { (words::count(spread.count())) }
            @for (name, share) in QUANTILES {
                td data-column=(name) { (say(share).as_deref().unwrap_or(UNKNOWN)) }
            }
        }
    }
}

const WAITING: &str = "waiting in the driver";
const NOTE: &str = "The bar is the mean, of which the parts add up to the mean of a whole session. The driver waits \
                    when it is \
                    behind its schedule, before it tries again, and for API calls.";
/// The share of a bar, in percent, from which on a part has room for its figure.
const ROOM: f64 = 16.0;

#[cfg(test)]
mod times_tests {
    use super::*;
    use crate::result::{Arguments, ScheduleLag};
    use hdrhistogram::Histogram;

    fn spans(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        values.iter().for_each(|us| histogram.record(*us).unwrap());
        histogram
    }

    #[test]
    fn parts_add_up_to_a_whole_session() {
        let mut document = Document::new("sessions", "t", Arguments::new(), String::new());
        let latencies = &mut document.latency_us;
        // Two sessions; the first began 30 µs late, the second tried twice with 100 µs in between.
        latencies.connect = Spread::of(&spans(&[50, 20, 20]));
        latencies.tls = Spread::of(&spans(&[100]));
        latencies.upgrade = Spread::of(&spans(&[10, 10]));
        latencies.offer_answer = Spread::of(&spans(&[40, 60]));
        latencies.setup = Spread::of(&spans(&[200, 210]));
        document.schedule_lag_us = ScheduleLag::of(&spans(&[30, 0]));
        let parts = parts(&document);
        assert_eq!(parts.len(), 5);
        for (part, us) in parts.iter().zip([30.0, 50.0, 10.0, 50.0, 65.0]) {
            assert!((part.us - us).abs() < 1e-6, "{us}: {part:?}");
        }
        let sum: f64 = parts.iter().map(|part| part.us).sum();
        assert!((sum - 205.0).abs() < 1e-6, "the mean of 200 and 210: {sum}");
        assert_eq!(parts.last().unwrap().label, WAITING);
    }

    #[test]
    fn without_sessions_nobody_waits() {
        let mut document = Document::new("connect", "t", Arguments::new(), String::new());
        document.latency_us.connect = Spread::of(&spans(&[50]));
        document.latency_us.upgrade = Spread::of(&spans(&[10]));
        let labels: Vec<_> = parts(&document).iter().map(|part| part.label).collect();
        assert_eq!(labels, ["TCP connect", "upgrade"]);
    }
}
