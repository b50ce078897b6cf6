//! Counters and notes: log lines, durations, and the random ids that log lines and answers share.

pub(in crate::shard) mod delivery_times;
pub(in crate::shard) mod evidence;
pub(in crate::shard) mod recorder;
pub(in crate::shard) mod snapshot;

use crate::check::Check;
use crate::event::{Counters, Exemplars, Purpose};
use crate::journal::{Diary, Journal};
use crate::refusal_id::{RefusalIds, printed};
use crate::shard::dev::capture::{Capture, Copies};
use crate::time::Wall;
use delivery_times::DeliveryTimes;
use recorder::Recorder;

/// The books of a shard. Nothing that the shard does depends on them, but on gauges of bytes and on the places of
/// audit lines.
pub(super) struct Books {
    pub(super) counters: Counters,
    pub(super) diary: Diary,
    /// The events of channels, for operators. Here, since every step has the books to count what it notes.
    pub(super) recorder: Recorder,
    /// Session set-ups that took long.
    pub(super) slow_setups: Exemplars,
    /// Messages delivered in this turn, not measured yet.
    pub(super) delivery_times: DeliveryTimes,
    /// Frames taken in since the start.
    pub(super) frames: u64,
    /// Request ids of answers that refuse nothing, and versions of channels, are drawn from it.
    pub(super) random: fastrand::Rng,
    /// The destination of copies of messages, under `--dev`.
    pub(super) copies: Option<Box<Copies>>,
    refusal_ids: RefusalIds,
}

impl Books {
    pub(super) fn new(
        journal: Box<dyn Journal>,
        copies: Option<Box<dyn Capture>>,
        recorder: Recorder,
        random: fastrand::Rng,
        refusal_ids: RefusalIds,
    ) -> Self {
        Self {
            counters: Counters::default(),
            diary: Diary::new(journal),
            recorder,
            slow_setups: Exemplars::default(),
            delivery_times: DeliveryTimes::default(),
            frames: 0,
            random,
            copies: copies.map(Copies::new).map(Box::new),
            refusal_ids,
        }
    }

    /// A new request id: a UUID of version 4 form from the shard's generator.
    pub(super) fn request_id(&mut self) -> String {
        let bits = self.random.u128(..);
        printed(bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62)
    }

    /// The request id of a refusal, which says why: see [`crate::refusal_id`].
    pub(super) fn refusal_id(
        &mut self,
        check: Check,
        purpose: Purpose,
        status: u16,
        at: Wall,
    ) -> String {
        printed(self.refusal_ids.next(check, purpose, status, at))
    }
}
