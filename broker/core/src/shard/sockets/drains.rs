//! The progress of a drain.

use crate::time::Now;

/// A drain under way.
#[derive(Clone, Copy, Debug)]
pub(in crate::shard) struct Drain {
    pub(in crate::shard) began: Now,
    pub(in crate::shard) ends: Now,
    pub(in crate::shard) next: Now,
    pub(in crate::shard) told: usize,
    pub(in crate::shard) closed: usize,
    pub(in crate::shard) calls_ended: bool,
    pub(in crate::shard) over: bool,
}

impl Drain {
    /// When its next step is due.
    pub(in crate::shard) fn next(&self) -> Option<Now> {
        (!self.over).then_some(self.next)
    }

    /// The number of `slots` that a walk between two `quarters` of the span should have seen by `now`.
    pub(in crate::shard) fn share(&self, slots: usize, quarters: (u64, u64), now: Now) -> usize {
        let span = self.ends.since(self.began).max(1);
        let (begin, end) = (span * quarters.0 / 4, (span * quarters.1 / 4).max(1));
        let passed = now.since(self.began).saturating_sub(begin).min(end - begin);
        usize::try_from(slots as u64 * passed / (end - begin).max(1)).unwrap_or(slots)
    }
}
