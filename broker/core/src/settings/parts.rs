//! One shard's part of each budget of the process.

use crate::limits::recorder::{RECORDER_NOTES, recorder_notes};
use crate::limits::{ENVELOPE_BYTES_MAX, RECORD_BYTES_MAX, share};
use crate::settings::Settings;

impl Settings {
    /// One shard's part of [`Limits::connections`](crate::settings::Limits::connections), rounded up.
    #[must_use]
    pub fn connections_per_shard(&self) -> usize {
        self.limits.connections.div_ceil(self.shards.max(1))
    }

    /// One shard's part of [`Limits::request_bytes`](crate::settings::Limits::request_bytes), but always room for the largest
    /// request.
    #[must_use]
    pub fn request_bytes_per_shard(&self) -> usize {
        let limits = &self.limits;
        let part = limits.request_bytes / self.shards.max(1);
        part.max(limits.head_bytes + limits.body_bytes)
    }

    /// Most bytes that wait for all connections of one shard: as configured, or its part of the process's, which holds
    /// some of the largest messages on any number of shards.
    #[must_use]
    pub fn outbox_bytes_of_shard(&self) -> usize {
        self.part(
            self.limits.outbox_bytes_per_shard,
            self.limits.outbox_bytes_total,
        )
    }

    /// Most bytes of undelivered messages kept by one shard.
    #[must_use]
    pub fn pending_bytes_of_shard(&self) -> usize {
        self.part(
            self.limits.pending_bytes_per_shard,
            self.limits.pending_bytes_total,
        )
    }

    /// Most bytes of the records of one shard's channels, but always room for some of the largest.
    #[must_use]
    pub fn record_bytes_of_shard(&self) -> usize {
        let least = 4 * RECORD_BYTES_MAX;
        share(
            self.limits.record_bytes_total,
            self.shards,
            least,
            usize::MAX,
        )
    }

    /// Notes of one shard's flight recorder: as configured. The default is less on more than 16 shards, which leaves
    /// the process within its budget.
    #[must_use]
    pub fn recorder_notes_of_shard(&self) -> usize {
        match self.recorder.notes {
            RECORDER_NOTES => recorder_notes(self.shards),
            written => written,
        }
    }

    fn part(&self, of_shard: usize, total: usize) -> usize {
        let least = 4 * (self.limits.payload_bytes + ENVELOPE_BYTES_MAX);
        match of_shard {
            0 => share(total, self.shards, least, usize::MAX),
            written => written,
        }
    }
}
