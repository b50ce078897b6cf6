//! The progress of a drain.

use crate::limits::DRAIN_STEP_MS;
use crate::time::Now;
use std::ops::Range;

/// A drain under way.
#[derive(Clone, Copy, Debug)]
pub(in crate::shard) struct Drain {
    began: Now,
    ends: Now,
    next: Now,
    told: usize,
    closed: usize,
    calls_ended: bool,
    over: bool,
}

/// One step of a drain: what it does to the sessions in these places.
#[derive(Debug)]
pub(in crate::shard) struct DrainStep {
    /// Those that get GO_AWAY.
    pub(in crate::shard) told: Range<usize>,
    /// Those that are closed.
    pub(in crate::shard) closed: Range<usize>,
    /// Whether waiting calls are answered: once.
    pub(in crate::shard) ends_calls: bool,
}

impl Drain {
    pub(super) fn begin(began: Now, ends: Now) -> Self {
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
    pub(super) fn next(&self) -> Option<Now> {
        (!self.over).then_some(self.next)
    }

    /// The next step, if it is due, of a walk over this number of places.
    pub(super) fn step(&mut self, places: usize, now: Now) -> Option<DrainStep> {
        if self.over || self.next > now {
            return None;
        }
        let (told, closed) = (
            self.share(places, (0, 2), now),
            self.share(places, (2, 3), now),
        );
        let span = self.ends.since(self.began);
        let last_call = Now(self.ends.0.saturating_sub(LAST_CALL_MS.min(span / 10)));
        let step = DrainStep {
            told: self.told..told,
            closed: self.closed..closed,
            ends_calls: now >= last_call && !self.calls_ended,
        };
        (self.told, self.closed) = (self.told.max(told), self.closed.max(closed));
        self.calls_ended |= step.ends_calls;
        self.next = Now(now.0 + DRAIN_STEP_MS);
        Some(step)
    }

    /// Ends it when its time is over, or earlier when nothing is left to wait for. True once.
    pub(super) fn end(&mut self, empty: bool, now: Now) -> bool {
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

/// Time for the answers of waiting calls to reach their callers.
const LAST_CALL_MS: u64 = 500;
