//! Events for the pages that watch: each topic is a feed, and log lines are kept for those that begin to watch.

use super::limits::{
    FEED_EVENTS_PER_SECOND, FEED_EVENTS_WAITING_MAX, FEED_STATES_WAITING_MAX, LOG_BYTES_KEPT_MAX,
    LOG_LINES_KEPT_MAX,
};
use super::shared::Shared;
use axum::body::Bytes;
use serde_json::{Value, json as value};
use std::collections::VecDeque;
use std::time::Instant;
use tokio::sync::broadcast;

/// An event as it is sent: `event: …`, `data: …` and an empty line. All streams share its bytes.
pub(super) type Event = Bytes;

/// The text of an event. JSON has no line breaks, so one line of data is enough.
pub(super) fn event(name: &str, data: &Value) -> Event {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// One topic. Sending never waits: a watcher that is too far behind loses events, and learns how many.
#[derive(Debug)]
pub(super) struct Feed {
    to: broadcast::Sender<Event>,
    pace: Shared<Pace>,
}

/// What was sent within one second.
#[derive(Debug)]
struct Pace {
    since: Instant,
    sent: u32,
    skipped: u64,
}

impl Feed {
    /// Of events that each matter.
    pub(super) fn of_events() -> Self {
        Self::new(FEED_EVENTS_WAITING_MAX)
    }

    /// Of states, of which the newest matters.
    pub(super) fn of_states() -> Self {
        Self::new(FEED_STATES_WAITING_MAX)
    }

    fn new(most: usize) -> Self {
        let (to, _) = broadcast::channel(most);
        let pace = Pace {
            since: Instant::now(),
            sent: 0,
            skipped: 0,
        };
        Self {
            to,
            pace: Shared::new(pace),
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.to.subscribe()
    }

    pub(super) fn is_watched(&self) -> bool {
        self.to.receiver_count() > 0
    }

    /// Sends an event, made only if somebody watches and not too many were sent within the second.
    pub(super) fn send(&self, name: &str, data: impl FnOnce() -> Value) {
        if !self.is_watched() {
            return;
        }
        let mut pace = self.pace.lock();
        self.next_second(&mut pace, Instant::now());
        if pace.sent >= FEED_EVENTS_PER_SECOND {
            pace.skipped += 1;
            return;
        }
        pace.sent += 1;
        // With nobody left it is lost, which is right.
        let _ = self.to.send(event(name, &data()));
    }

    /// Says what was skipped, once the second is over.
    pub(super) fn tick(&self, now: Instant) {
        self.next_second(&mut self.pace.lock(), now);
    }

    fn next_second(&self, pace: &mut Pace, now: Instant) {
        if now.saturating_duration_since(pace.since).as_secs() == 0 {
            return;
        }
        (pace.since, pace.sent) = (now, 0);
        let skipped = std::mem::take(&mut pace.skipped);
        if skipped > 0 {
            let _ = self
                .to
                .send(event("skipped", &value!({ "count": skipped })));
        }
    }
}

/// The last lines of the log, and their feed.
#[derive(Debug)]
pub struct LogTail {
    lines: Shared<Lines>,
    feed: Feed,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<Box<str>>,
    bytes: usize,
}

impl Default for LogTail {
    fn default() -> Self {
        Self {
            lines: Shared::default(),
            feed: Feed::of_events(),
        }
    }
}

impl LogTail {
    /// A line was written to the log. Called by the log thread alone.
    pub(super) fn push(&self, line: &[u8]) {
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

    /// What is kept, the oldest first, and what comes after it.
    pub(super) fn subscribe(&self) -> (Vec<Value>, broadcast::Receiver<Event>) {
        let lines = self.lines.lock();
        let kept = lines.kept.iter().map(|line| line_json(line)).collect();
        (kept, self.feed.subscribe())
    }

    pub(super) fn tick(&self, now: Instant) {
        self.feed.tick(now);
    }
}

impl Lines {
    fn push(&mut self, line: &str) {
        self.bytes += line.len();
        self.kept.push_back(line.into());
        while self.kept.len() > LOG_LINES_KEPT_MAX || self.bytes > LOG_BYTES_KEPT_MAX {
            let Some(oldest) = self.kept.pop_front() else {
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
fn level(line: &str) -> &'static str {
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
    use std::time::Duration;
    use tokio::sync::broadcast::error::TryRecvError;

    fn received(from: &mut broadcast::Receiver<Event>) -> Vec<String> {
        let text = |event: Bytes| String::from_utf8(event.to_vec()).unwrap();
        let next = || from.try_recv().ok().map(text);
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_flood_is_cut_and_its_size_reported() {
        let feed = Feed::of_events();
        feed.send("e", || unreachable!("nobody watches"));
        let mut watcher = feed.subscribe();
        for number in 0..FEED_EVENTS_PER_SECOND + 30 {
            feed.send("e", || value!({ "n": number }));
        }
        let first = received(&mut watcher);
        assert_eq!(first.len(), FEED_EVENTS_PER_SECOND as usize);
        assert_eq!(first[0], "event: e\ndata: {\"n\":0}\n\n");
        feed.tick(Instant::now() + Duration::from_secs(1));
        assert_eq!(
            received(&mut watcher),
            ["event: skipped\ndata: {\"count\":30}\n\n"]
        );
    }

    #[test]
    fn a_watcher_that_is_behind_learns_how_many_it_lost() {
        let feed = Feed::of_events();
        let mut slow = feed.subscribe();
        let more = FEED_EVENTS_WAITING_MAX + 3;
        for second in 0..more {
            feed.tick(Instant::now() + Duration::from_secs(second as u64 + 1));
            feed.send("e", || value!({}));
        }
        assert!(matches!(slow.try_recv(), Err(TryRecvError::Lagged(3))));
    }

    #[test]
    fn the_last_lines_are_kept_within_their_bounds() {
        let tail = LogTail::default();
        for number in 0..LOG_LINES_KEPT_MAX + 10 {
            tail.push(format!("t WARN n={number}\n").as_bytes());
        }
        let (kept, mut from) = tail.subscribe();
        assert_eq!(kept.len(), LOG_LINES_KEPT_MAX);
        assert_eq!(kept[0], value!({ "level": "WARN", "text": "t WARN n=10" }));
        tail.push(b"\n");
        tail.push(b"{\"level\":\"ERROR\",\"x\":\"<b>\"}\n");
        let event = received(&mut from).remove(0);
        assert!(
            event.starts_with("event: log\ndata: {\"level\":\"ERROR\","),
            "{event}"
        );
        let long = vec![b'x'; LOG_BYTES_KEPT_MAX / 4];
        for _ in 0..9 {
            tail.push(&long);
        }
        assert_eq!(tail.subscribe().0.len(), 4);
    }
}
