//! The progress of asking all open connections again, after other credentials came.
//!
//! ```text
//!  credentials ─► Counting ─► Summing ──────────────► Marking ─► over
//!                 each is     until all shards have   those that are refused get
//!                 asked       counted, and 10 s when  an end within the 5 s
//!                             it is more than half
//! ```
//! A connection that has such an end is asked once more when that comes, by the credentials of then.

use crate::auth::RecheckSum;
use crate::limits::recheck::{RECHECK_CLOSE_MS, RECHECK_LATE_MS, RECHECK_LOOK_MS, RECHECK_WAIT_MS};
use crate::time::Now;

/// One walk over all open connections.
#[derive(Debug)]
pub(crate) struct Walk {
    began: Now,
    pub(crate) stage: Stage,
}

/// The stages of a walk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// Each connection is asked, from this place on; with the sums so far.
    Counting(usize, RecheckSum),
    /// The other shards are waited for, or other credentials: until this moment at least. Whether the sums are known.
    Summing(Now, bool),
    /// Those that are refused get an end by this moment; from this place on.
    Marking(usize, Now),
    /// Nothing is left to do.
    Over,
}

impl Walk {
    /// Begins with the first connection.
    pub(crate) fn begin(began: Now) -> Self {
        let none = RecheckSum {
            connections: 0,
            forbidden: 0,
        };
        Self {
            began,
            stage: Stage::Counting(0, none),
        }
    }

    /// When its next step is due.
    pub(crate) fn next_due(&self) -> Option<Now> {
        match self.stage {
            Stage::Counting(..) | Stage::Marking(..) => Some(Now(0)),
            Stage::Summing(until, _) => Some(until),
            Stage::Over => None,
        }
    }

    /// Another look at the sums is due.
    pub(crate) fn looks_again(&mut self, now: Now) {
        self.stage = Stage::Summing(now.after(RECHECK_LOOK_MS), false);
    }

    /// More than half are refused: others may come for a time.
    pub(crate) fn waits(&mut self) {
        self.stage = Stage::Summing(self.began.after(RECHECK_WAIT_MS), true);
    }

    /// Those that are refused get their ends. `waited`: others could have come until now.
    pub(crate) fn marks(&mut self, waited: bool) {
        let from = if waited { RECHECK_WAIT_MS } else { 0 };
        let by = self.began.after(from + RECHECK_CLOSE_MS);
        self.stage = Stage::Marking(0, by);
    }

    /// It is over.
    pub(crate) fn end(&mut self) {
        self.stage = Stage::Over;
    }

    /// Whether a connection may still come that was let in by the credentials of before: it was on its way between two
    /// shards.
    pub(crate) fn is_recent(&self, now: Now) -> bool {
        now.since(self.began) < RECHECK_LATE_MS
    }
}
