//! The times of a session: the parts of its way to its answer, and the quantiles of each.

use crate::page::sections::key;
use crate::page::{Run, visible};
use crate::result::rows::{QUANTILES, UNKNOWN};
use crate::result::{Document, Span, Spread, words};
use maud::{Markup, html};

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
mod tests {

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
