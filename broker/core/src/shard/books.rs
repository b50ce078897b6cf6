//! Counters and notes: log lines, durations, and the random ids that log lines and answers share.

mod clients;
mod delivery_times;
pub(crate) mod evidence;
mod messages;
pub(crate) mod recorder;
pub(crate) mod snapshot;

use crate::check::Check;
use crate::event::{Counters, Exemplars, Purpose};
use crate::journal::{Diary, Journal};
use crate::record::Version;
use crate::refusal_id::{RefusalIds, printed};
use crate::time::{Moment, Now, Wall};
use delivery_times::DeliveryTimes;
use recorder::Recorder;

/// The books of a shard. Nothing that the shard does depends on them, but on gauges of bytes and on the places of
/// audit lines.
///
/// Invariant: no message is lost or counted twice (`messages`), and no gauge counts messages without their bytes.
pub(crate) struct Books {
    counters: Counters,
    diary: Diary,
    /// The events of channels, for operators. Here, since every step has the books to count what it notes.
    recorder: Recorder,
    /// Session set-ups that took long.
    slow_setups: Exemplars,
    /// Messages delivered in this turn, not measured yet.
    delivery_times: DeliveryTimes,
    /// Frames taken in since the start.
    frames: u64,
    /// Request ids of answers that refuse nothing, and versions of channels, are drawn from it.
    random: fastrand::Rng,
    refusal_ids: RefusalIds,
}

impl Books {
    pub(crate) fn new(
        journal: Box<dyn Journal>,
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
            refusal_ids,
        }
    }

    /// A new request id: a UUID of version 4 form from the shard's generator.
    pub(crate) fn request_id(&mut self) -> String {
        let bits = self.random.u128(..);
        printed(bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62)
    }

    /// The request id of a refusal, which says why: see [`crate::refusal_id`].
    pub(crate) fn refusal_id(
        &mut self,
        check: Check,
        purpose: Purpose,
        status: u16,
        at: Wall,
    ) -> String {
        printed(self.refusal_ids.next(check, purpose, status, at))
    }

    /// A version for a channel's record, from the shard's generator.
    pub(crate) fn version(&mut self) -> Version {
        Version::draw(&mut self.random)
    }
}

impl Books {
    /// The log lines of this shard.
    pub(crate) fn diary(&mut self) -> &mut Diary {
        &mut self.diary
    }

    /// When the diary has something to note by itself.
    pub(crate) fn next_due(&self) -> Option<Now> {
        self.diary.next_due()
    }

    /// The recorder, for a note.
    #[inline]
    pub(crate) fn note(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    /// The recorder, for those who read its notes.
    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}

impl Books {
    /// All sends of a turn are over at `at`: the durations of its deliveries are counted.
    pub(crate) fn flushed(&mut self, at: Moment) {
        self.delivery_times
            .record_all(at, &mut self.counters.delivery);
    }

    /// Everything counted.
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            log_suppressed: self.diary.suppressed(),
            audit_refused: self.diary.unauditable(),
            ..self.counters.clone()
        }
    }

    /// Session set-ups that took long, the last of each bucket.
    pub(crate) fn slow_setups(&self) -> Exemplars {
        self.slow_setups
    }

    /// Checks what holds when an input was worked off.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn invariants(&self) {
        let counters = &self.counters;
        assert_eq!(
            counters.unaccounted(),
            0,
            "a message is in no place, or in two"
        );
        assert!(
            counters.all_have_their_reason(),
            "a message that was not accepted has no reason"
        );
        let empty = |messages: u64, bytes: u64| messages > 0 || bytes == 0;
        assert!(
            empty(counters.pending_messages, counters.pending_bytes),
            "bytes are kept of no message"
        );
        assert!(
            empty(counters.outbox_bytes, counters.outbox_messages),
            "a message waits in an outbox without a byte"
        );
    }
}
