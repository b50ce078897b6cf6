//! Documents as a text table, several side by side.

use crate::result::Document;
use crate::result::rows::rows;
use std::fmt::Write;

/// The table: the verdict of each first, then a line for each figure that at least one document knows.
///
/// `runs` are documents with the names of their columns, such as the names of their files.
#[must_use]
pub fn table(runs: &[(String, Document)]) -> String {
    let mut out = String::new();
    for (name, document) in runs {
        // Writing to a string cannot fail; a line too few would be the only harm.
        let _ = writeln!(out, "{}: {}", plain(name), document.headline());
        if let Some(saturated) = document.saturated {
            let _ = writeln!(out, "  {}", saturated.advice());
        }
    }
    let documents: Vec<&Document> = runs.iter().map(|(_, document)| document).collect();
    let mut lines = vec![heading(runs)];
    let columns = rows(&documents);
    let mut group = "";
    for (place, first) in columns.first().into_iter().flatten().enumerate() {
        if first.group != group {
            group = first.group;
            lines.push(vec![String::new()]);
            lines.push(vec![group.to_owned()]);
        }
        let values = columns.iter().map(|rows| rows.get(place));
        let mut line = vec![format!("  {}", first.label)];
        line.extend(values.map(|row| row.map_or_else(String::new, |row| row.text.clone())));
        lines.push(line);
    }
    out.push('\n');
    out.push_str(&aligned(&lines));
    if let Some(words) = documents.iter().find_map(|one| one.service_cost_words()) {
        let _ = writeln!(out, "\n{words}");
    }
    for kind in documents
        .iter()
        .flat_map(|document| document.errors.keys())
        .collect::<std::collections::BTreeSet<_>>()
    {
        let _ = writeln!(out, "\n{kind}: {}", super::ErrorKind::of(kind).advice());
        let mut ids = documents
            .iter()
            .filter_map(|document| document.request_ids.get(kind));
        if let Some(id) = ids.next() {
            let _ = writeln!(out, "  the first of them: heliograph why {}", plain(id));
        }
    }
    out
}

fn heading(runs: &[(String, Document)]) -> Vec<String> {
    let mut line = vec![String::new()];
    line.extend(runs.iter().map(|(name, _)| plain(name)));
    line
}

/// Columns as wide as their widest cell, the first to the left, the others to the right.
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

/// A name as one line of printable characters, at most [`NAME_CHARS_MAX`]: the end says most of a path.
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
    use crate::result::{Arguments, Saturated};

    fn document(lost: u64) -> Document {
        let mut document = Document::new("relay", "http://t", Arguments::new(), String::new());
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
        let text = table(&[
            ("a.json".into(), document(0)),
            ("b\u{1b}[31m.json".into(), second),
        ]);
        let line = |start: &str| {
            text.lines()
                .find(|line| line.trim_start().starts_with(start))
                .unwrap()
                .to_owned()
        };
        assert!(text.starts_with("a.json: All well"), "{text}");
        assert!(
            line("the first of").ends_with("heliograph why 0a-1"),
            "{text}"
        );
        assert!(
            line("b[31m.json:").contains("Saturated: the driver's CPU"),
            "{text}"
        );
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
            let text = table(&[("a".into(), one)]);
            assert_eq!(text.contains("wakes for each message"), explained, "{text}");
        }
    }

    #[test]
    fn columns_end_at_the_same_place() {
        let text = table(&[
            ("one".into(), document(0)),
            ("two".into(), document(10_000)),
        ]);
        let ends: Vec<usize> = text
            .lines()
            .filter(|line| line.starts_with("  "))
            .map(|line| line.chars().count())
            .collect();
        assert!(
            ends.len() > 2 && ends.windows(2).all(|pair| pair.first() == pair.last()),
            "{text}"
        );
    }
}
