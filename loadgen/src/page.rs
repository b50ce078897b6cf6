//! A report as one HTML page that needs nothing else: no network, no fonts, no libraries. It reads without scripts; a
//! small one adds the readings under the pointer and the switch between light and dark.
//!
//! | module | what it is |
//! |---|---|
//! | [`axis`] | where values lie and which of them are written beside a plot |
//! | [`charts`] | which plots a report has, their data, and one plot as HTML and SVG |
//! | [`tables`] | the rest in words: where the time goes, failures, cost, machine, arguments |
//!
//! Head, verdicts and key figures are in this file.
//!
//! The templates are maud's, which escapes every text; those that came from a file pass through [`visible`] as well.

pub mod axis;
pub mod charts;
pub mod tables;

use crate::result::rows::UNKNOWN;
use crate::result::{Document, Thresholds, Verdict, words};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;
use std::path::Path;
use thiserror::Error;

/// A document with the name that the reader knows it by, such as its file's.
#[derive(Clone, Debug)]
pub struct Run {
    /// Shown in headings and legends.
    pub name: String,
    /// Its figures.
    pub document: Document,
}

/// Lays runs side by side on one page: at least one, at most [`RUNS_MAX`].
///
/// # Errors
/// Another number of runs.
pub fn page(runs: &[Run]) -> Result<String, PageError> {
    let first = runs.first().ok_or(PageError(0))?;
    if runs.len() > RUNS_MAX {
        return Err(PageError(runs.len()));
    }
    let title = match runs {
        [run] => format!("{} · {}", run.document.mode, run.document.target),
        _ => format!("{} runs · {}", runs.len(), first.document.target),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                title { (visible(&title)) " · loadgen report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(first, runs.len()))
                main {
                    (verdicts(runs))
                    (key_figures(runs))
                    (charts::all(runs))
                    (tables::latencies(runs))
                    (tables::errors(runs))
                    (tables::costs(runs))
                    (tables::machines(runs))
                    (tables::arguments(runs))
                }
                (footer(runs))
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string())
}

/// The number of runs does not fit a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{0} reports, allowed are 1 to {RUNS_MAX} side by side: leave some out, or add parts of one run with --merge"
)]
pub struct PageError(usize);

/// A text in which characters that steer a terminal, or the direction of writing, are `�`.
#[must_use]
pub fn visible(text: &str) -> String {
    let steers = |c: char| {
        let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || (c.is_control() && c != '\n')
    };
    text.chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Most runs side by side: as many as there are colours that the eye distinguishes.
pub const RUNS_MAX: usize = 8;

/// Nothing is fetched: the page needs nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

// The parts of a report that are words: head, verdicts, key figures, foot.

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

/// Sessions a second; of a storm, whose sessions stay to its end, their number.
fn of_sessions(document: &Document) -> Option<(&'static str, String, String)> {
    let known = |count: Option<u64>| count.map_or_else(|| UNKNOWN.into(), words::count);
    let counts = &document.sessions;
    let (completed, scheduled) = (known(counts.completed), known(counts.scheduled));
    if document.mode == "storm" {
        return Some(("Sessions", completed, format!("completed of {scheduled}")));
    }
    let rate = words::figure(document.sessions_per_s()?);
    let note = format!("{completed} completed of {scheduled}");
    Some(("Sessions per second", rate, note))
}

fn cards(document: &Document) -> Vec<(&'static str, String, String)> {
    let known = |count: Option<u64>| count.map_or_else(|| UNKNOWN.into(), words::count);
    let mut cards = Vec::new();
    cards.extend(of_sessions(document));
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

// The description of a run in a line below the title: scenario, offered load, version of the service, load of the
// machine.

/// The facts that are known.
fn facts(document: &Document) -> Vec<String> {
    let scenario = text(document, "scenario").map(|path| {
        let stem = Path::new(path).file_stem();
        format!("scenario {}", stem.unwrap_or_default().to_string_lossy())
    });
    let service = document.versions.get("service").and_then(Value::as_str);
    let service = service.map(|version| format!("service {version}"));
    let load = document.machine.get("load_average").and_then(Value::as_f64);
    let load = load.map(|load| format!("load of the machine before: {}", words::figure(load)));
    let all = [scenario, offered(document), service, load];
    all.into_iter().flatten().collect()
}

/// The load that was asked for.
fn offered(document: &Document) -> Option<String> {
    let number = |name| document.arguments.get(name).and_then(Value::as_f64);
    match document.mode.as_str() {
        "sessions" => {
            let arrival = text(document, "arrival").unwrap_or("steady");
            let how = match (number("rate"), number("sessions"), number("duration")) {
                (Some(rate), _, _) => format!("{} sessions per second", words::figure(rate)),
                (None, Some(sessions), Some(span)) => {
                    let span = words::seconds(span);
                    format!("{} sessions over {span}", words::figure(sessions))
                }
                (None, _, _) => return None,
            };
            Some(format!("offered: {how}, {arrival}"))
        }
        "storm" => {
            let viewers = number("channels")? * number("viewers_per_channel")?;
            Some(format!(
                "offered: {} viewers at once",
                words::figure(viewers)
            ))
        }
        "relay" => Some(format!(
            "closed loop, window {}",
            words::figure(number("window")?)
        )),
        _ => None,
    }
}

fn text<'d>(document: &'d Document, name: &str) -> Option<&'d str> {
    document.arguments.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Interval, Latencies, Messages, Saturated, ScheduleLag, Spread};
    use hdrhistogram::Histogram;
    use proptest::prelude::*;

    /// A run that knows every figure; each of its texts is this.
    fn run(text: &str) -> Run {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        (1..2_000_u64).for_each(|us| histogram.record(us * us).unwrap());
        let spread = || Spread::of(&histogram);
        let mut document = Document::new(
            text,
            text,
            [(text.to_owned(), text.into())].into(),
            text.into(),
        );
        document.duration_s = 3.0;
        document.ok = true;
        document.saturated = Some(Saturated::Cpu);
        document.messages = Messages {
            sent: Some(10),
            lost: Some(2),
            ..Messages::default()
        };
        document.latency_us = Latencies {
            connect: spread(),
            tls: spread(),
            upgrade: spread(),
            offer_answer: spread(),
            message: spread(),
            setup: spread(),
            recovery: spread(),
        };
        document.schedule_lag_us = ScheduleLag::of(&histogram);
        document.errors.insert(text.to_owned(), 3);
        document
            .machine
            .insert(text.to_owned(), serde_json::json!({text: [text]}));
        document.versions.insert(text.to_owned(), text.into());
        let interval = |number| Interval {
            t_s: f64::from(number),
            sessions: Some(4),
            messages: Some(5),
            open: Some(6),
            errors: Some(1),
            ..Interval::default()
        };
        document.intervals = (1..=3)
            .map(|number| interval(number).with_latencies(&histogram))
            .collect();
        Run {
            name: text.into(),
            document,
        }
    }

    /// The elements of a page that are opened and not closed, without the text of scripts and styles.
    fn unbalanced(html: &str) -> Vec<String> {
        const VOID: [&str; 2] = ["meta", "!DOCTYPE"];
        let mut open = Vec::new();
        let mut rest = html;
        while let Some((_, after)) = rest.split_once('<') {
            let Some((tag, after)) = after.split_once('>') else {
                return vec![format!("<{tag}", tag = after.len())];
            };
            let name = tag.split([' ', '\n']).next().unwrap_or_default();
            rest = after;
            match name.strip_prefix('/') {
                Some(name) if open.last().is_some_and(|last| last == name) => drop(open.pop()),
                Some(name) => return vec![format!("/{name} after {open:?}")],
                None if VOID.contains(&name) => {}
                None => open.push(name.to_owned()),
            }
            if name == "script" || name == "style" {
                let (_, after) = rest.split_once(&format!("</{name}>")).unwrap_or_default();
                rest = after;
                open.pop();
            }
        }
        open
    }

    #[test]
    fn one_page_that_needs_nothing_else() {
        let html = page(&[run("plain")]).unwrap();
        assert_eq!(unbalanced(&html), Vec::<String>::new());
        for word in ["http://", "src=", "href=", "@import", "url("] {
            assert!(!html.contains(word), "{word}");
        }
        for word in [
            "The driver's CPU was busy",
            "Messages went wrong",
            "2 lost",
            "Latency by percentile",
            "Where the time goes",
            "Failures",
            "Machine and versions",
            "name=\"viewport\"",
            "prefers-color-scheme: dark",
        ] {
            assert!(html.contains(word), "{word}");
        }
        let saturated = html.find("CPU was busy").unwrap();
        assert!(saturated < html.find("Messages went wrong").unwrap());
    }

    /// In a layout without room for columns, each cell of a table names its column.
    #[test]
    fn cells_that_stack_name_their_column() {
        let html = page(&[run("one"), run("other")]).unwrap();
        let tables: Vec<&str> = html.split("<table class=\"stack\">").skip(1).collect();
        assert!(tables.len() >= 4, "{}", tables.len());
        for table in tables {
            let body = table.split("</table>").next().unwrap_or_default();
            let (_, body) = body.split_once("<tbody>").unwrap();
            for cell in body.split("<td").skip(1) {
                let (tag, _) = cell.split_once('>').unwrap();
                let is_named = tag.contains("data-column=\"") || tag == " class=\"text\"";
                assert!(is_named, "<td{tag}>");
            }
        }
        let narrow = STYLE.split("@media (max-width: 640px)").nth(1).unwrap();
        assert!(narrow.contains(".stack td[data-column]::before { content: attr(data-column)"));
    }

    #[test]
    fn texts_of_files_stay_texts() {
        let hostile = "</script></style>--><img src=x onerror='alert(1)'>\"&\u{202e}\u{1b}[31m";
        for runs in [vec![run(hostile)], vec![run(hostile), run(hostile)]] {
            let html = page(&runs).unwrap();
            assert_eq!(unbalanced(&html), Vec::<String>::new());
            assert!(
                !html.contains("<img") && !html.contains('\u{202e}') && !html.contains('\u{1b}')
            );
        }
    }

    #[test]
    fn a_run_that_knows_nothing_has_a_page() {
        let document = Document::new("idle", "t", [].into(), String::new());
        let html = page(&[Run {
            name: "a".into(),
            document,
        }])
        .unwrap();
        assert_eq!(unbalanced(&html), Vec::<String>::new());
        assert!(
            html.contains("not every connection came about")
                || html.contains("Not every connection came about")
        );
        assert!(!html.contains("NaN") && !html.contains("class=\"card plot\""));
    }

    #[test]
    fn the_number_of_runs_is_limited() {
        let many = vec![run("a"); RUNS_MAX + 1];
        assert!(page(&many[..RUNS_MAX]).is_ok());
        assert_eq!(page(&many).unwrap_err(), PageError(RUNS_MAX + 1));
        assert!(page(&[]).unwrap_err().to_string().contains("1 to 8"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_figure_breaks_the_page(
            t_s in any::<f64>(), count in any::<u64>(), duration in any::<f64>(), text in ".{0,20}"
        ) {
            let mut run = run(&text);
            run.document.duration_s = duration;
            run.document.messages.received = Some(count);
            run.document.intervals[1].t_s = t_s;
            run.document.intervals[2].messages = Some(count);
            run.document.intervals[2].p99_us = Some(count);
            run.document.cpu.server_s = Some(t_s);
            run.document.memory.server_bytes_per_connection = Some(duration);
            let other = self::run("other");
            let html = page(&[run, other]).unwrap();
            prop_assert_eq!(unbalanced(&html), Vec::<String>::new());
        }
    }
}

#[cfg(test)]
mod sections_tests {
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

#[cfg(test)]
mod facts_tests {
    use super::*;
    use crate::result::Arguments;
    use serde_json::json;

    #[test]
    fn facts_name_what_was_run() {
        let of = |mode: &str, arguments: Value| {
            let arguments: Arguments = serde_json::from_value(arguments).unwrap();
            let mut document = Document::new(mode, "t", arguments, String::new());
            document.versions.insert("service".into(), "1.2".into());
            document.machine.insert("load_average".into(), 0.5.into());
            facts(&document).join(" · ")
        };
        let sessions =
            json!({"scenario": "a/first-minute.toml", "rate": 20.0, "arrival": "poisson"});
        assert_eq!(
            of("sessions", sessions),
            "scenario first-minute · offered: 20 sessions per second, poisson · service 1.2 · load of the machine \
             before: 0.50"
        );
        let storm = json!({"channels": 2000, "viewers_per_channel": 4});
        assert!(of("storm", storm).starts_with("offered: 8,000 viewers at once"));
        assert!(of("relay", json!({"window": 4})).starts_with("closed loop, window 4"));
        assert!(of("idle", json!({})).starts_with("service 1.2"));
    }
}
