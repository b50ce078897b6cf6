//! The progress of a run in several processes: each writes what it would show, and the one that started them shows the
//! sum.

use crate::live::{Audience, Progress};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;

/// A report of a part to the process that started it, a line of JSON each.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum PartNews {
    /// See [`Audience::say`].
    Said(String),
    /// See [`Audience::ready`].
    Ready,
    /// See [`Audience::show`].
    Shown(Progress),
}

/// The audience of a part: writes its news to a stream.
#[derive(Debug)]
pub struct Part<W>(pub W);

impl<W: Write> Part<W> {
    /// A stream that takes no more is passed over: the load goes on.
    fn tell(&mut self, news: &PartNews) {
        if let Ok(line) = serde_json::to_string(news) {
            let _ = writeln!(self.0, "{line}").and_then(|()| self.0.flush());
        }
    }
}

impl<W: Write> Audience for Part<W> {
    fn say(&mut self, line: &str) {
        self.tell(&PartNews::Said(line.to_owned()));
    }

    fn ready(&mut self) {
        self.tell(&PartNews::Ready);
    }

    fn show(&mut self, progress: &Progress) {
        self.tell(&PartNews::Shown(progress.clone()));
    }
}

impl Progress {
    /// Several parts of one run as one: counts and rates add up; of quantiles the highest is shown, which is their
    /// upper bound. The phase is that of the part that has come least far in time.
    #[must_use]
    pub fn of_parts<'p>(parts: impl Iterator<Item = &'p Self> + Clone) -> Option<Self> {
        let last = parts
            .clone()
            .min_by(|one, other| one.elapsed_s.total_cmp(&other.elapsed_s))?;
        let done = parts.clone().map(|part| part.done);
        let done = done.reduce(|sum, part| {
            let ((done, of), (more, more_of)) = sum.zip(part)?;
            Some((done + more, of + more_of))
        });
        let mut errors: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, count) in parts.clone().flat_map(|part| &part.errors) {
            *errors.entry(name).or_default() += count;
        }
        let mut errors: Vec<_> = errors
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let rate = |of: fn(&Self) -> Option<f64>| {
            let rates = parts.clone().filter_map(of);
            rates.reduce(|sum, rate| sum + rate)
        };
        Some(Self {
            done: done.flatten(),
            sessions_per_s: rate(|part| part.sessions_per_s),
            messages_per_s: rate(|part| part.messages_per_s),
            open: parts.clone().map(|part| part.open).sum(),
            p50_us: parts.clone().filter_map(|part| part.p50_us).max(),
            p99_us: parts.clone().filter_map(|part| part.p99_us).max(),
            failed: parts.clone().map(|part| part.failed).sum(),
            errors,
            ..last.clone()
        })
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn parts_report_what_they_would_show() {
        let progress = Progress {
            phase: "measuring".into(),
            errors: vec![("a\nb".into(), 1)],
            ..Progress::default()
        };
        let mut out = Vec::new();
        let mut part = Part(&mut out);
        part.say("opening");
        part.ready();
        part.show(&progress);
        let text = String::from_utf8(out).unwrap();
        let news: Vec<PartNews> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            news,
            [
                PartNews::Said("opening".into()),
                PartNews::Ready,
                PartNews::Shown(progress)
            ]
        );
    }

    #[test]
    fn parts_are_shown_as_one() {
        let part = |elapsed_s: f64, open, error: &str| Progress {
            phase: "opening".into(),
            elapsed_s,
            done: Some((open, 10)),
            messages_per_s: Some(5.0),
            open,
            p99_us: Some(open),
            errors: vec![("x".into(), 1), (error.to_owned(), 2)],
            failed: 3,
            ..Progress::default()
        };
        let parts = [part(2.0, 4, "a"), part(1.0, 6, "x")];
        let sum = Progress::of_parts(parts.iter()).unwrap();
        let whole = Progress {
            done: Some((10, 20)),
            messages_per_s: Some(10.0),
            open: 10,
            p99_us: Some(6),
            errors: vec![("x".into(), 4), ("a".into(), 2)],
            failed: 6,
            ..part(1.0, 0, "")
        };
        assert_eq!(sum, whole);
        assert_eq!(Progress::of_parts([].iter()), None);
    }
}
