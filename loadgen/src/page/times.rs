//! The times of a session: the parts of its way to its answer, and the quantiles of each.

use super::{Run, escape};
use crate::result::rows::{QUANTILES, UNKNOWN};
use crate::result::{Document, Span, Spread, words};
use std::fmt::Write;

/// Appends where the time goes, and the quantiles of each kind of span.
pub fn latencies(out: &mut String, runs: &[Run]) {
    let known = |run: &Run| {
        Span::ALL
            .iter()
            .any(|span| run.document.latency_us.of(*span).is_some())
    };
    if !runs.iter().any(known) {
        return;
    }
    out.push_str("<section><h2>Where the time goes</h2><div class=\"card\">");
    let all: Vec<Vec<Part>> = runs.iter().map(|run| parts(&run.document)).collect();
    if all.iter().any(|parts| !parts.is_empty()) {
        legend(out, &all);
        out.push_str("<div class=\"splits\">");
        for (run, parts) in runs.iter().zip(&all) {
            split(out, run, parts, runs.len() > 1);
        }
        out.push_str("</div><p class=\"none\">");
        for run in runs {
            tls_share(out, run, runs.len() > 1);
        }
        out.push_str(NOTE);
        out.push_str("</p>");
    }
    quantiles(out, runs);
    out.push_str("</div></section>\n");
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

fn legend(out: &mut String, all: &[Vec<Part>]) {
    out.push_str("<ul class=\"legend\">");
    let labels = Span::STEPS.map(Span::label).into_iter().chain([WAITING]);
    for (colour, label) in labels.enumerate() {
        if all.iter().flatten().any(|part| part.colour == colour) {
            // Writing to a string cannot fail, here and below.
            let _ = write!(out, "<li><i class=\"key block c{colour}\"></i>{label}</li>");
        }
    }
    out.push_str("</ul>");
}

/// A bar for the mean of each part, and their sum.
fn split(out: &mut String, run: &Run, parts: &[Part], named: bool) {
    let sum: f64 = parts.iter().map(|part| part.us).sum();
    if sum <= 0.0 {
        return;
    }
    let whole = words::cost_us(sum);
    let label = if named {
        format!("{}: {whole}", run.name)
    } else {
        format!("mean {whole}")
    };
    let _ = write!(
        out,
        "<div class=\"split\"><span>{}</span><div class=\"bar\" role=\"img\" aria-label=\"",
        escape(&label)
    );
    for Part { label, us, .. } in parts {
        let _ = write!(out, "{label} {}; ", words::cost_us(*us));
    }
    out.push_str("\">");
    for Part { label, colour, us } in parts {
        let width = 100.0 * us / sum;
        let words = words::cost_us(*us);
        let inner = if width > ROOM { words.as_str() } else { "" };
        let _ = write!(
            out,
            "<i class=\"c{colour}\" style=\"width:{width:.2}%\" title=\"{label}: {words}\">{inner}</i>"
        );
    }
    out.push_str("</div></div>");
}

/// Notes how many connections spoke TLS if it was not all, since the part of TLS is that of all connections.
fn tls_share(out: &mut String, run: &Run, named: bool) {
    let latencies = &run.document.latency_us;
    let Some((tls, all)) = latencies.tls.as_ref().zip(latencies.upgrade.as_ref()) else {
        return;
    };
    if tls.count() < all.count() {
        let name = if named {
            format!("{}: ", escape(&run.name))
        } else {
            String::new()
        };
        let (tls, all) = (words::count(tls.count()), words::count(all.count()));
        let _ = write!(out, "{name}TLS was spoken by {tls} of {all} connections. ");
    }
}

fn quantiles(out: &mut String, runs: &[Run]) {
    out.push_str("<div class=\"scroll\"><table class=\"stack\"><caption>Quantiles of each step</caption><thead><tr><th \
                  scope=\"col\">step</th>");
    if runs.len() > 1 {
        out.push_str("<th scope=\"col\" class=\"text\">run</th>");
    }
    out.push_str("<th scope=\"col\">count</th>");
    for (name, _) in QUANTILES {
        let _ = write!(out, "<th scope=\"col\">{name}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    for span in Span::ALL {
        for (colour, run) in runs.iter().enumerate() {
            if let Some(spread) = run.document.latency_us.of(span) {
                row(out, span.label(), spread, run, colour, runs.len() > 1);
            }
        }
    }
    for (colour, run) in runs.iter().enumerate() {
        if let Some(spread) = run.document.schedule_lag_us.spread() {
            row(out, "behind schedule", &spread, run, colour, runs.len() > 1);
        }
    }
    out.push_str("</tbody></table></div>");
}

/// A row of the table; each cell has its column's name, for screens too narrow for columns.
fn row(out: &mut String, label: &str, spread: &Spread, run: &Run, colour: usize, named: bool) {
    let _ = write!(out, "<tr><th scope=\"row\">{label}</th>");
    if named {
        let name = escape(&run.name);
        let _ = write!(
            out,
            "<td class=\"text\"><i class=\"key c{colour}\"></i>{name}</td>"
        );
    }
    let count = words::count(spread.count());
    let _ = write!(out, "<td data-column=\"count\">{count}</td>");
    for (name, share) in QUANTILES {
        let text = spread
            .quantile(share)
            .map_or_else(|| UNKNOWN.into(), words::span_us);
        let _ = write!(out, "<td data-column=\"{name}\">{text}</td>");
    }
    out.push_str("</tr>");
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
