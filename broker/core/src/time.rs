//! Time as plain numbers; only the edge reads the clocks.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Milliseconds on the monotonic clock since the process started. Deadlines use this clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Now(pub u64);

impl Now {
    /// Returns the time `ms` milliseconds later; saturates at the maximum, "never".
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`; 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds since 1970-01-01 UTC. The clock may jump; use it only for dates, signatures and certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wall(pub u64);

/// Removes and returns the front of a queue if it is due.
pub fn take_due<T>(queue: &mut VecDeque<T>, is_due: impl FnOnce(&T) -> bool) -> Option<T> {
    let is_due = queue.front().is_some_and(is_due);
    if is_due { queue.pop_front() } else { None }
}

/// Both clocks, read once per turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Time on the monotonic clock.
    pub now: Now,
    /// Time on the wall clock.
    pub wall: Wall,
    /// Microseconds on the monotonic clock, for short intervals; wraps about every 71 minutes.
    pub micros: u32,
}
