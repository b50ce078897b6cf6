//! A copy of one shard's counters and gauges between two turns, and how shards add up.

use crate::event::{Counters, PLACES};

/// What a scrape sees of one shard; the sum is what it sees of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Connections by [`Place`].
    pub connections: [u64; PLACES],
    /// Channels that exist.
    pub channels: u64,
    /// Everything counted.
    pub counters: Counters,
}

impl Snapshot {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        for (sum, one) in self.connections.iter_mut().zip(other.connections) {
            *sum += one;
        }
        self.channels += other.channels;
        self.counters.add(&other.counters);
    }
}
