//! The progress of a drain, and of the end of connections that are too many for one turn.

use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::limits::{CLOSES_PER_TURN, DRAIN_STEP_MS};
use crate::time::{Moment, Now};
use std::collections::BTreeMap;
use std::ops::Range;

/// A drain under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    began: Now,
    ends: Now,
    next: Now,
    told: usize,
    closed: usize,
    calls_ended: bool,
    over: bool,
}

/// One step of a drain: what it does to the sessions in these places, at most [`CLOSES_PER_TURN`] of each kind.
#[derive(Debug)]
pub(crate) struct DrainStep {
    /// Those that get GO_AWAY.
    pub(crate) told: Range<usize>,
    /// Those that are closed.
    pub(crate) closed: Range<usize>,
    /// Whether waiting calls are answered: once.
    pub(crate) ends_calls: bool,
}

impl Drain {
    pub(crate) fn begin(began: Now, ends: Now) -> Self {
        Self {
            began,
            ends,
            next: began,
            told: 0,
            closed: 0,
            calls_ended: false,
            over: false,
        }
    }

    /// When its next step is due.
    pub(crate) fn next(&self) -> Option<Now> {
        (!self.over).then_some(self.next)
    }

    /// The next step, if it is due, of a walk over this number of places.
    pub(crate) fn step(&mut self, places: usize, now: Now) -> Option<DrainStep> {
        if self.over || self.next > now {
            return None;
        }
        let (told, closed) = (
            self.share(places, (0, 2), now),
            self.share(places, (2, 3), now),
        );
        let span = self.ends.since(self.began);
        let last_call = Now(self.ends.0.saturating_sub(LAST_CALL_MS.min(span / 10)));
        let (most_told, most_closed) = (self.told + CLOSES_PER_TURN, self.closed + CLOSES_PER_TURN);
        let is_behind = told > most_told || closed > most_closed;
        let (told, closed) = (told.min(most_told), closed.min(most_closed));
        let step = DrainStep {
            told: self.told..told,
            closed: self.closed..closed,
            ends_calls: now >= last_call && !self.calls_ended,
        };
        (self.told, self.closed) = (self.told.max(told), self.closed.max(closed));
        self.calls_ended |= step.ends_calls;
        let pause_ms = if is_behind { 0 } else { DRAIN_STEP_MS };
        self.next = Now(now.0 + pause_ms);
        Some(step)
    }

    /// Ends it when its time is over, or earlier when nothing is left to wait for. True once.
    pub(crate) fn end(&mut self, empty: bool, now: Now) -> bool {
        let ends = !self.over && (empty || now >= self.ends);
        self.over |= ends;
        ends
    }

    /// The number of `places` that a walk between two `quarters` of the span should have seen by `now`.
    fn share(&self, places: usize, quarters: (u64, u64), now: Now) -> usize {
        let span = self.ends.since(self.began).max(1);
        let (begin, end) = (span * quarters.0 / 4, (span * quarters.1 / 4).max(1));
        let passed = now.since(self.began).saturating_sub(begin).min(end - begin);
        usize::try_from(places as u64 * passed / (end - begin).max(1)).unwrap_or(places)
    }
}

/// The connections that are closed in the turns that follow, and the part of a turn for them. At most all open
/// WebSockets.
#[derive(Debug, Default)]
pub(crate) struct Closings {
    /// The moment of the turn: all inputs of one turn have the same.
    at: Moment,
    /// Connections closed in it.
    closed: usize,
    /// Open WebSockets, those of masters first, so that the viewers that come back find them; and why they end.
    waiting: BTreeMap<(bool, SessionKey), EndReason>,
}

impl Closings {
    /// A turn begins.
    pub(crate) fn begin_turn(&mut self, at: Moment) {
        (self.at, self.closed) = (at, 0);
    }

    /// Whether the turn of `at` has room for one more.
    pub(crate) fn has_room(&mut self, at: Moment) -> bool {
        if self.at != at {
            self.begin_turn(at);
        }
        self.closed < CLOSES_PER_TURN
    }

    /// One more is closed in this turn.
    pub(crate) fn count(&mut self) {
        self.closed += 1;
    }

    /// A connection waits for a turn with room, unless it does already: a viewer's or a master's.
    pub(crate) fn wait(&mut self, is_viewer: bool, session: SessionKey, reason: EndReason) {
        self.waiting.entry((is_viewer, session)).or_insert(reason);
    }

    /// A connection is not open any more.
    pub(crate) fn forget(&mut self, is_viewer: bool, session: SessionKey) {
        self.waiting.remove(&(is_viewer, session));
    }

    /// Whether any waits.
    pub(crate) fn has_more(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next one, if the turn of `at` has room.
    pub(crate) fn next(&mut self, at: Moment) -> Option<(SessionKey, EndReason)> {
        if !self.has_room(at) {
            return None;
        }
        let ((_, session), reason) = self.waiting.pop_first()?;
        self.count();
        Some((session, reason))
    }

    /// Those that wait, and whether each is a viewer's.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (bool, SessionKey)> {
        self.waiting.keys().copied()
    }
}

/// Time for the answers of waiting calls to reach their callers.
const LAST_CALL_MS: u64 = 500;
