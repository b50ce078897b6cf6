//! What is counted and noted: counters, log lines, durations, and the random ids that log lines and answers share.

use super::capture::{Capture, Copies};
use super::delivery_times::DeliveryTimes;
use crate::event::Counters;
use crate::journal::{Diary, Journal};

/// The books of a shard. Nothing that the shard does depends on them, but on gauges of bytes and on the places of
/// audit lines.
pub(super) struct Books {
    pub(super) counters: Counters,
    pub(super) diary: Diary,
    /// Messages delivered in this turn, not measured yet.
    pub(super) delivery_times: DeliveryTimes,
    /// Frames taken in since the start.
    pub(super) frames: u64,
    /// Request ids and versions of channels are drawn from it.
    pub(super) random: fastrand::Rng,
    /// Where copies of messages go, under `--dev`.
    pub(super) copies: Option<Box<Copies>>,
}

impl Books {
    pub(super) fn new(
        journal: Box<dyn Journal>,
        copies: Option<Box<dyn Capture>>,
        random: fastrand::Rng,
    ) -> Self {
        Self {
            counters: Counters::default(),
            diary: Diary::new(journal),
            delivery_times: DeliveryTimes::default(),
            frames: 0,
            random,
            copies: copies.map(Copies::new).map(Box::new),
        }
    }
}
