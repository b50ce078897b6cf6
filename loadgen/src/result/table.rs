//! Formats documents as a text table, either one alone or several side by side.

use crate::result::rows::{LATENCY, QUANTILES, UNKNOWN, rows};
use crate::result::{Document, Run, Verdict, words};
use hdrhistogram::Histogram;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Whether to color a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Plain text, for pipes and files.
    Plain,
    /// Colored text, for a terminal.
    Coloured,
}

impl Paint {
    /// Selects colors for a terminal, unless `NO_COLOR` is set or the terminal is `dumb`.
    #[must_use]
    pub fn of(is_terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        if is_terminal && !refused && !is_dumb {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    fn colour(self, number: u8, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\u{1b}[{number}m{text}\u{1b}[0m"),
        }
    }
}

/// Formats one row for each figure known in at least one document, followed by the verdicts. A single document also
/// gets a row per latency, with quantiles and a histogram.
#[must_use]
pub fn table(runs: &[Run], paint: Paint) -> String {
    let documents: Vec<&Document> = runs.iter().map(|run| &run.document).collect();
    let names = runs.iter().map(|run| plain(&run.name));
    let mut lines = vec![[String::new()].into_iter().chain(names).collect()];
    let mut group = "";
    for row in rows(&documents) {
        if row.group == LATENCY && runs.len() == 1 {
            continue;
        }
        if row.group != group {
            group = row.group;
            lines.push(vec![String::new()]);
            lines.push(vec![group.to_owned()]);
        }
        lines.push([vec![format!("  {}", row.label)], row.texts].concat());
    }
    let mut out = aligned(&lines);
    if let [document] = documents[..] {
        out.push_str(&percentiles(document));
    }
    if let Some(words) = documents.iter().find_map(|one| one.service_cost_words()) {
        let _ = writeln!(out, "\n{words}");
    }
    out.push_str(&advice(&documents));
    out.push('\n');
    for Run { name, document } in runs {
        let words = paint.colour(colour(document), &document.headline());
        let _ = writeln!(out, "{}: {words}", plain(name));
        if let Some(saturated) = document.saturated {
            let _ = writeln!(out, "  {}", saturated.advice());
        }
    }
    out
}

/// Formats the advice for each kind of failure, with the command that explains the first refused request of that kind.
fn advice(documents: &[&Document]) -> String {
    let mut out = String::new();
    let kinds = documents.iter().flat_map(|document| document.errors.keys());
    for kind in kinds.collect::<BTreeSet<_>>() {
        let _ = writeln!(out, "\n{kind}: {}", super::ErrorKind::of(kind).advice);
        let mut ids = documents
            .iter()
            .filter_map(|document| document.request_ids.get(kind));
        if let Some(id) = ids.next() {
            let _ = writeln!(out, "  the first of them: heliograph why {}", plain(id));
        }
    }
    out
}

/// Returns the ECMA-48 color for a run: green if it succeeded, red if it failed, and yellow if it was stopped,
/// saturated or missed a threshold.
fn colour(document: &Document) -> u8 {
    let missed = document.thresholds().is_some_and(|it| it.are_missed());
    match document.verdict() {
        Verdict::Well if document.saturated.is_some() || missed => 33,
        Verdict::Well => 32,
        Verdict::Stopped => 33,
        Verdict::Faulty | Verdict::TargetFailed | Verdict::Limits => 31,
    }
}

/// Formats each latency's percentiles, and as much of its distribution as fits on a terminal.
fn percentiles(document: &Document) -> String {
    let head = QUANTILES.iter().map(|(name, _)| (*name).to_owned());
    let head = [LATENCY.to_owned()].into_iter().chain(head);
    let mut lines: Vec<Vec<String>> = vec![head.collect()];
    let mut histograms = Vec::new();
    for (label, spread) in document.latency_us.all() {
        let Some(spread) = spread else {
            continue;
        };
        let mut line = vec![format!("  {label}")];
        line.extend(QUANTILES.map(|(_, share)| {
            let us = spread.quantile(share);
            us.map_or_else(|| UNKNOWN.into(), words::span_us)
        }));
        lines.push(line);
        histograms.push(spread.histogram());
    }
    if histograms.is_empty() {
        return String::new();
    }
    let text = aligned(&lines);
    let width = text.lines().map(|line| line.chars().count()).max();
    let room = COLUMNS.saturating_sub(width.unwrap_or_default() + 2);
    let room = room.min(BARS);
    let head: String = "spread".chars().take(room).collect();
    let shown = histograms.into_iter();
    let shown = shown.map(|it| it.map_or_else(String::new, |it| bars(it, room)));
    let rows = text.lines().zip([head].into_iter().chain(shown));
    let rows = rows.map(|(line, bars)| format!("\n{}", format!("{line}  {bars}").trim_end()));
    rows.chain(["\n".to_owned()]).collect()
}

fn bars(histogram: &Histogram<u64>, columns: usize) -> String {
    let place_of = |us: u64| (us.max(1) as f64).ln();
    let (low, high) = (place_of(histogram.min()), place_of(histogram.max()));
    let mut counts = vec![0_u64; columns];
    for value in histogram.iter_recorded() {
        let share = (place_of(value.value_iterated_to()) - low) / (high - low).max(1e-9);
        let place = floor(share * columns as f64).min(columns.saturating_sub(1));
        if let Some(count) = counts.get_mut(place) {
            *count += value.count_at_value();
        }
    }
    let most = counts.iter().copied().max().unwrap_or_default().max(1);
    let bar = |count: u64| match count {
        0 => ' ',
        // Make every nonzero count visible.
        _ => {
            let height = floor(count as f64 / most as f64 * 7.0 + 0.5);
            HEIGHTS.get(height).copied().unwrap_or(' ')
        }
    };
    counts.into_iter().map(bar).collect()
}

fn floor(value: f64) -> usize {
    usize::try_from(words::whole(value.floor())).unwrap_or(usize::MAX)
}

const COLUMNS: usize = 80;
const BARS: usize = 12;
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Pads each column to its widest cell. The first column is left-aligned, and all others are right-aligned.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in lines {
        let mut text = String::new();
        for (place, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let _ = if place == 0 {
                write!(text, "{cell:<width$}")
            } else {
                write!(text, "  {cell:>width$}")
            };
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// Reduces a name to a single line of at most [`NAME_CHARS_MAX`] printable characters. The beginning of a longer name
/// is cut off.
fn plain(name: &str) -> String {
    let printable = name.chars().filter(|c| !c.is_control());
    let chars: Vec<char> = printable.collect();
    let from = chars.len().saturating_sub(NAME_CHARS_MAX);
    chars.iter().skip(from).collect()
}

const NAME_CHARS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{EventArguments, Saturated, Spread, spread};

    fn shown(runs: &[(&str, &Document)]) -> String {
        let run = |(name, document): &(&str, &Document)| Run {
            name: (*name).to_owned(),
            document: (*document).clone(),
        };
        table(&runs.iter().map(run).collect::<Vec<_>>(), Paint::Plain)
    }

    fn document(lost: u64) -> Document {
        let mut document = Document::new("relay", "http://t", EventArguments::new(), String::new());
        document.ok = lost == 0;
        document.messages.sent = Some(1_234_567);
        document.messages.lost = Some(lost);
        document
    }

    #[test]
    fn side_by_side() {
        let mut second = document(3);
        second.errors.insert("status:403".into(), 2);
        second
            .request_ids
            .insert("status:403".into(), "0a-1".into());
        second.saturated = Some(Saturated::Cpu);
        let text = shown(&[("a.json", &document(0)), ("b\u{1b}[31m.json", &second)]);
        let line = |start: &str| {
            text.lines()
                .find(|line| line.trim_start().starts_with(start))
                .unwrap()
                .to_owned()
        };
        assert!(text.contains("\na.json: All well"), "{text}");
        let fine = text.ends_with(&format!("  {}\n", Saturated::Cpu.advice()));
        assert!(fine, "{text}");
        let fine = line("the first of").ends_with("heliograph why 0a-1");
        assert!(fine, "{text}");
        let fine = line("b[31m.json:").contains("Saturated: the driver's CPU");
        assert!(fine, "{text}");
        let words = |start: &str| {
            line(start)
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words("sent"), ["sent", "1,234,567", "1,234,567"]);
        assert_eq!(words("lost"), ["lost", "0", "3"]);
        assert_eq!(words("status:403 "), ["status:403", "0", "2"]);
        assert!(line("status:403: ").contains("policy"));
        assert!(!text.contains("reordered"), "nobody knows it: {text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_cost_at_a_low_rate_is_explained() {
        for (messages, explained) in [(150, true), (150_000, false)] {
            let mut one = document(0);
            one.cpu.server_us_per_message = Some(38.7);
            one.duration_s = 3.0;
            one.messages.received = Some(messages);
            let text = shown(&[("a", &one)]);
            assert_eq!(text.contains("wakes for each message"), explained, "{text}");
        }
    }

    #[test]
    fn one_run_has_its_quantiles_side_by_side_with_a_histogram() {
        let histogram = spread::histogram([100, 110, 115, 120, 1_000]);
        let mut one = document(0);
        one.latency_us.message = Spread::of(&histogram);
        let text = shown(&[("a", &one)]);
        let mut lines = text.lines().skip_while(|line| !line.starts_with("Latency"));
        let head: Vec<&str> = lines.next().unwrap().split_whitespace().take(6).collect();
        assert_eq!(head, ["Latency", "p50", "p90", "p99", "p99.9", "max"]);
        let line = lines.next().unwrap();
        assert!(line.starts_with("  message"), "{text}");
        assert!(line.ends_with("█          ▃"), "{line:?}");
        one.latency_us.recovery = Spread::of(&spread::histogram([14_100, 14_200, 94_500]));
        let wide = shown(&[("a", &one)]);
        let widths = wide.lines().map(|line| line.chars().count());
        assert!(widths.max() <= Some(COLUMNS), "{wide}");
        let fine =
            text.ends_with("\na: All well: every message arrived once, in order and unchanged.\n");
        assert!(fine, "{text}");
        assert!(!text.contains('\u{1b}'));
        let name = "a".to_owned();
        let run = Run {
            name,
            document: one,
        };
        let text = table(&[run], Paint::Coloured);
        assert!(text.contains("a: \u{1b}[32mAll well"), "{text}");
    }

    #[test]
    fn columns_end_at_the_same_place() {
        let text = shown(&[("one", &document(0)), ("two", &document(10_000))]);
        let ends: Vec<usize> = text
            .lines()
            .filter(|line| line.starts_with("  "))
            .map(|line| line.chars().count())
            .collect();
        let fine = ends.len() > 2 && ends.windows(2).all(|pair| pair.first() == pair.last());
        assert!(fine, "{text}");
    }
}
