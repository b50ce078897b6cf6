//! The outcome of asking all open connections again, added up over the shards of a process.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The number of open connections that other credentials would refuse, of all. Part of the credentials that they were
/// asked by: one of each set.
#[derive(Debug, Default)]
pub struct Recheck {
    /// Shards that have asked all of theirs.
    shards: AtomicU32,
    connections: AtomicU64,
    forbidden: AtomicU64,
    /// Shards that close nothing, since more than half would be refused, until other credentials may come.
    waiting: AtomicU32,
}

/// The sums of all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecheckSum {
    /// Open connections.
    pub connections: u64,
    /// Connections that are refused.
    pub forbidden: u64,
}

impl RecheckSum {
    /// Whether more than half are refused.
    #[must_use]
    pub const fn is_most(self) -> bool {
        self.forbidden > self.connections / 2
    }
}

impl Recheck {
    /// A shard has asked all of its connections. Returns the sums if it was the last of this number of shards.
    pub(crate) fn counted(&self, own: RecheckSum, shards: u32) -> Option<RecheckSum> {
        self.connections
            .fetch_add(own.connections, Ordering::Relaxed);
        self.forbidden.fetch_add(own.forbidden, Ordering::Relaxed);
        let before = self.shards.fetch_add(1, Ordering::AcqRel);
        (before + 1 >= shards).then(|| self.sums())
    }

    /// The sums, once all of this number of shards have asked theirs.
    pub(crate) fn result(&self, shards: u32) -> Option<RecheckSum> {
        (self.shards.load(Ordering::Acquire) >= shards).then(|| self.sums())
    }

    /// A shard closes nothing for a time, or goes on.
    pub(crate) fn waits(&self, waits: bool) {
        if waits {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The sums, while what is refused stays open since it is more than half.
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
