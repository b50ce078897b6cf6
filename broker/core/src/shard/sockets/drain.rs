//! Schedules the connections that the shard closes on its own initiative. A drain closes all connections. At other
//! times, the shard spreads closes over a period, or defers them because of the per-turn limit.

use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::limits::{CLOSES_PER_TURN, DRAIN_STEP_MS, RECALL_STEP_MS};
use crate::time::{Moment, Now};
use std::collections::BTreeMap;
use std::ops::Range;

/// Schedules the connections that the shard closes on its own initiative.
#[derive(Default)]
pub(crate) struct DueEnds {
    pub(crate) drain: Option<Drain>,
    /// The position that [`Self::next_in_spread`] last returned, as a fraction of 2³².
    spread: u32,
    /// Connections whose closing was deferred because of the per-turn limit.
    pub(crate) closings: Closings,
    /// Scheduled close time of the last connection that an operator has asked to reconnect.
    recalled: Now,
}

impl DueEnds {
    /// Returns when to close the next connection that an operator has asked to reconnect: [`RECALL_STEP_MS`] after the
    /// previous one, or `now` if that is later.
    pub(crate) fn next_recall(&mut self, now: Now) -> Now {
        self.recalled = self.recalled.after(RECALL_STEP_MS).max(now);
        self.recalled
    }

    /// Returns the position of the next close within a period, as a fraction of 2³². Successive positions differ by
    /// [`GOLDEN`], which places each of them as far as possible from all earlier ones.
    pub(crate) fn next_in_spread(&mut self) -> u32 {
        self.spread = self.spread.wrapping_add(GOLDEN);
        self.spread
    }

    /// Returns a time between `now` and `by`. The times returned by successive calls are spread evenly over that
    /// period.
    pub(crate) fn spread_until(&mut self, by: Now, now: Now) -> Now {
        let left = u128::from(by.since(now));
        let part = (left * u128::from(self.next_in_spread())) >> u32::BITS;
        now.after(u64::try_from(part).unwrap_or_default())
    }
}

/// 2³² divided by the golden ratio, rounded to an odd number.
const GOLDEN: u32 = 0x9e37_79b9;

// Progress of a drain, and the queue of connections beyond a turn's close limit.

/// A drain in progress.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drain {
    /// When the drain started.
    began: Now,
    ends: Now,
    next: Now,
    told: usize,
    closed: usize,
    calls_ended: bool,
    over: bool,
}

/// The sessions to act on in one step of a drain. Each range contains at most [`CLOSES_PER_TURN`] table positions.
#[derive(Debug)]
pub(crate) struct DrainStep {
    /// Table positions of the sessions that are sent GO_AWAY.
    pub(crate) told: Range<usize>,
    /// Table positions of the sessions to close.
    pub(crate) closed: Range<usize>,
    /// Whether to answer all pending calls now. Set in only one step of the drain.
    pub(crate) ends_calls: bool,
}

impl Drain {
    pub(crate) fn begin(began: Now, ends: Now) -> Self {
        Self {
            began,
            ends,
            next: began,
            ..Self::default()
        }
    }

    /// Returns when the next step is due, or `None` if the drain is over.
    pub(crate) fn next(&self) -> Option<Now> {
        (!self.over).then_some(self.next)
    }

    /// Returns the next step, if it is due. `places` is the size of the session table.
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

    /// Ends the drain if its time is up or `empty` is set. Returns `true` if this call has ended the drain.
    pub(crate) fn end(&mut self, empty: bool, now: Now) -> bool {
        let ends = !self.over && (empty || now >= self.ends);
        self.over |= ends;
        ends
    }

    /// Returns how many of `places` table positions should have been visited by `now`. `quarters` contains the start
    /// and end of the walk, in quarters of the drain's duration.
    fn share(&self, places: usize, quarters: (u64, u64), now: Now) -> usize {
        let span = self.ends.since(self.began).max(1);
        let (begin, end) = (span * quarters.0 / 4, (span * quarters.1 / 4).max(1));
        let passed = now.since(self.began).saturating_sub(begin).min(end - begin);
        usize::try_from(places as u64 * passed / (end - begin).max(1)).unwrap_or(places)
    }
}

/// The queue of connections to close in later turns, and the number closed in this turn. Only open WebSockets are
/// queued.
#[derive(Debug, Default)]
pub(crate) struct Closings {
    /// Time of the event loop's current turn, which is the same for all inputs of that turn.
    at: Moment,
    /// Number of connections closed in the current turn.
    closed: usize,
    /// The queued WebSockets with their close reasons. Masters are closed first, so that they have reconnected by the
    /// time their viewers do.
    waiting: BTreeMap<(bool, SessionKey), EndReason>,
}

impl Closings {
    /// Starts a new turn of the event loop.
    pub(crate) fn begin_turn(&mut self, at: Moment) {
        (self.at, self.closed) = (at, 0);
    }

    /// Returns whether another connection may be closed in the turn at `at`.
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

    /// Queues a connection to be closed for `reason`. Does nothing if it is already queued.
    pub(crate) fn wait(&mut self, is_viewer: bool, session: SessionKey, reason: EndReason) {
        self.waiting.entry((is_viewer, session)).or_insert(reason);
    }

    /// Removes a connection that is no longer open from the queue.
    pub(crate) fn forget(&mut self, is_viewer: bool, session: SessionKey) {
        self.waiting.remove(&(is_viewer, session));
    }

    /// Returns whether any connection is queued.
    pub(crate) fn has_more(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the next connection to close from the queue, if the turn at `at` may close another.
    pub(crate) fn next(&mut self, at: Moment) -> Option<(SessionKey, EndReason)> {
        if !self.has_room(at) {
            return None;
        }
        let ((_, session), reason) = self.waiting.pop_first()?;
        self.count();
        Some((session, reason))
    }

    /// Returns the queued sessions. The flag is `true` for viewers.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (bool, SessionKey)> {
        self.waiting.keys().copied()
    }
}

/// How long the answers to pending calls may take to reach the callers, in milliseconds.
const LAST_CALL_MS: u64 = 500;
