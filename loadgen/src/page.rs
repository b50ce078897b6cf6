//! Renders a report as a self-contained HTML page, which needs no network access, fonts or libraries.
//!
//! maud generates the head, the verdicts and a table of all figures, and escapes all text. `page/report.js` reads the
//! JSON embedded in the page (`data`), and replaces the table with cards, plots and tables. Without scripts, the table
//! stays.

use crate::result::rows::{QUANTILES, Row, Sense, rows};
use crate::result::{
    Document, ErrorKind, Interval, LatencyFigures, Run, STEPS, Spread, Thresholds, Verdict, words,
};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use thiserror::Error;

/// Renders 1 to [`RUNS_MAX`] runs side by side on one page.
pub fn page(runs: &[Run]) -> Result<String, PageError> {
    let first = runs.first().ok_or(PageError(0))?;
    if runs.len() > RUNS_MAX {
        return Err(PageError(runs.len()));
    }
    let (mode, target) = (&first.document.mode, visible(&first.document.target));
    let (title, heading) = match runs {
        [_] => (mode.clone(), format!("{} load", capital(mode))),
        _ => (
            format!("{} runs", runs.len()),
            format!("{} runs side by side", runs.len()),
        ),
    };
    // Allow only the page's own style and script, even if a text in a report contains HTML.
    let nonce = format!("{:032x}", fastrand::u128(..));
    let policy =
        format!("default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'");
    let rows = rows(&runs.iter().map(|run| &run.document).collect::<Vec<_>>());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="color-scheme" content="light dark";
                title { (visible(&title)) " · " (target) " · loadgen report" }
                style nonce=(nonce) { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    div {
                        p.eyebrow { "loadgen report" }
                        h1 { (visible(&heading)) }
                        p.where {
                            code { (target) } " · "
                            time { (visible(&moment(&first.document.started))) } " · "
                            (words::seconds(first.document.duration_s))
                        }
                        p.where #facts {}
                    }
                    button #theme type="button" hidden aria-label="Switch between light and dark" { "◐" }
                }
                main {
                    (verdicts(runs))
                    div #report { (figures(runs, &rows)) }
                }
                (footer(runs))
                script #data type="application/json" { (PreEscaped(data(runs, &rows))) }
                script nonce=(nonce) { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string())
}

/// There are no runs, or too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{0} reports, expected 1 to {RUNS_MAX} side by side: leave some out, or add parts of one run with --merge"
)]
pub struct PageError(usize);

/// Replaces terminal control characters and characters that change text direction with `�`.
fn visible(text: &str) -> String {
    let steers = |c: char| {
        let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || (c.is_control() && c != '\n')
    };
    text.replace(steers, "\u{fffd}")
}

/// Maximum number of runs on a page. The plots have only eight colors that are easy to tell apart.
pub const RUNS_MAX: usize = 8;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/report.js");

fn verdicts(runs: &[Run]) -> Markup {
    let named = runs.len() > 1;
    html! {
        section.verdicts aria-label="Verdict" {
            @for (colour, Run { name, document }) in runs.iter().enumerate() {
                @if let Some(saturated) = document.saturated {
                    div.verdict.warn {
                        span.mark aria-hidden="true" { "!" }
                        div {
                            strong {
                                @if named { (visible(name)) ": " }
                                (capital(saturated.words())) "."
                            }
                            p {
                                "The figures below are the driver's limit, not the service's: " (saturated.advice()) "."
                            }
                        }
                    }
                }
                @let (class, mark, title, rest) = outcome(document);
                div class={"verdict " (class)} {
                    span.mark aria-hidden="true" { (mark) }
                    div {
                        strong {
                            @if named { i class={"key c" (colour)} {} (visible(name)) " · " }
                            (visible(&title))
                        }
                        p { (visible(&rest)) }
                    }
                }
            }
        }
    }
}

fn outcome(document: &Document) -> (&'static str, &'static str, String, String) {
    let (verdict, thresholds) = (document.verdict(), document.thresholds());
    let is_missed = thresholds.as_ref().is_some_and(Thresholds::are_missed);
    let (class, mark) = match verdict {
        Verdict::Well if !is_missed => ("good", "✓"),
        Verdict::Stopped => ("warn", "■"),
        Verdict::Well | Verdict::Faulty | Verdict::TargetFailed | Verdict::Limits => ("bad", "✕"),
    };
    let words = document.verdict_words();
    let (title, rest) = words.split_once(": ").unwrap_or((&words, ""));
    let title = if verdict == Verdict::Well && is_missed {
        "Threshold missed"
    } else {
        title.trim_end_matches('.')
    };
    let thresholds = thresholds.map_or_else(String::new, |all| format!(" {}", all.words()));
    (class, mark, title.to_owned(), capital(rest) + &thresholds)
}

fn figures(runs: &[Run], rows: &[Row]) -> Markup {
    html! {
        div.card.scroll {
            table.stack[runs.len() > 1] {
                caption { "Every figure" }
                @if runs.len() > 1 { thead {
                    tr {
                        td {}
                        @for (colour, run) in runs.iter().enumerate() {
                            th scope="col" { i class={"key c" (colour)} {} (visible(&run.name)) }
                        }
                    }
                } }
                tbody {
                    @for group in rows.chunk_by(|one, next| one.group == next.group) {
                        tr.group {
                            th scope="rowgroup" colspan=(runs.len() + 1) { (group[0].group) }
                        }
                        @for Row { label, sense, values, texts, .. } in group {
                            tr {
                                th scope="row" { (visible(label)) }
                                @for ((text, value), run) in texts.iter().zip(values).zip(runs) {
                                    @let is_fault = *sense == Sense::Zero && *value > Some(0.0);
                                    td.bad[is_fault] data-column=(visible(&run.name)) { (text) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn footer(runs: &[Run]) -> Markup {
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

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

fn moment(text: &str) -> String {
    match text.strip_suffix('Z') {
        Some(rest) if rest.len() >= 19 => format!("{} UTC", rest.replacen('T', " ", 1)),
        Some(_) | None => text.to_owned(),
    }
}

/// Returns the page's JSON data. It contains no `<`, so text in the data cannot close the enclosing element.
fn data(runs: &[Run], rows: &[Row]) -> String {
    let labels = LatencyFigures::default().all().map(|(label, _)| label);
    let kinds = runs.iter().flat_map(|run| run.document.errors.keys());
    let failures = kinds.collect::<BTreeSet<_>>().into_iter().map(|kind| {
        let id = runs
            .iter()
            .find_map(|run| run.document.request_ids.get(kind));
        json!({ "kind": kind, "advice": ErrorKind::of(kind).advice, "id": id })
    });
    let data = json!({
        "runs": runs.iter().map(run).collect::<Value>(),
        "rows": rows,
        "failures": failures.collect::<Value>(),
        "steps": labels.iter().take(STEPS).collect::<Vec<_>>(),
        "whole": labels[STEPS + 1],
    });
    data.to_string().replace('<', "\\u003c")
}

fn run(Run { name, document }: &Run) -> Value {
    let latencies = &document.latency_us;
    let spans = latencies.all().into_iter();
    let lag = document.schedule_lag_us.spread();
    json!({
        "name": name,
        "mode": document.mode,
        "open_loop": document.is_open_loop(),
        "duration_s": document.duration_s,
        "faults": document.faults(),
        "cycles": document.connections.cycles,
        "headline": latencies.headline().map(|(label, _)| label),
        "spans": spans.filter_map(|(label, spread)| Some(span(label, spread?))).collect::<Value>(),
        "lag": lag.map(|spread| span("behind schedule", &spread)),
        "intervals": thinned(&document.intervals),
        "errors": document.errors,
        "arguments": document.arguments,
        "machine": document.machine,
        "versions": document.versions,
    })
}

fn span(label: &str, spread: &Spread) -> Value {
    json!({
        "label": label,
        "count": spread.count(),
        "sum_us": spread.histogram().map(|spans| spans.mean() * spans.len() as f64),
        "quantiles": QUANTILES.map(|(_, share)| spread.quantile(share)),
        "curve": curve(spread),
    })
}

/// Returns the percentile curve: quantiles as a function of the number of nines, which is -log10(1 - share).
fn curve(spread: &Spread) -> Vec<(f64, Option<u64>)> {
    let point = |share: f64| {
        let nines = -(1.0 - share).log10();
        let us = spread.quantile(share).map(|us| us.max(1));
        ((nines * 1e4).round() / 1e4, us)
    };
    if spread.histogram().is_none() {
        return [0.5, 0.9, 0.99, 0.999].map(point).into();
    }
    let end = (spread.count() as f64).log10().clamp(1.0, NINES_MAX);
    let nines = (0..=CURVE_STEPS).map(|step| end * f64::from(step) / f64::from(CURVE_STEPS));
    nines
        .map(|nines| point(1.0 - 10_f64.powf(-nines)))
        .collect()
}

/// Merges intervals of a log that are too short to compute a rate, and then merges further until at most [`POINTS_MAX`]
/// are left.
fn thinned(intervals: &[Interval]) -> Vec<Interval> {
    let few = intervals.len().div_ceil(POINTS_MAX).max(1);
    let (mut begun_s, mut first) = (0.0, 0);
    let mut points = Vec::new();
    let ends = (1..=intervals.len()).filter(|end| end % few == 0 || *end == intervals.len());
    for end in ends {
        let chunk = intervals.get(first..end).unwrap_or_default();
        let last = chunk.last().filter(|last| last.t_s - begun_s >= SHORTEST_S);
        let Some(last) = last.filter(|last| last.t_s.is_finite()) else {
            continue;
        };
        let sum = |of: fn(&Interval) -> Option<u64>| {
            let counts = chunk.iter().map(of);
            counts
                .reduce(|sum, count| Some(sum?.saturating_add(count?)))
                .flatten()
        };
        points.push(Interval {
            t_s: last.t_s,
            sessions: sum(|one| one.sessions),
            messages: sum(|one| one.messages),
            open: last.open,
            // Quantiles cannot be averaged, so use the highest one.
            p50_us: chunk.iter().filter_map(|one| one.p50_us).max(),
            p99_us: chunk.iter().filter_map(|one| one.p99_us).max(),
            errors: sum(|one| one.errors),
            hdr: None,
        });
        (begun_s, first) = (last.t_s, end);
    }
    points
}

/// Maximum number of points in a time series plot. A screen cannot show more.
const POINTS_MAX: usize = 400;
const SHORTEST_S: f64 = 0.1;
const CURVE_STEPS: u32 = 160;
/// Maximum number of nines in a percentile curve (6 for 99.9999 %). With few values, the curve ends earlier.
const NINES_MAX: f64 = 6.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{EventArguments, Messages, Saturated, ScheduleLag, spread};
    use proptest::prelude::*;

    /// Returns a run in which all figures are known and all texts are `text`.
    fn run(text: &str) -> Run {
        let histogram = spread::histogram((1..2_000).map(|us| us * us));
        let arguments = EventArguments::from([(text.to_owned(), text.into())]);
        let mut document = Document::new(text, text, arguments, text.into());
        document.duration_s = 3.0;
        document.ok = true;
        document.saturated = Some(Saturated::Cpu);
        document.messages = Messages {
            sent: Some(10),
            lost: Some(2),
            ..Messages::default()
        };
        document.latency_us.setup = Spread::of(&histogram);
        document.latency_us.connect = Spread::of(&histogram);
        document.schedule_lag_us = ScheduleLag::of(&histogram);
        document.errors.insert(text.to_owned(), 3);
        document.request_ids.insert(text.to_owned(), text.into());
        document
            .machine
            .insert(text.to_owned(), json!({text: [text]}));
        document.versions.insert(text.to_owned(), text.into());
        document.intervals = log(3);
        let name = text.to_owned();
        Run { name, document }
    }

    fn log(count: u32) -> Vec<Interval> {
        let interval = |number: u32| Interval {
            t_s: f64::from(number),
            messages: Some(10),
            p99_us: Some(number.into()),
            ..Interval::default()
        };
        (1..=count).map(interval).collect()
    }

    /// Returns the JSON that is embedded in a page.
    fn held(html: &str) -> Value {
        let (_, after) = html.split_once("type=\"application/json\">").unwrap();
        assert_eq!(html.matches("</script").count(), 2, "{html}");
        assert_eq!(html.matches("</style").count(), 1, "{html}");
        serde_json::from_str(after.split("</script>").next().unwrap()).unwrap()
    }

    #[test]
    fn one_page_that_needs_nothing_else() {
        let html = page(&[run("plain")]).unwrap();
        let namespace = html.matches("'http://www.w3.org/2000/svg'").count();
        let found = html.matches("http").count();
        assert_eq!(found, namespace + 1, "the policy and no address");
        #[rustfmt::skip] // a list
        let cases = [
            "src=", "href=", "@import", "url(", "style=", "innerHTML", "fetch(",
        ];
        for word in cases {
            assert!(!html.contains(word), "{word}");
        }
        let nonce = html
            .split("script-src 'nonce-")
            .nth(1)
            .unwrap()
            .split('\'')
            .next()
            .unwrap();
        assert!(html.contains(&format!("<script nonce=\"{nonce}\">")));
        assert!(html.contains(&format!("<style nonce=\"{nonce}\">")));
        let verdict = html.find("Messages went wrong").unwrap();
        assert!(html.find("CPU was busy").unwrap() < verdict);
        // If scripts are disabled, the page shows the verdict and every figure.
        for row in rows(&[&run("plain").document]) {
            let cells = format!("{}</th><td", row.label);
            let fine = html.contains(&cells) && html.contains(&row.texts[0]);
            assert!(fine, "{row:?}");
        }
    }

    #[test]
    fn texts_of_files_stay_texts() {
        let hostile =
            "</script></style><!--<script>--><img src=x onerror='alert(1)'>\"&\u{202e}\u{1b}[31m";
        for runs in [vec![run(hostile)], vec![run(hostile), run(hostile)]] {
            let html = page(&runs).unwrap();
            assert!(!html.contains("<img") && !html.contains("<!--") && !html.contains('\u{1b}'));
            let held = held(&html);
            #[rustfmt::skip] // a list
            let cases = ["/runs/0/name", "/runs/0/mode", "/failures/0/kind", "/failures/0/id"];
            for path in cases {
                assert_eq!(held.pointer(path).unwrap(), hostile, "{path}");
            }
            assert_eq!(held["runs"][0]["machine"][hostile][hostile][0], hostile);
        }
    }

    #[test]
    fn a_run_that_knows_nothing_has_a_page() {
        let document = Document::new("idle", "t", [].into(), String::new());
        let name = "a".to_owned();
        let html = page(&[Run { name, document }]).unwrap();
        assert!(html.contains("Not every connection was established") && !html.contains("NaN"));
        assert_eq!(held(&html)["runs"][0]["spans"], json!([]));
    }

    #[test]
    fn the_number_of_runs_is_limited() {
        let many = vec![run("a"); RUNS_MAX + 1];
        assert!(page(&many[..RUNS_MAX]).is_ok());
        assert_eq!(page(&many).unwrap_err(), PageError(RUNS_MAX + 1));
        assert!(page(&[]).unwrap_err().to_string().contains("1 to 8"));
    }

    #[test]
    fn long_runs_keep_their_counts() {
        for count in [1, 7, 400, 401, 86_400] {
            let points = thinned(&log(count));
            assert!(points.len() <= POINTS_MAX, "{count}: {}", points.len());
            let sum: u64 = points.iter().filter_map(|one| one.messages).sum();
            assert_eq!(sum, u64::from(count) * 10);
            let last = points.last().unwrap();
            let found = (last.t_s, last.p99_us);
            assert_eq!(found, (f64::from(count), Some(count.into())));
        }
    }

    #[test]
    fn an_interval_after_a_stall_is_taken_with_the_next() {
        let mut log = log(5);
        log[2].t_s = 3.95;
        let points = thinned(&log);
        let seen: Vec<_> = points
            .iter()
            .map(|one| (one.t_s, one.messages.unwrap()))
            .collect();
        assert_eq!(seen, [(1.0, 10), (2.0, 10), (3.95, 10), (5.0, 20)]);
    }

    #[test]
    fn a_missed_threshold_colours_a_run_that_is_well() {
        for (wanted, lost, class, title) in [
            (None, 0, "good", "All well"),
            (Some(2.0), 0, "good", "All well"),
            (Some(1.0), 0, "bad", "Threshold missed"),
            (Some(1.0), 3, "bad", "Messages went wrong"),
        ] {
            let wanted = wanted.map(|percent: f64| ("failed_below".to_owned(), percent.into()));
            let arguments = wanted.into_iter().collect();
            let mut document = Document::new("storm", "t", arguments, String::new());
            document.messages.sent = Some(9);
            document.messages.lost = Some(lost);
            document.sessions.scheduled = Some(100);
            document.connections.peak = Some(9);
            document.sessions.failed = Some(1);
            document.verdict = (lost == 0).then_some(Verdict::Well);
            let shown = outcome(&document);
            assert_eq!((shown.0, shown.2.as_str()), (class, title));
        }
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
            let html = page(&[run, self::run("other")]).unwrap();
            prop_assert_eq!(held(&html)["runs"].as_array().unwrap().len(), 2);
        }
    }
}
