//! A report as one HTML page that needs nothing else: no network, no fonts, no libraries. It reads without scripts; a
//! small one adds the readings under the pointer and the switch between light and dark.
//!
//! | module | what it is |
//! |---|---|
//! | [`axis`] | where values lie and which of them are written beside a plot |
//! | [`plot`] | one plot as HTML and SVG |
//! | [`charts`] | which plots a report has, and their data |
//! | [`sections`] | head, verdicts, key figures |
//! | [`times`] | where the time goes |
//! | [`tables`] | the rest in words: failures, cost, machine, arguments |
//!
//! The templates are maud's, which escapes every text; those that came from a file pass through [`visible`] as well.

pub mod axis;
pub mod charts;
mod facts;
pub mod plot;
pub mod sections;
mod shades;
pub mod tables;
pub mod times;

use crate::result::Document;
use maud::{DOCTYPE, PreEscaped, html};
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
                (sections::header(first, runs.len()))
                main {
                    (sections::verdicts(runs))
                    (sections::key_figures(runs))
                    (charts::all(runs))
                    (times::latencies(runs))
                    (tables::errors(runs))
                    (tables::costs(runs))
                    (tables::machines(runs))
                    (tables::arguments(runs))
                }
                (sections::footer(runs))
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
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

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
