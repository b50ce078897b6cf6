//! The schedule of the connections that the shard closes by itself: all of them in a drain, those whose closes are
//! spread over time, and those that exceed the limit per turn.

use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::limits::{CLOSES_PER_TURN, DRAIN_STEP_MS, RECALL_STEP_MS};
use crate::time::{Moment, Now};
use std::collections::BTreeMap;
use std::ops::Range;

/// Schedule of connections that the shard itself is going to close.
#[derive(Default)]
pub(crate) struct DueEnds {
    pub(crate) drain: Option<Drain>,
    /// Position within the spread of closes of the last connection closed without notice, as a fraction of 2³².
    spread: u32,
    /// Connections that could not be closed yet because of the limit per turn.
    pub(crate) closings: Closings,
    /// When the last connection recalled by an operator is closed; the next one follows after an interval.
    recalled: Now,
}

impl DueEnds {
    /// Returns when to close the next connection recalled by an operator: [`RECALL_STEP_MS`] after the previous one.
    pub(crate) fn next_recall(&mut self, now: Now) -> Now {
        self.recalled = self.recalled.after(RECALL_STEP_MS).max(now);
        self.recalled
    }

    /// Returns the position within the spread of closes of the next connection closed without notice, as a fraction of
    /// 2³². Positions are multiples of the golden ratio, which keeps them as far apart from earlier ones as possible.
    pub(crate) fn next_in_spread(&mut self) -> u32 {
        self.spread = self.spread.wrapping_add(GOLDEN);
        self.spread
    }

    /// Returns a time between now and `by`, spread evenly among the times assigned to other connections.
    pub(crate) fn spread_until(&mut self, by: Now, now: Now) -> Now {
        let left = u128::from(by.since(now));
        let part = (left * u128::from(self.next_in_spread())) >> u32::BITS;
        now.after(u64::try_from(part).unwrap_or_default())
    }
}

/// 2³² divided by the golden ratio, rounded to an odd number.
const GOLDEN: u32 = 0x9e37_79b9;

// Progress of a drain, and of closing connections that are too many for one turn.

/// A drain in progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// When the drain began.
    began: Now,
    ends: Now,
    next: Now,
    told: usize,
    closed: usize,
    calls_ended: bool,
    over: bool,
}

/// A step of a drain: the table positions of the sessions it acts on, at most [`CLOSES_PER_TURN`] of each kind.
#[derive(Debug)]
pub(crate) struct DrainStep {
    /// Table positions of the sessions to send GO_AWAY to.
    pub(crate) told: Range<usize>,
    /// Table positions of the sessions to close.
    pub(crate) closed: Range<usize>,
    /// Whether to answer pending calls, which happens once.
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

    /// Returns when the next step is due.
    pub(crate) fn next(&self) -> Option<Now> {
        (!self.over).then_some(self.next)
    }

    /// Returns the next step, if due, of a walk over this many table positions.
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

    /// Ends the drain when its time is up, or earlier if `empty`. Returns `true` exactly once.
    pub(crate) fn end(&mut self, empty: bool, now: Now) -> bool {
        let ends = !self.over && (empty || now >= self.ends);
        self.over |= ends;
        ends
    }

    /// Returns how many of `places` a walk between two `quarters` of the drain's duration should have visited by `now`.
    fn share(&self, places: usize, quarters: (u64, u64), now: Now) -> usize {
        let span = self.ends.since(self.began).max(1);
        let (begin, end) = (span * quarters.0 / 4, (span * quarters.1 / 4).max(1));
        let passed = now.since(self.began).saturating_sub(begin).min(end - begin);
        usize::try_from(places as u64 * passed / (end - begin).max(1)).unwrap_or(places)
    }
}

/// Connections to be closed in subsequent turns, at most all open WebSockets, and the number closed in the current
/// turn.
#[derive(Debug, Default)]
pub(crate) struct Closings {
    /// The time of the turn, shared by all its inputs.
    at: Moment,
    /// Number of connections closed in the turn.
    closed: usize,
    /// Open WebSockets and their close reasons, masters first, so that reconnecting viewers find them.
    waiting: BTreeMap<(bool, SessionKey), EndReason>,
}

impl Closings {
    /// Starts a new turn.
    pub(crate) fn begin_turn(&mut self, at: Moment) {
        (self.at, self.closed) = (at, 0);
    }

    /// Whether another connection may be closed within the budget of the turn at `at`.
    pub(crate) fn has_room(&mut self, at: Moment) -> bool {
        if self.at != at {
            self.begin_turn(at);
        }
        self.closed < CLOSES_PER_TURN
    }

    /// Counts a connection closed in this turn.
    pub(crate) fn count(&mut self) {
        self.closed += 1;
    }

    /// Queues a viewer's or a master's connection for closing, unless it is already queued.
    pub(crate) fn wait(&mut self, is_viewer: bool, session: SessionKey, reason: EndReason) {
        self.waiting.entry((is_viewer, session)).or_insert(reason);
    }

    /// Removes a connection that is no longer open from the queue.
    pub(crate) fn forget(&mut self, is_viewer: bool, session: SessionKey) {
        self.waiting.remove(&(is_viewer, session));
    }

    /// Whether any connection is queued.
    pub(crate) fn has_more(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns the next connection to close, if the budget of the turn at `at` permits.
    pub(crate) fn next(&mut self, at: Moment) -> Option<(SessionKey, EndReason)> {
        if !self.has_room(at) {
            return None;
        }
        let ((_, session), reason) = self.waiting.pop_first()?;
        self.count();
        Some((session, reason))
    }

    /// Returns the queued sessions, and whether each is a viewer's.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (bool, SessionKey)> {
        self.waiting.keys().copied()
    }
}

/// Time allowed for the answers of pending calls to reach their callers, in milliseconds.
const LAST_CALL_MS: u64 = 500;
