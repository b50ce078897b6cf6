//! The result of rechecking open connections against new credentials, summed over all shards.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Counts the open connections that new credentials would refuse. Each set of credentials has its own counters, which
/// all shards share.
#[derive(Debug, Default)]
pub struct Recheck {
    /// Number of shards that have rechecked all of their connections.
    shards: AtomicU32,
    connections: AtomicU64,
    forbidden: AtomicU64,
    /// Number of shards that are waiting for newer credentials before they close any connection, because the current
    /// ones would refuse more than half of all connections.
    waiting: AtomicU32,
}

/// Totals over all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecheckSum {
    /// Number of open connections.
    pub connections: u64,
    /// Number of open connections that the new credentials no longer permit.
    pub forbidden: u64,
}

impl RecheckSum {
    /// Returns `true` if more than half of all connections are refused.
    #[must_use]
    pub const fn is_most(self) -> bool {
        self.forbidden > self.connections / 2
    }
}

impl Recheck {
    pub(crate) fn counted(&self, own: RecheckSum, shards: u32) -> Option<RecheckSum> {
        self.connections
            .fetch_add(own.connections, Ordering::Relaxed);
        self.forbidden.fetch_add(own.forbidden, Ordering::Relaxed);
        let before = self.shards.fetch_add(1, Ordering::AcqRel);
        (before + 1 >= shards).then(|| self.sums())
    }

    pub(crate) fn result(&self, shards: u32) -> Option<RecheckSum> {
        (self.shards.load(Ordering::Acquire) >= shards).then(|| self.sums())
    }

    pub(crate) fn waits(&self, waits: bool) {
        if waits {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Returns the totals if at least one shard postpones closing connections because more than half of all connections
    /// would be refused.
    #[must_use]
    pub fn waiting(&self) -> Option<RecheckSum> {
        (self.waiting.load(Ordering::Relaxed) > 0).then(|| self.sums())
    }

    fn sums(&self) -> RecheckSum {
        RecheckSum {
            connections: self.connections.load(Ordering::Relaxed),
            forbidden: self.forbidden.load(Ordering::Relaxed),
        }
    }
}
