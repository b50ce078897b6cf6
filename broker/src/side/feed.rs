//! Events for the pages that watch: each topic is a feed.
//!
//! A feed keeps its last events once, for all streams. A stream costs its position in each feed, and the one event
//! that it is writing.

use super::shared::Shared;
use crate::limits::{
    EVENT_BYTES_MAX, FEED_BYTES_WAITING_MAX, FEED_EVENTS_PER_SECOND, FEED_EVENTS_WAITING_MAX,
};
use axum::body::Bytes;
use serde_json::{Value, json as value};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// An event as it is sent: `event: …`, `data: …` and an empty line. All streams share its bytes.
pub(super) type Event = Bytes;

/// The text of an event. JSON has no line breaks, so one line of data is enough.
pub(super) fn event(name: &str, data: &Value) -> Event {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// The same, within [`EVENT_BYTES_MAX`]: a list in the data is halved until it fits, and `left_out` says by how many.
pub(super) fn fitting(name: &str, mut data: Value, list: &str, keep: End) -> Event {
    let mut left_out = 0;
    loop {
        let text = event(name, &data);
        let rows = data.pointer_mut(list).and_then(Value::as_array_mut);
        let Some(rows) = rows.filter(|rows| text.len() > EVENT_BYTES_MAX && !rows.is_empty())
        else {
            return text;
        };
        let half = rows.len().div_ceil(2);
        left_out += half;
        match keep {
            End::First => rows.truncate(rows.len() - half),
            End::Last => drop(rows.drain(..half)),
        }
        data["leftOut"] = left_out.into();
    }
}

/// Which end of a list matters more.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    First,
    Last,
}

/// Wakes the streams when there is something new in any feed.
#[derive(Clone, Debug)]
pub(super) struct Bell(watch::Sender<()>);

impl Default for Bell {
    fn default() -> Self {
        Self(watch::channel(()).0)
    }
}

impl Bell {
    fn ring(&self) {
        self.0.send_replace(());
    }

    /// A receiver for a stream, which sees each ring.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// One topic. Sending never waits: a stream that is too far behind loses events, and gets their number.
#[derive(Debug)]
pub(super) struct Feed {
    ring: Shared<Ring>,
    kind: Kind,
    bell: Bell,
}

/// The kind of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Events that each matter.
    Events,
    /// States, of which the newest matters.
    States,
}

/// The last events.
#[derive(Debug)]
struct Ring {
    events: VecDeque<Event>,
    bytes: usize,
    /// The number of the next one.
    next: u64,
    watchers: usize,
    pace: Pace,
}

/// The rate of a feed: events sent and skipped within one second.
#[derive(Debug)]
struct Pace {
    since: Instant,
    sent: u32,
    skipped: u64,
}

/// The position of one stream in a feed.
#[derive(Debug)]
pub(super) struct Position {
    feed: Arc<Feed>,
    next: u64,
}

/// The result of a read at a stream's position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing new.
    Nothing,
    /// The next event.
    Event(Event),
    /// This many were lost: the position is now behind the last one.
    Lagged(u64),
}

impl Feed {
    /// Of events that each matter.
    pub(super) fn of_events(bell: &Bell) -> Arc<Self> {
        Self::of(Kind::Events, bell)
    }

    /// Of states, of which the newest matters: a stream that is behind gets that one next.
    pub(super) fn of_states(bell: &Bell) -> Arc<Self> {
        Self::of(Kind::States, bell)
    }

    fn of(kind: Kind, bell: &Bell) -> Arc<Self> {
        let pace = Pace {
            since: Instant::now(),
            sent: 0,
            skipped: 0,
        };
        let ring = Ring {
            events: VecDeque::new(),
            bytes: 0,
            next: 0,
            watchers: 0,
            pace,
        };
        Arc::new(Self {
            ring: Shared::new(ring),
            kind,
            bell: bell.clone(),
        })
    }

    /// A position behind the last event.
    pub(super) fn watch(self: &Arc<Self>) -> Position {
        let mut ring = self.ring.lock();
        ring.watchers += 1;
        Position {
            feed: Arc::clone(self),
            next: ring.next,
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        self.ring.lock().watchers > 0
    }

    /// Sends an event of this name to all who watch; `data` is made if there are any, and the second has room.
    pub(super) fn send(&self, name: &str, data: impl FnOnce() -> Value) {
        self.send_event(|| event(name, &data()));
    }

    /// The same for a text that is made already.
    pub(super) fn send_event(&self, event: impl FnOnce() -> Event) {
        let mut ring = self.ring.lock();
        if ring.watchers == 0 {
            return;
        }
        ring.next_second(Instant::now(), self.most());
        if ring.pace.sent >= FEED_EVENTS_PER_SECOND {
            ring.pace.skipped += 1;
            return;
        }
        ring.pace.sent += 1;
        ring.push(event(), self.most());
        drop(ring);
        self.bell.ring();
    }

    /// Reports how much was skipped, once the second is over.
    pub(super) fn tick(&self, now: Instant) {
        if self.ring.lock().next_second(now, self.most()) {
            self.bell.ring();
        }
    }

    fn most(&self) -> usize {
        match self.kind {
            Kind::Events => FEED_EVENTS_WAITING_MAX,
            Kind::States => 1,
        }
    }
}

impl Ring {
    fn push(&mut self, event: Event, most: usize) {
        self.next += 1;
        self.bytes += event.len();
        self.events.push_back(event);
        while self.events.len() > most
            || (self.bytes > FEED_BYTES_WAITING_MAX && self.events.len() > 1)
        {
            let Some(oldest) = self.events.pop_front() else {
                return;
            };
            self.bytes -= oldest.len();
        }
    }

    /// Whether it said that some were skipped.
    fn next_second(&mut self, now: Instant, most: usize) -> bool {
        let pace = &mut self.pace;
        if now.saturating_duration_since(pace.since).as_secs() == 0 {
            return false;
        }
        (pace.since, pace.sent) = (now, 0);
        let skipped = std::mem::take(&mut pace.skipped);
        if skipped > 0 {
            self.push(event("skipped", &value!({ "count": skipped })), most);
        }
        skipped > 0
    }
}

impl Position {
    /// Moves behind the last event.
    pub(super) fn move_to_end(&mut self) {
        self.next = self.feed.ring.lock().next;
    }

    /// Returns the next event, or how many were lost, and moves behind it.
    pub(super) fn next(&mut self) -> Next {
        let ring = self.feed.ring.lock();
        let first = ring.next - ring.events.len() as u64;
        if self.next < first {
            let missed = first - self.next;
            if self.feed.kind == Kind::Events {
                self.next = ring.next;
                return Next::Lagged(missed);
            }
            self.next = first;
        }
        let place = usize::try_from(self.next - first).unwrap_or(usize::MAX);
        let Some(event) = ring.events.get(place) else {
            return Next::Nothing;
        };
        self.next += 1;
        Next::Event(event.clone())
    }
}

impl Drop for Position {
    fn drop(&mut self) {
        let mut ring = self.feed.ring.lock();
        ring.watchers -= 1;
        if ring.watchers == 0 {
            (ring.events, ring.bytes) = (VecDeque::new(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn received(from: &mut Position) -> Vec<String> {
        let text = |event: Bytes| String::from_utf8(event.to_vec()).unwrap();
        let next = || match from.next() {
            Next::Event(event) => Some(text(event)),
            Next::Nothing | Next::Lagged(_) => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_flood_is_cut_and_its_size_reported() {
        let feed = Feed::of_events(&Bell::default());
        feed.send("e", || unreachable!("nobody watches"));
        let mut watcher = feed.watch();
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
        let feed = Feed::of_events(&Bell::default());
        let mut slow = feed.watch();
        let more = FEED_EVENTS_WAITING_MAX + 3;
        for second in 0..more {
            feed.tick(Instant::now() + Duration::from_secs(second as u64 + 1));
            feed.send("e", || value!({}));
        }
        assert_eq!(slow.next(), Next::Lagged(3));
        assert_eq!(slow.next(), Next::Nothing, "its state comes next");
    }

    #[test]
    fn of_states_the_newest_comes_next() {
        let feed = Feed::of_states(&Bell::default());
        let mut slow = feed.watch();
        for number in 0..9 {
            feed.send("e", || value!(number));
        }
        assert_eq!(received(&mut slow), ["event: e\ndata: 8\n\n"]);
    }

    #[test]
    fn bytes_are_bounded_and_kept_while_somebody_watches() {
        let feed = Feed::of_events(&Bell::default());
        let (watcher, mut slow) = (feed.watch(), feed.watch());
        let large = "x".repeat(FEED_BYTES_WAITING_MAX / 3);
        for _ in 0..9 {
            feed.send("e", || large.clone().into());
        }
        assert_eq!(feed.ring.lock().events.len(), 2);
        assert_eq!(slow.next(), Next::Lagged(7));
        drop(slow);
        assert_eq!(feed.ring.lock().events.len(), 2);
        drop(watcher);
        let ring = feed.ring.lock();
        assert_eq!((ring.events.len(), ring.bytes), (0, 0));
    }

    #[test]
    fn a_list_is_halved_until_the_event_fits() {
        let row = "x".repeat(EVENT_BYTES_MAX / 7);
        let rows: Vec<String> = (0..16).map(|number| format!("{number}{row}")).collect();
        let read = |event: &Event| -> Value {
            let text = std::str::from_utf8(event).unwrap();
            let (_, data) = text.trim_end().split_once("data: ").unwrap();
            serde_json::from_str(data).unwrap()
        };
        for (keep, first) in [(End::First, "0x"), (End::Last, "12")] {
            let data = value!({ "of": { "rows": rows } });
            let event = fitting("e", data, "/of/rows", keep);
            assert!(event.len() <= EVENT_BYTES_MAX);
            let data = read(&event);
            let left = data["of"]["rows"].as_array().unwrap();
            assert_eq!((left.len(), &data["leftOut"]), (4, &12.into()));
            assert!(left[0].as_str().unwrap().starts_with(first), "{keep:?}");
        }
        let whole = fitting("e", value!({ "rows": [1] }), "/rows", End::First);
        assert_eq!(read(&whole), value!({ "rows": [1] }));
    }
}
