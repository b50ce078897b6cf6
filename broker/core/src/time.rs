//! Time as plain numbers; only the edge reads a clock.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Monotonic milliseconds since the process started. Deadlines use this clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Now(pub u64);

impl Now {
    /// The time `ms` later; saturates at the maximum, which means "never".
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

/// Milliseconds since 1970-01-01 UTC. May jump; used only for dates, signatures and certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wall(pub u64);

/// The front of a queue, removed if it is due.
pub fn take_due<T>(queue: &mut VecDeque<T>, is_due: impl FnOnce(&T) -> bool) -> Option<T> {
    let is_due = queue.front().is_some_and(is_due);
    if is_due { queue.pop_front() } else { None }
}

/// Both clocks, sampled once per turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The monotonic clock.
    pub now: Now,
    /// The wall clock.
    pub wall: Wall,
    /// Monotonic clock in microseconds, wrapping about every 71 minutes; used to measure short intervals.
    pub micros: u32,
}
