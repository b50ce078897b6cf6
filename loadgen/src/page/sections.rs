//! The parts of a report that are words: head, verdicts, key figures, foot.

use crate::page::facts::facts;
use crate::page::{Run, tables, visible};
use crate::result::rows::UNKNOWN;
use crate::result::{Document, Thresholds, Verdict, words};
use maud::{Markup, html};

/// The head of the page: what was run where and when, and the switch of colours. `count` is the number of runs.
pub fn header(first: &Run, count: usize) -> Markup {
    let document = &first.document;
    let (what, facts) = match count {
        1 => (format!("{} load", capital(&document.mode)), facts(document)),
        _ => (format!("{count} runs side by side"), Vec::new()),
    };
    html! {
        header {
            div {
                p.eyebrow { "loadgen report" }
                h1 { (visible(&what)) }
                p.where {
                    code { (visible(&document.target)) } " · "
                    time { (visible(&moment(&document.started))) } " · "
                    (words::seconds(document.duration_s))
                }
                @if !facts.is_empty() {
                    p.where { (visible(&facts.join(" · "))) }
                }
            }
            button #theme type="button" hidden aria-label="Switch between light and dark" { "◐" }
        }
    }
}

/// The verdict of each run, the saturation of the driver first.
pub fn verdicts(runs: &[Run]) -> Markup {
    let named = runs.len() > 1;
    html! {
        section.verdicts aria-label="Verdict" {
            @for (colour, run) in runs.iter().enumerate() {
                @if let Some(saturated) = run.document.saturated {
                    div.verdict.warn {
                        span.mark aria-hidden="true" { "!" }
                        div {
                            strong {
                                @if named { (visible(&run.name)) ": " }
                                (capital(saturated.words())) "."
                            }
                            p {
                                "The figures below are the driver's limit, not the service's: " (saturated.advice()) "."
                            }
                        }
                    }
                }
                @let Outcome { class, mark, title, rest } = outcome(&run.document);
                div class={"verdict " (class)} {
                    span.mark aria-hidden="true" { (mark) }
                    div {
                        strong {
                            @if named { (key(colour)) (visible(&run.name)) " · " }
                            (visible(&title))
                        }
                        p { (visible(&rest)) }
                    }
                }
            }
        }
    }
}

/// A verdict as it is shown.
struct Outcome {
    class: &'static str,
    mark: &'static str,
    title: String,
    rest: String,
}

fn outcome(document: &Document) -> Outcome {
    let thresholds = document.thresholds();
    let is_missed = thresholds.as_ref().is_some_and(Thresholds::are_missed);
    let (class, mark) = match document.verdict() {
        Verdict::Well if is_missed => ("bad", "✕"),
        Verdict::Well => ("good", "✓"),
        Verdict::Faulty | Verdict::TargetFailed | Verdict::Limits => ("bad", "✕"),
        Verdict::Stopped => ("warn", "■"),
    };
    let (mut title, mut rest) = split_sentence(&document.verdict_words());
    if is_missed && document.verdict() == Verdict::Well {
        title = "Threshold missed".into();
    }
    if let Some(thresholds) = thresholds {
        rest = format!("{rest} {}", thresholds.words());
    }
    Outcome {
        class,
        mark,
        title,
        rest,
    }
}

/// The key of a run's colour, before its name.
pub(crate) fn key(colour: usize) -> Markup {
    html! { i class={"key c" (colour)} {} }
}

/// The figures that the reader came for: cards for one run, a table for several.
pub fn key_figures(runs: &[Run]) -> Markup {
    let [run] = runs else {
        return html! {
            section {
                h2 { "Side by side" }
                div.card.scroll { (tables::comparison(runs, tables::Extent::Key)) }
            }
        };
    };
    html! {
        section.cards aria-label="Key figures" {
            @for (label, figure, note) in cards(&run.document) {
                div.card.figure {
                    h3 { (label) }
                    p.value { (visible(&figure)) }
                    p { (visible(&note)) }
                }
            }
        }
    }
}

fn cards(document: &Document) -> Vec<(&'static str, String, String)> {
    let known = |count: Option<u64>| count.map_or_else(|| UNKNOWN.into(), words::count);
    let mut cards = Vec::new();
    if let Some(rate) = document.sessions_per_s() {
        let note = format!(
            "{} completed of {}",
            known(document.sessions.completed),
            known(document.sessions.scheduled)
        );
        cards.push(("Sessions per second", words::figure(rate), note));
    }
    if let Some(rate) = document.messages_per_s().filter(|rate| *rate > 0.0) {
        let note = format!("{} arrived in all", known(document.messages.received));
        cards.push(("Messages per second", words::figure(rate), note));
    }
    if let Some(rate) = document
        .cycles_per_s()
        .filter(|_| document.sessions.completed.is_none())
    {
        let note = format!("{} opened and closed", known(document.connections.cycles));
        cards.push(("Connections per second", words::figure(rate), note));
    }
    if let Some((span, spread)) = document.latency_us.headline() {
        let at = |share| {
            spread
                .quantile(share)
                .map_or_else(|| UNKNOWN.into(), words::span_us)
        };
        let note = format!("{}; p50 {}, max {}", span.label(), at(0.5), at(1.0));
        cards.push(("Latency p99", at(0.99), note));
    }
    if document.messages.sent.is_some_and(|sent| sent > 0) {
        let note = "lost, duplicated, reordered, corrupted or misrouted".into();
        cards.push(("Messages gone wrong", words::count(document.faults()), note));
    }
    if document.connections.peak.is_some() {
        let note = format!("at once; {} failed", known(document.connections.failed));
        cards.push(("Connections", known(document.connections.peak), note));
    }
    let cpu = &document.cpu;
    if let Some(seconds) = cpu.server_s {
        let busy = busy(document, seconds);
        match (cpu.server_us_per_message, cpu.server_us_per_connection) {
            (Some(us), _) => cards.push(("Service CPU per message", words::cost_us(us), busy)),
            (None, Some(us)) => {
                cards.push(("Service CPU per connection", words::cost_us(us), busy))
            }
            (None, None) => cards.push((
                "Service CPU",
                words::seconds(seconds),
                cores(seconds, document.duration_s),
            )),
        }
    }
    if let Some(bytes) = document.memory.server_rss_bytes {
        let each = document.memory.server_bytes_per_connection;
        let note = each.map_or_else(
            || "resident at the end".into(),
            |each| format!("grew by {} per connection", words::bytes(each)),
        );
        cards.push(("Service memory", words::bytes(bytes as f64), note));
    }
    if let Some(seconds) = cpu.driver_s.filter(|_| document.is_open_loop()) {
        let lag = document
            .schedule_lag_us
            .p99
            .map_or_else(|| UNKNOWN.into(), words::span_us);
        let note = format!("behind its schedule by {lag} (p99)");
        cards.push(("Driver", cores(seconds, document.duration_s), note));
    }
    cards
}

/// The foot of the page: how to read the figures.
pub fn footer(runs: &[Run]) -> Markup {
    let how = if runs.iter().all(|run| run.document.is_open_loop()) {
        "Open loop: latencies count from the scheduled moment, whatever the service does."
    } else {
        "Closed loop where the mode is relay, idle or connect: latencies count from the moment of sending, and a slow \
         service slows the load down."
    };
    html! {
        footer {
            p {
                (how) " Quantiles come from full histograms of three significant digits. loadgen "
                (env!("CARGO_PKG_VERSION"))
            }
        }
    }
}

/// CPU time over the length of a run, as cores.
pub(crate) fn cores(cpu_s: f64, duration_s: f64) -> String {
    if duration_s > 0.0 {
        format!("{:.2} cores", cpu_s / duration_s)
    } else {
        UNKNOWN.into()
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// `2026-01-31T23:59:59Z` as `2026-01-31 23:59:59 UTC`; anything else as it is.
fn moment(text: &str) -> String {
    match text.strip_suffix('Z') {
        Some(rest) if rest.len() >= 19 => format!("{} UTC", rest.replacen('T', " ", 1)),
        Some(_) | None => text.to_owned(),
    }
}

fn split_sentence(text: &str) -> (String, String) {
    let (title, rest) = text.split_once(": ").unwrap_or((text, ""));
    (title.trim_end_matches('.').to_owned(), capital(rest))
}

/// CPU time of the service, and what it says where little was relayed.
fn busy(document: &Document, seconds: f64) -> String {
    let rate = document.messages_per_s();
    let idle = match rate.filter(|rate| *rate < FEW_PER_S) {
        Some(_) => "; at this rate mostly what the service costs at rest",
        None => "",
    };
    format!("{} of CPU time in all{idle}", words::seconds(seconds))
}

/// Messages a second below which the CPU time of a service is mostly its own timers and scrapes.
const FEW_PER_S: f64 = 1000.0;

#[cfg(test)]
mod tests {

    use super::*;
    use crate::result::Messages;

    #[test]
    fn a_missed_threshold_colours_a_run_that_is_well() {
        for (wanted, lost, class, title) in [
            (None, 0, "good", "All well"),
            (Some(2.0), 0, "good", "All well"),
            (Some(1.0), 0, "bad", "Threshold missed"),
            (Some(1.0), 3, "bad", "Messages"),
        ] {
            let wanted = wanted.map(|percent: f64| ("failed_below".to_owned(), percent.into()));
            let arguments = wanted.into_iter().collect();
            let mut document = Document::new("storm", "t", arguments, String::new());
            document.ok = lost == 0;
            document.messages = Messages {
                sent: Some(9),
                lost: Some(lost),
                ..Messages::default()
            };
            document.sessions.scheduled = Some(100);
            document.connections.peak = Some(9);
            document.sessions.failed = Some(1);
            document.verdict = (lost == 0).then_some(Verdict::Well);
            let name = "run".to_owned();
            let out = verdicts(&[Run { name, document }]).into_string();
            let begins = format!("<div class=\"verdict {class}\">");
            assert!(out.contains(&begins), "{out}");
            assert!(out.contains(&format!("<strong>{title}")), "{out}");
        }
    }
}
