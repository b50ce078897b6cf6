//! Points in time, as plain numbers. The core never reads a clock: its caller passes in the time.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Milliseconds since the process started, on the monotonic clock. Used for deadlines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Now(pub u64);

impl Now {
    /// Returns the time `ms` milliseconds later. Saturates at the maximum, which means "never".
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Returns the milliseconds from `earlier` to `self`, or 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds since 1970-01-01 UTC. The wall clock may jump, so this is only for dates, signatures and certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wall(pub u64);

/// Removes and returns the first item of a queue if `is_due` returns `true` for it.
pub fn take_due<T>(queue: &mut VecDeque<T>, is_due: impl FnOnce(&T) -> bool) -> Option<T> {
    let is_due = queue.front().is_some_and(is_due);
    if is_due { queue.pop_front() } else { None }
}

/// The current time on both clocks, read once per event loop iteration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The time on the monotonic clock.
    pub now: Now,
    /// The time on the wall clock.
    pub wall: Wall,
    /// Microseconds on the monotonic clock, for measuring short durations. Wraps about every 71 minutes.
    pub micros: u32,
}
