//! Recent log lines, and the feed of new ones.

use crate::edge::turn::calendar;
use crate::limits::{LOG_BYTES_KEPT_MAX, LOG_LINES_SHOWN_MAX, LOG_WARNINGS_BYTES_KEPT_MAX};
use crate::side::feed::{Bell, Feed, FeedKind, Position};
use crate::side::shared_state::Shared;
use broker_core::time::Wall;
use serde_json::{Value, json as value};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Recent log lines, and the feed that publishes new ones.
#[derive(Debug)]
pub struct LogTail {
    lines: Shared<Lines>,
    feed: Arc<Feed>,
    bell: Bell,
}

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) seq: u64,
    pub(crate) at: Wall,
    pub(crate) level: &'static str,
    pub(crate) text: Box<str>,
}

/// Recent lines, and recent warnings and errors. A line may be in both rings.
#[derive(Debug)]
struct Lines {
    all: Ring,
    warnings: Ring,
    next: u64,
}

#[derive(Debug)]
struct Ring {
    kept: VecDeque<Arc<Line>>,
    bytes: usize,
    bytes_max: usize,
}

impl Default for LogTail {
    fn default() -> Self {
        let bell = Bell::default();
        let lines = Lines {
            all: Ring::of(LOG_BYTES_KEPT_MAX),
            warnings: Ring::of(LOG_WARNINGS_BYTES_KEPT_MAX),
            next: 1,
        };
        Self {
            lines: Shared::new(lines),
            feed: Feed::of(FeedKind::Events, &bell),
            bell,
        }
    }
}

impl LogTail {
    /// Stores a line that has been written. Called only by the log thread.
    pub(crate) fn push(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if text.is_empty() {
            return;
        }
        let mut lines = self.lines.lock();
        let line = Arc::new(Line {
            seq: lines.next,
            at: calendar(),
            level: level(text),
            text: text.into(),
        });
        lines.next += 1;
        if matches!(line.level, "ERROR" | "WARN") {
            lines.warnings.push(Arc::clone(&line));
        }
        lines.all.push(Arc::clone(&line));
        // The lock is held while the line is sent, so that a watcher receives each line exactly once: either among the
        // recent lines or as an event.
        self.feed.send("log", || line_json(line.level, text));
    }

    /// Returns the bell that wakes the event streams of the process. The log rings it for each new line, and other
    /// feeds may ring it, too.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(crate) fn watch(&self) -> Position {
        self.feed.watch()
    }

    /// Returns the recent lines from oldest to newest, and moves `position` past them.
    pub(crate) fn kept(&self, position: &mut Position) -> Vec<Value> {
        let lines = self.lines.lock();
        position.move_to_end();
        let all = &lines.all.kept;
        let shown = all.range(all.len().saturating_sub(LOG_LINES_SHOWN_MAX)..);
        shown.map(|it| line_json(it.level, &it.text)).collect()
    }

    pub(crate) fn newest_first(&self) -> Vec<Arc<Line>> {
        let lines = self.lines.lock();
        let oldest = lines.all.kept.front().map_or(lines.next, |line| line.seq);
        let older = lines.warnings.kept.iter().rev();
        let older = older.filter(|line| line.seq < oldest);
        let all = lines.all.kept.iter().rev().chain(older);
        all.map(Arc::clone).collect()
    }

    /// Erases the lines for which `fits` returns `true`, given their time and text. Returns how many were erased.
    pub(crate) fn forget(&self, fits: impl Fn(Wall, &str) -> bool) -> usize {
        let before = self.newest_first().len();
        let mut lines = self.lines.lock();
        let Lines { all, warnings, .. } = &mut *lines;
        for ring in [all, warnings] {
            ring.kept.retain(|line| !fits(line.at, &line.text));
            ring.bytes = ring.kept.iter().map(|line| line.bytes()).sum();
        }
        drop(lines);
        before.saturating_sub(self.newest_first().len())
    }

    pub(crate) fn tick(&self, now: Instant) {
        self.feed.tick(now);
    }
}

impl Line {
    fn bytes(&self) -> usize {
        self.text.len() + PLACES_BYTES
    }
}

impl Ring {
    fn of(bytes_max: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    fn push(&mut self, line: Arc<Line>) {
        self.bytes += line.bytes();
        self.kept.push_back(line);
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.kept.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes();
        }
    }
}

/// Memory that a line takes in addition to its text, in bytes: its allocation and an entry in each ring. Includes the
/// unused capacity of the rings, which double when they grow.
const PLACES_BYTES: usize = 128;

fn line_json(level: &str, text: &str) -> Value {
    value!({ "level": level, "text": text })
}

/// Returns the level of a line in either log format, or `INFO` if the line has none.
pub(crate) fn level(line: &str) -> &'static str {
    let word = match line.split_once("\"level\":\"") {
        Some((_, rest)) if line.starts_with('{') => rest.split('"').next(),
        Some(_) | None => line.split_whitespace().nth(1),
    };
    let known = LEVELS.into_iter().find(|level| Some(*level) == word);
    known.unwrap_or("INFO")
}

pub(crate) const LEVELS: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::feed::Next;

    #[test]
    fn the_last_lines_are_kept_within_their_bounds_and_warnings_beside_all() {
        let tail = LogTail::default();
        tail.push(b"t WARN first\n");
        let text = "x".repeat(1000);
        let fit = LOG_BYTES_KEPT_MAX / (1000 + "t INFO ".len() + PLACES_BYTES);
        (0..fit + 10).for_each(|_| tail.push(format!("t INFO {text}\n").as_bytes()));
        let kept = tail.newest_first();
        assert_eq!((kept.len(), kept[0].seq), (fit + 1, fit as u64 + 11));
        assert_eq!((&*kept[fit].text, kept[fit].seq), ("t WARN first", 1));
        tail.push(b"t ERROR last\n");
        assert_eq!(tail.newest_first()[0].level, "ERROR");
        let is_first = |_, text: &str| text.ends_with("first") || text.ends_with("last");
        assert_eq!(tail.forget(is_first), 2, "each counts once");
        let left = tail.newest_first().len();
        assert_eq!(tail.forget(|_, _| true), left);
        assert_eq!(tail.newest_first().len(), 0);
        assert_eq!(tail.lines.lock().all.bytes, 0);
    }

    #[test]
    fn a_watcher_begins_with_the_last_lines_and_gets_those_that_come() {
        let tail = LogTail::default();
        for number in 0..LOG_LINES_SHOWN_MAX + 10 {
            tail.push(format!("t WARN n={number}\n").as_bytes());
        }
        let mut from = tail.watch();
        let kept = tail.kept(&mut from);
        assert_eq!(kept.len(), LOG_LINES_SHOWN_MAX);
        assert_eq!(kept[0], value!({ "level": "WARN", "text": "t WARN n=10" }));
        tail.push(b"\n");
        tail.push(b"{\"level\":\"ERROR\",\"x\":\"<b>\"}\n");
        let Next::Event(event) = from.next() else {
            panic!("no event")
        };
        let event = String::from_utf8(event.to_vec()).unwrap();
        testkit::assert_begins(&event, "event: log\ndata: {\"level\":\"ERROR\",");
    }
}
