//! The invariants of the parts, checked in debug builds.

use crate::shard::Shard;

impl Shard {
    /// Checks that each part keeps its promise: after every input, when all that it left is worked off.
    #[inline]
    pub(in crate::shard) fn check(&self) {
        if cfg!(debug_assertions) {
            self.books.invariants();
            self.gate.invariants();
        }
    }
}
