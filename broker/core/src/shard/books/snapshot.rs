//! A copy of one shard's counters and gauges between two turns, and how shards add up.

use crate::event::{CONNECTION_ROLES, Counters, Exemplars};

/// The figures of one shard in a scrape, which shows the sum over all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Connections by [`ConnectionRole`](crate::event::ConnectionRole).
    pub connections: [u64; CONNECTION_ROLES],
    /// Channels that exist, those included that are being created or deleted.
    pub channels: u64,
    /// Channels whose deletion is not durable yet.
    pub deleting: u64,
    /// Bytes of their records: see `limits.record_bytes_total`.
    pub record_bytes: u64,
    /// Entries of the timer wheel: never more than there are sessions and channels.
    pub timers: u64,
    /// Channel records that pages of ListSignalingChannels and of the inspector have looked at.
    pub records_read: u64,
    /// Alexa calls of other shards that were taken in, and that these have not confirmed to be over.
    pub call_places: u64,
    /// Devices that wait on its channels.
    pub waiting_devices: u64,
    /// Requests that wait for a node that has their channel.
    pub parked: u64,
    /// Bytes that HTTP connections hold of requests and of answers not taken: see `limits.request_bytes`.
    pub request_bytes: u64,
    /// HTTP connections that were refused or cut off since they held most of those bytes.
    pub requests_refused: u64,
    /// Since when the recorder has notes, in microseconds since the start; `None` when nothing is recorded, and in the
    /// sum of shards.
    pub recorded_since_us: Option<u64>,
    /// Session set-ups that took long; none in the sum of shards, since their numbers are the shard's.
    pub slow_setups: Exemplars,
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
        self.deleting += other.deleting;
        self.record_bytes += other.record_bytes;
        self.timers += other.timers;
        self.records_read += other.records_read;
        self.call_places += other.call_places;
        self.waiting_devices += other.waiting_devices;
        self.parked += other.parked;
        self.request_bytes += other.request_bytes;
        self.requests_refused += other.requests_refused;
        self.counters.add(&other.counters);
    }
}
