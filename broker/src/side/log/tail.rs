//! The last lines of the log, and their feed.

use crate::edge::turn::calendar;
use crate::limits::{LOG_BYTES_KEPT_MAX, LOG_LINES_KEPT_MAX};
use crate::side::feed::{Bell, Feed, Position};
use crate::side::shared_state::Shared;
use broker_core::time::Wall;
use serde_json::{Value, json as value};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// The last lines of the log, and their feed.
#[derive(Debug)]
pub struct LogTail {
    lines: Shared<Lines>,
    feed: Arc<Feed>,
    bell: Bell,
}

#[derive(Debug, Default)]
struct Lines {
    /// Each with the time at which it was written.
    kept: VecDeque<(Wall, Box<str>)>,
    bytes: usize,
}

impl Default for LogTail {
    fn default() -> Self {
        let bell = Bell::default();
        Self {
            lines: Shared::default(),
            feed: Feed::of_events(&bell),
            bell,
        }
    }
}

impl LogTail {
    /// A line was written to the log. Called by the log thread alone.
    pub(crate) fn push(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        let mut lines = self.lines.lock();
        lines.push(line);
        // Under the lock, so that a watcher gets each line once: kept, or as an event.
        self.feed.send("log", || line_json(line));
    }

    /// The bell that wakes the streams of the process: log lines ring it, and all that have a clone of it.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// A position behind the last line.
    pub(crate) fn watch(&self) -> Position {
        self.feed.watch()
    }

    /// The kept lines, the oldest first; the position is behind them then.
    pub(crate) fn kept(&self, position: &mut Position) -> Vec<Value> {
        let lines = self.lines.lock();
        position.move_to_end();
        lines.kept.iter().map(|(_, line)| line_json(line)).collect()
    }

    /// Forgets lines by their time and text: their number.
    pub(crate) fn forget(&self, fits: impl Fn(Wall, &str) -> bool) -> usize {
        let mut lines = self.lines.lock();
        let before = lines.kept.len();
        lines.kept.retain(|(at, line)| !fits(*at, line));
        lines.bytes = lines.kept.iter().map(|(_, line)| line.len()).sum();
        before - lines.kept.len()
    }

    pub(crate) fn tick(&self, now: Instant) {
        self.feed.tick(now);
    }
}

impl Lines {
    fn push(&mut self, line: &str) {
        self.bytes += line.len();
        self.kept.push_back((calendar(), line.into()));
        while self.kept.len() > LOG_LINES_KEPT_MAX || self.bytes > LOG_BYTES_KEPT_MAX {
            let Some((_, oldest)) = self.kept.pop_front() else {
                return;
            };
            self.bytes -= oldest.len();
        }
    }
}

fn line_json(line: &str) -> Value {
    value!({ "level": level(line), "text": line })
}

/// The level of a line in either format of the log; `INFO` for what has none.
pub(crate) fn level(line: &str) -> &'static str {
    let word = match line.split_once("\"level\":\"") {
        Some((_, rest)) if line.starts_with('{') => rest.split('"').next(),
        Some(_) | None => line.split_whitespace().nth(1),
    };
    let levels = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
    let known = levels.into_iter().find(|level| Some(*level) == word);
    known.unwrap_or("INFO")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::feed::Next;

    #[test]
    fn the_last_lines_are_kept_within_their_bounds() {
        let tail = LogTail::default();
        for number in 0..LOG_LINES_KEPT_MAX + 10 {
            tail.push(format!("t WARN n={number}\n").as_bytes());
        }
        let mut from = tail.watch();
        let kept = tail.kept(&mut from);
        assert_eq!(kept.len(), LOG_LINES_KEPT_MAX);
        assert_eq!(kept[0], value!({ "level": "WARN", "text": "t WARN n=10" }));
        tail.push(b"\n");
        tail.push(b"{\"level\":\"ERROR\",\"x\":\"<b>\"}\n");
        let Next::Event(event) = from.next() else {
            panic!("no event")
        };
        let event = String::from_utf8(event.to_vec()).unwrap();
        assert!(
            event.starts_with("event: log\ndata: {\"level\":\"ERROR\","),
            "{event}"
        );
        let long = vec![b'x'; LOG_BYTES_KEPT_MAX / 4];
        for _ in 0..9 {
            tail.push(&long);
        }
        assert_eq!(tail.kept(&mut from).len(), 4);
    }
}
