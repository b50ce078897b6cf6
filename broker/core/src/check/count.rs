//! Counters by check.

use crate::check::{CHECKS, Check};

/// Counters by check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByCheck([u64; CHECKS]);

impl Default for ByCheck {
    fn default() -> Self {
        Self([0; CHECKS])
    }
}

impl ByCheck {
    /// Counts one refusal.
    pub fn count(&mut self, check: Check) {
        if let Some(count) = self.0.get_mut(check.index()) {
            *count += 1;
        }
    }

    /// Each check with its count.
    pub fn each(&self) -> impl Iterator<Item = (Check, u64)> + '_ {
        Check::ALL.iter().copied().zip(self.0)
    }

    /// Adds another shard's counts to these.
    pub fn add(&mut self, other: &Self) {
        for (sum, one) in self.0.iter_mut().zip(other.0) {
            *sum += one;
        }
    }
}
