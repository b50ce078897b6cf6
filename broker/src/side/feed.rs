//! Event feeds for pages that update live, one per topic.
//!
//! A feed stores its newest events once, for all streams. A stream stores only its position in each feed and the event
//! that it is writing.

use crate::limits::{
    EVENT_BYTES_MAX, FEED_BYTES_WAITING_MAX, FEED_EVENTS_PER_SECOND, FEED_EVENTS_WAITING_MAX,
    STATES_BYTES_WAITING_MAX, STATES_WAITING_MAX,
};
use crate::side::shared_state::Shared;
use axum::body::Bytes;
use broker_core::id::Identity;
use serde_json::{Value, json as value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// A formatted event, which consists of `event: …`, `data: …` and an empty line. All streams share its bytes.
pub(crate) type Event = Bytes;

/// Formats an event. One `data` line suffices, since serialized JSON contains no line breaks.
pub(crate) fn event(name: &str, data: &Value) -> Event {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// Formats an event of at most [`EVENT_BYTES_MAX`]. If the event is too long, halves the list at the JSON pointer
/// `list` until it fits. The member `leftOut` then states how many entries were removed.
pub(crate) fn fitting(name: &str, mut data: Value, list: &str, keep: End) -> Event {
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

#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    First,
    Last,
}

/// Wakes the streams when a feed has a new event.
#[derive(Clone, Debug)]
pub(crate) struct Bell(watch::Sender<()>);

impl Default for Bell {
    fn default() -> Self {
        Self(watch::channel(()).0)
    }
}

impl Bell {
    fn ring(&self) {
        self.0.send_replace(());
    }

    pub(crate) fn listen(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// The feed of one topic. Sending never blocks. A stream that falls too far behind loses events, and learns how many.
#[derive(Debug)]
pub(crate) struct Feed {
    ring: Shared<Ring>,
    kind: FeedKind,
    bell: Bell,
}

/// The kind of a feed, which determines which events may be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedKind {
    /// Events, none of which may be skipped.
    Events,
    /// States of a single subject. Only the newest one matters.
    States,
    /// States of channels. Only each channel's newest one matters.
    StatesOfChannels,
}

#[derive(Debug)]
struct Ring {
    events: BTreeMap<u64, Kept>,
    newest: BTreeMap<Arc<Identity>, u64>,
    bytes: usize,
    next: u64,
    /// Events with numbers below this one may have been dropped.
    lost_before: u64,
    watchers: usize,
    /// The time when the current second began.
    since: Instant,
    sent: u32,
    skipped: u64,
}

/// A stored event and, for a channel state, the identity of the channel.
#[derive(Debug)]
struct Kept {
    of: Option<Arc<Identity>>,
    event: Event,
}

impl Kept {
    fn bytes(&self) -> usize {
        let of_channel = |of: &Arc<Identity>| of.key().len() + PLACES_BYTES;
        self.event.len() + self.of.as_ref().map_or(0, of_channel)
    }
}

#[derive(Debug)]
pub(crate) struct Position {
    feed: Arc<Feed>,
    next: u64,
    /// The channel to which the stream is restricted, or `None` if the stream receives the states of all channels.
    only: Option<Arc<Identity>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    Event(Event),
    /// The stream has lost this many events, and has been moved to the position after the last event.
    Lagged(u64),
}

impl Feed {
    pub(crate) fn of(kind: FeedKind, bell: &Bell) -> Arc<Self> {
        let ring = Ring {
            events: BTreeMap::new(),
            newest: BTreeMap::new(),
            bytes: 0,
            next: 0,
            lost_before: 0,
            watchers: 0,
            since: Instant::now(),
            sent: 0,
            skipped: 0,
        };
        Arc::new(Self {
            ring: Shared::new(ring),
            kind,
            bell: bell.clone(),
        })
    }

    /// Returns a position after the last event.
    pub(crate) fn watch(self: &Arc<Self>) -> Position {
        self.watch_only(None)
    }

    /// Returns a position after the last event. If `only` is given, the stream receives only states of that channel.
    pub(crate) fn watch_only(self: &Arc<Self>, only: Option<Arc<Identity>>) -> Position {
        let mut ring = self.ring.lock();
        ring.watchers += 1;
        Position {
            feed: Arc::clone(self),
            next: ring.next,
            only,
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.ring.lock().watchers > 0
    }

    /// Sends an event with this name to all subscribers. Calls `data` only if there are subscribers and the rate limit
    /// permits another event.
    pub(crate) fn send(&self, name: &str, data: impl FnOnce() -> Value) {
        self.send_event(|| event(name, &data()));
    }

    pub(crate) fn send_event(&self, event: impl FnOnce() -> Event) {
        let mut ring = self.ring.lock();
        if ring.watchers == 0 {
            return;
        }
        ring.next_second(Instant::now(), self.most());
        if ring.sent >= FEED_EVENTS_PER_SECOND {
            ring.skipped += 1;
            return;
        }
        ring.sent += 1;
        ring.push(None, event(), self.most());
        drop(ring);
        self.bell.ring();
    }

    /// Sends the newest state of a channel, which replaces any older state that the streams have not read yet.
    pub(crate) fn send_state(&self, of: Identity, event: impl FnOnce() -> Event) {
        let mut ring = self.ring.lock();
        if ring.watchers == 0 {
            return;
        }
        ring.push(Some(Arc::new(of)), event(), self.most());
        drop(ring);
        self.bell.ring();
    }

    /// Records that an event was lost. All streams then start again with the current state.
    pub(crate) fn lose(&self) {
        let mut ring = self.ring.lock();
        ring.next += 1;
        ring.lost_before = ring.next;
        ring.clear();
        drop(ring);
        self.bell.ring();
    }

    /// At the end of each second, reports to the streams how many events were skipped during that second.
    pub(crate) fn tick(&self, now: Instant) {
        if self.ring.lock().next_second(now, self.most()) {
            self.bell.ring();
        }
    }

    /// Returns the maximum number of events to store, and their maximum total size in bytes.
    fn most(&self) -> (usize, usize) {
        match self.kind {
            FeedKind::Events => (FEED_EVENTS_WAITING_MAX, FEED_BYTES_WAITING_MAX),
            FeedKind::States => (1, FEED_BYTES_WAITING_MAX),
            FeedKind::StatesOfChannels => (STATES_WAITING_MAX, STATES_BYTES_WAITING_MAX),
        }
    }
}

impl Ring {
    fn push(&mut self, of: Option<Arc<Identity>>, event: Event, (most, bytes): (usize, usize)) {
        let number = self.next;
        self.next += 1;
        let older = of.as_ref().and_then(|of| {
            let older = self.newest.insert(Arc::clone(of), number)?;
            self.events.remove(&older)
        });
        let kept = Kept { of, event };
        self.bytes += kept.bytes();
        self.bytes -= older.map_or(0, |older| older.bytes());
        self.events.insert(number, kept);
        while self.events.len() > most || (self.bytes > bytes && self.events.len() > 1) {
            let Some((number, oldest)) = self.events.pop_first() else {
                return;
            };
            self.bytes -= oldest.bytes();
            self.lost_before = number + 1;
            oldest.of.map(|of| self.newest.remove(&of));
        }
    }

    fn clear(&mut self) {
        (self.events, self.newest, self.bytes) = Default::default();
    }

    /// Returns the first event whose number is `number` or higher, with its number. If `only` is given, only states of
    /// that channel are considered.
    fn from(&self, number: u64, only: Option<&Identity>) -> Option<(u64, &Event)> {
        let found = match only {
            None => self.events.range(number..).next(),
            Some(only) => {
                let newest = self.newest.get(only).filter(|newest| **newest >= number);
                newest.and_then(|newest| self.events.get_key_value(newest))
            }
        };
        found.map(|(number, kept)| (*number, &kept.event))
    }

    fn next_second(&mut self, now: Instant, most: (usize, usize)) -> bool {
        if now.saturating_duration_since(self.since).as_secs() == 0 {
            return false;
        }
        (self.since, self.sent) = (now, 0);
        let skipped = std::mem::take(&mut self.skipped);
        if skipped > 0 {
            self.push(None, event("skipped", &value!({ "count": skipped })), most);
        }
        skipped > 0
    }
}

impl Position {
    pub(crate) fn move_to_end(&mut self) {
        self.next = self.feed.ring.lock().next;
    }

    pub(crate) fn next(&mut self) -> Next {
        let ring = self.feed.ring.lock();
        if self.next < ring.lost_before {
            let missed = ring.lost_before - self.next;
            if self.feed.kind != FeedKind::States {
                self.next = ring.next;
                return Next::Lagged(missed);
            }
            self.next = ring.lost_before;
        }
        let Some((number, event)) = ring.from(self.next, self.only.as_deref()) else {
            self.next = ring.next;
            return Next::Nothing;
        };
        self.next = number + 1;
        Next::Event(event.clone())
    }
}

impl Drop for Position {
    fn drop(&mut self) {
        let mut ring = self.feed.ring.lock();
        ring.watchers -= 1;
        if ring.watchers == 0 {
            ring.clear();
        }
    }
}

/// Size of one channel's entries in a feed's maps, in bytes.
const PLACES_BYTES: usize = 128;

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
        let feed = Feed::of(FeedKind::Events, &Bell::default());
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
        let feed = Feed::of(FeedKind::Events, &Bell::default());
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
        let feed = Feed::of(FeedKind::States, &Bell::default());
        let mut slow = feed.watch();
        for number in 0..9 {
            feed.send("e", || value!(number));
        }
        assert_eq!(received(&mut slow), ["event: e\ndata: 8\n\n"]);
    }

    #[test]
    fn of_states_of_channels_the_newest_of_each_comes_next() {
        let feed = Feed::of(FeedKind::StatesOfChannels, &Bell::default());
        let channel = |number: usize| Identity::new("r", "a", &format!("c{number}"));
        let (mut slow, mut of_one) = (feed.watch(), feed.watch_only(Some(Arc::new(channel(1)))));
        let send = |number: usize, state: u32| {
            feed.send_state(channel(number), || format!("{number}:{state}").into());
        };
        for (number, state) in [(0, 1), (1, 1), (0, 2), (2, 1), (1, 2)] {
            send(number, state);
        }
        assert_eq!(received(&mut slow), ["0:2", "2:1", "1:2"]);
        assert_eq!(received(&mut of_one), ["1:2"]);
        (0..STATES_WAITING_MAX).for_each(|number| send(number, 3));
        let all = received(&mut slow);
        assert_eq!(all.len(), STATES_WAITING_MAX);
        assert_eq!(received(&mut of_one), ["1:3"]);
        (0..=STATES_WAITING_MAX).for_each(|number| send(number, 4));
        assert!(matches!(slow.next(), Next::Lagged(_)), "one was dropped");
        assert_eq!(feed.ring.lock().newest.len(), STATES_WAITING_MAX);
        assert_eq!(slow.next(), Next::Nothing, "all of them are read again");
        feed.lose();
        assert!(matches!(slow.next(), Next::Lagged(_)));
        send(0, 5);
        assert_eq!(received(&mut slow), ["0:5"]);
    }

    #[test]
    fn bytes_are_bounded_and_kept_while_somebody_watches() {
        let feed = Feed::of(FeedKind::Events, &Bell::default());
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
