//! The ledger of messages. Each that was received is in exactly one place until it ends: kept for an absent recipient,
//! in an outbox, or in the hands of the step that moves it.
//!
//! ```text
//!  count_received ──► in hand ── count_queued ──► in an outbox ── count_sent ──► ended: delivered
//!                     │  ▲  ▲ ◄─ count_taken_back ─┘
//!                     │  │  └─── count_unkept ──── kept ── count_kept_ended ──► ended
//!                     │  └───────────────────────── ▲
//!                     ├── count_kept ───────────────┘
//!                     └── count_ended, count_unaccepted ────────────────────► ended
//! ```
//! When an input is over none is in hand: `Books::invariants`. Bytes are gauges beside it: of what is kept, and of what
//! waits in outboxes, by messages and everything else.

use crate::event::{Exemplar, Kind, Outcome};
use crate::id::SessionKey;
use crate::journal::Unaccepted;
use crate::session::outbox::{Launch, Load};
use crate::shard::books::Books;
use crate::time::Moment;

impl Books {
    /// A message was taken in.
    #[inline]
    pub(crate) fn count_received(&mut self, kind: Kind) {
        self.counters.receive(kind);
    }

    /// A message ended that was neither kept nor in an outbox.
    #[inline]
    pub(crate) fn count_ended(&mut self, kind: Kind, outcome: Outcome) {
        self.counters.end(kind, outcome);
    }

    /// A message was not accepted.
    pub(crate) fn count_unaccepted(&mut self, kind: Kind, reason: Unaccepted) {
        self.counters.unaccepted(kind, reason);
    }

    /// Messages are kept from here on: for an absent recipient, by a fault, or as the offer of a waiting call.
    pub(crate) fn count_kept(&mut self, messages: usize) {
        self.counters.pending_messages += messages as u64;
    }

    /// A kept message goes on.
    pub(crate) fn count_unkept(&mut self) {
        self.counters.pending_messages -= 1;
    }

    /// A kept message ended.
    pub(crate) fn count_kept_ended(&mut self, kind: Kind, outcome: Outcome) {
        self.count_unkept();
        self.count_ended(kind, outcome);
    }

    /// A message is in an outbox, where it takes `bytes`.
    #[inline]
    pub(crate) fn count_queued(&mut self, bytes: usize) {
        self.counters.outbox_messages += 1;
        self.counters.outbox_bytes += bytes as u64;
    }

    /// A copy of a message is in an outbox, where it takes `bytes`. The message itself has an outcome of its own.
    pub(crate) fn count_copy_queued(&mut self, bytes: usize) {
        self.counters.outbox_bytes += bytes as u64;
    }

    /// A message was taken out of an outbox that had not sent it. Its bytes go with [`Books::unload`].
    pub(crate) fn count_taken_back(&mut self) {
        self.counters.outbox_messages -= 1;
    }

    /// The last byte of a message, a frame of `frame_bytes`, was handed to the kernel. Bytes go with [`Books::unload`].
    #[inline]
    pub(crate) fn count_sent(&mut self, launch: &Launch, frame_bytes: usize, at: Moment) {
        if launch.counted {
            self.counters.outbox_messages -= 1;
            self.counters
                .end(Kind::Known(launch.action), Outcome::Delivered);
        }
        self.counters.frame(frame_bytes);
        if let Some(accepted_us) = launch.accepted_us {
            let delivery = &mut self.counters.delivery;
            self.delivery_times.record(accepted_us, at, delivery);
        }
    }

    /// The first SDP_ANSWER was delivered to a viewer, this many milliseconds after it was admitted.
    pub(crate) fn count_setup(&mut self, viewer: SessionKey, ms: u64, at: Moment) {
        self.counters.session_setup.observe(ms * 1000, 1);
        self.slow_setups.note(Exemplar {
            connection: viewer.pack(),
            ms,
            at_ms: at.wall.0,
        });
    }

    /// An Alexa call waits for its answer.
    pub(crate) fn count_call_waiting(&mut self) {
        self.counters.waiting_calls += 1;
    }

    /// An Alexa call waits no longer.
    pub(crate) fn count_call_over(&mut self) {
        self.counters.waiting_calls = self.counters.waiting_calls.saturating_sub(1);
    }
}

impl Books {
    /// A channel that kept `before` bytes keeps `after`.
    pub(crate) fn count_kept_bytes(&mut self, before: usize, after: usize) {
        let bytes = &mut self.counters.pending_bytes;
        *bytes = (*bytes + after as u64).saturating_sub(before as u64);
    }

    /// Bytes that are no message (an answer, a pong, a close frame) wait in an outbox.
    #[inline]
    pub(crate) fn count_control_queued(&mut self, bytes: usize) {
        self.counters.control_bytes += bytes as u64;
    }

    /// These bytes wait no longer in an outbox.
    #[inline]
    pub(crate) fn unload(&mut self, load: Load) {
        let counters = &mut self.counters;
        counters.outbox_bytes = counters.outbox_bytes.saturating_sub(load.messages as u64);
        counters.control_bytes = counters.control_bytes.saturating_sub(load.control as u64);
    }

    /// Bytes of all kept messages.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.counters.pending_bytes
    }

    /// Bytes of messages in outboxes.
    #[inline]
    pub(crate) fn outbox_bytes(&self) -> u64 {
        self.counters.outbox_bytes
    }

    /// Bytes in outboxes that are no messages.
    pub(crate) fn control_bytes(&self) -> u64 {
        self.counters.control_bytes
    }

    /// Whether no bytes wait in an outbox and no Alexa call waits for its answer.
    pub(crate) fn is_quiet(&self) -> bool {
        self.counters.waiting_calls == 0
            && self.counters.outbox_bytes == 0
            && self.counters.control_bytes == 0
    }
}
