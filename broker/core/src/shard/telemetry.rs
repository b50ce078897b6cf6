//! Counters and notes: message accounting, log entries, durations, and the random ids that log entries and responses
//! share.

use crate::event::{
    AuthFailure, CONNECTION_ROLES, Counters, Exemplar, Exemplars, Histogram, Kind, Outcome,
    PlayerOutcome, Purpose, Requested, UpgradeOutcome, UpgradeRole,
};
use crate::id::{Account, SessionKey};
use crate::journal::{ConnectionEnd, Journal, LimitedJournal, Unaccepted};
use crate::refusal_id::{RefusalIds, printed};
use crate::session::outbox::{DeliveryMark, Load};
use crate::shard::flight_recorder::Recorder;
use crate::shard::usage::UsageTable;
use crate::time::{Moment, Now, Wall};
use crate::work_units;
use crate::{check::Check, record::Version, refusal::Refusal};
use codec::{signal::Role, whep::CALL_ID_BYTES};

/// The telemetry of a shard. Apart from the byte gauges and the reserved audit entries, nothing here affects the
/// shard's behaviour.
///
/// Invariant: no message is lost or counted twice, and gauges never count messages without their bytes.
pub(crate) struct Telemetry {
    counters: Counters,
    journal: LimitedJournal,
    /// Events of channels, for operators. Part of the telemetry because every step has access to that.
    recorder: Recorder,
    /// Slow session setups.
    slow_setups: Exemplars,
    /// Messages delivered in this turn whose latency has not been recorded yet.
    delivery_times: DeliveryTimes,
    /// Number of frames received since startup.
    frames: u64,
    /// Counters by account; gauges are computed when requested.
    usage: UsageTable,
    /// Generates the request ids of responses other than refusals, and the versions of channels.
    random: fastrand::Rng,
    refusal_ids: RefusalIds,
}

impl Telemetry {
    pub(crate) fn new(
        journal: Box<dyn Journal>,
        recorder: Recorder,
        random: fastrand::Rng,
        refusal_ids: RefusalIds,
    ) -> Self {
        Self {
            counters: Counters::default(),
            journal: LimitedJournal::new(journal),
            recorder,
            slow_setups: Exemplars::default(),
            delivery_times: DeliveryTimes::default(),
            frames: 0,
            usage: UsageTable::default(),
            random,
            refusal_ids,
        }
    }

    /// Generates a request id: a version 4 UUID from the shard's generator.
    pub(crate) fn request_id(&mut self) -> String {
        let bits = self.random.u128(..);
        printed(bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62)
    }

    /// Generates the request id of a refusal, which encodes the reason: see [`crate::refusal_id`].
    pub(crate) fn refusal_id(&mut self, refusal: &Refusal, of: Purpose, at: Wall) -> String {
        let (check, status) = (refusal.check, refusal.status(of));
        printed(self.refusal_ids.next(check, of, status, at))
    }

    /// Generates a new version for a channel's record.
    pub(crate) fn version(&mut self) -> Version {
        Version::draw(&mut self.random)
    }
}

impl Telemetry {
    pub(crate) fn journal(&mut self) -> &mut LimitedJournal {
        &mut self.journal
    }

    /// Returns when the journal next has to write an entry on its own.
    pub(crate) fn next_due(&self) -> Option<Now> {
        self.journal.next_due()
    }

    /// Returns the flight recorder, for writing a note.
    #[inline]
    pub(crate) fn note(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    /// Returns the flight recorder, for reading its notes.
    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}

impl Telemetry {
    /// Records the latency of a turn's deliveries after all of its sends have completed, at `at`.
    pub(crate) fn flushed(&mut self, at: Moment) {
        self.delivery_times
            .record_all(at, &mut self.counters.delivery);
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            log_suppressed: self.journal.suppressed(),
            audit_refused: self.journal.unauditable(),
            ..self.counters.clone()
        }
    }

    /// Returns the slow session setups, the most recent in each bucket.
    pub(crate) fn slow_setups(&self) -> Exemplars {
        self.slow_setups
    }

    /// Checks the invariants that hold after each input.
    ///
    /// # Panics
    /// Panics if an invariant is violated.
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

// The message ledger. From receipt to end, each message is in exactly one place: pending for an absent recipient, in an
// outbox, or in hand, that is, held by the step that moves it.
//
// ```text
//  count_received ──► in hand ── count_queued ──► in an outbox ── count_written ──► written ── count_confirmed ─┐
//                     │  ▲  ▲ ◄─ count_taken_back ─┘ ◄──── count_returned ────────────┘      ended: delivered ◄─┘
//                     │  │  └─── count_unkept ──── kept ── count_kept_ended ──► ended
//                     │  └───────────────────────── ▲
//                     ├── count_kept ───────────────┘
//                     └── count_ended, count_unaccepted ────────────────────► ended
// ```
// Between inputs, no message is in hand (`Telemetry::invariants`). Separate gauges count the bytes of pending messages,
// and the bytes in outboxes, divided into messages and everything else.

impl Telemetry {
    #[inline]
    pub(crate) fn count_received(&mut self, kind: Kind) {
        self.counters.receive(kind);
    }

    /// Counts the end of a message that was neither pending nor in an outbox.
    #[inline]
    pub(crate) fn count_ended(&mut self, kind: Kind, outcome: Outcome) {
        self.counters.end(kind, outcome);
    }

    pub(crate) fn count_unaccepted(&mut self, kind: Kind, reason: Unaccepted) {
        self.counters.unaccepted(kind, reason);
    }

    /// Counts messages that become pending: for an absent recipient, held back by a fault, or as the offer of a pending
    /// call.
    pub(crate) fn count_kept(&mut self, messages: usize) {
        self.counters.pending_messages += messages as u64;
    }

    /// Counts a message that is no longer pending.
    pub(crate) fn count_unkept(&mut self) {
        self.counters.pending_messages -= 1;
    }

    /// Counts the end of a pending message.
    pub(crate) fn count_kept_ended(&mut self, kind: Kind, outcome: Outcome) {
        self.count_unkept();
        self.count_ended(kind, outcome);
    }

    /// Counts a message that takes up `bytes` in an outbox.
    #[inline]
    pub(crate) fn count_queued(&mut self, bytes: usize) {
        self.counters.outbox_messages += 1;
        self.counters.outbox_bytes += bytes as u64;
    }

    /// Counts a copy of a message that takes up `bytes` in an outbox. The outcome of the message itself is counted
    /// separately.
    pub(crate) fn count_copy_queued(&mut self, bytes: usize) {
        self.counters.outbox_bytes += bytes as u64;
    }

    /// Counts an unsent message taken out of an outbox. Its bytes are subtracted by [`Telemetry::unload`].
    pub(crate) fn count_taken_back(&mut self) {
        self.counters.outbox_messages -= 1;
    }

    /// Counts a message whose last byte was sent to the kernel; `bytes`: its frame's size. Its bytes are subtracted by
    /// [`Telemetry::unload`]. The offer of an Alexa call counts as delivered, since the call keeps it for the next
    /// master.
    #[inline]
    pub(crate) fn count_written(&mut self, launch: &mut DeliveryMark, bytes: usize, at: Moment) {
        if launch.counted {
            self.counters.outbox_messages -= 1;
            if launch.call {
                launch.counted = false;
                let kind = Kind::Known(launch.action);
                self.counters.end(kind, Outcome::Delivered);
            } else {
                self.counters.written_messages += 1;
            }
        }
        self.counters.frame(bytes);
        if let Some(accepted_us) = launch.accepted_us {
            let delivery = &mut self.counters.delivery;
            self.delivery_times.record(accepted_us.get(), at, delivery);
        }
    }

    /// Counts a written message that was confirmed.
    #[inline]
    pub(crate) fn count_confirmed(&mut self, launch: &DeliveryMark) {
        self.count_proved(launch, Outcome::Delivered);
    }

    /// Counts a message that was confirmed, or that was abandoned without confirmation.
    #[inline]
    pub(crate) fn count_proved(&mut self, launch: &DeliveryMark, outcome: Outcome) {
        if launch.counted {
            self.counters.written_messages -= 1;
            self.counters.end(Kind::Known(launch.action), outcome);
        }
    }

    /// Counts an unconfirmed message that was taken back.
    pub(crate) fn count_returned(&mut self) {
        self.counters.written_messages -= 1;
        self.counters.returned += 1;
    }

    /// Counts messages that were confirmed only after they had been taken back.
    pub(crate) fn count_repeated(&mut self, messages: u32) {
        self.counters.repeated += u64::from(messages);
    }

    /// Records the time from a viewer's admission to its first SDP_ANSWER, in milliseconds.
    pub(crate) fn count_setup(&mut self, viewer: SessionKey, ms: u64, at: Moment) {
        self.counters.session_setup.observe(ms * 1000, 1);
        self.slow_setups.note(Exemplar {
            connection: viewer.pack(),
            ms,
            at_ms: at.wall.0,
        });
    }

    /// Counts a new pending Alexa call.
    pub(crate) fn count_call_waiting(&mut self) {
        self.counters.waiting_calls += 1;
    }

    /// Counts the end of a pending Alexa call.
    pub(crate) fn count_call_over(&mut self) {
        self.counters.waiting_calls = self.counters.waiting_calls.saturating_sub(1);
    }
}

impl Telemetry {
    /// Updates the gauge of pending bytes when those of a channel change from `before` to `after`.
    pub(crate) fn count_kept_bytes(&mut self, before: usize, after: usize) {
        let bytes = &mut self.counters.pending_bytes;
        *bytes = (*bytes + after as u64).saturating_sub(before as u64);
    }

    /// Counts bytes in an outbox other than messages (a response, a pong, a close frame).
    #[inline]
    pub(crate) fn count_control_queued(&mut self, bytes: usize) {
        self.counters.control_bytes += bytes as u64;
    }

    /// Subtracts bytes that have left an outbox.
    #[inline]
    pub(crate) fn unload(&mut self, load: Load) {
        let counters = &mut self.counters;
        counters.outbox_bytes = counters.outbox_bytes.saturating_sub(load.messages as u64);
        counters.control_bytes = counters.control_bytes.saturating_sub(load.control as u64);
    }

    /// Returns the number of bytes of all pending messages.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.counters.pending_bytes
    }

    /// Returns the number of message bytes in outboxes.
    #[inline]
    pub(crate) fn outbox_bytes(&self) -> u64 {
        self.counters.outbox_bytes
    }

    /// Returns the number of bytes in outboxes that do not belong to messages.
    pub(crate) fn control_bytes(&self) -> u64 {
        self.counters.control_bytes
    }

    /// Whether no outbox contains any bytes and no Alexa call is pending.
    pub(crate) fn is_quiet(&self) -> bool {
        self.counters.waiting_calls == 0
            && self.counters.outbox_bytes == 0
            && self.counters.control_bytes == 0
    }
}

// Counters of clients other than messages: requests, upgrades, refusals, ends of connections, and the work that these
// cause.

impl Telemetry {
    /// Counts an HTTP request answered with `status`.
    pub(crate) fn count_request(&mut self, requested: Requested, status: u16) {
        self.counters.request(requested, status);
    }

    pub(crate) fn count_upgrade(&mut self, role: UpgradeRole, outcome: UpgradeOutcome) {
        self.counters.upgrade(role, outcome);
    }

    /// Counts the outcome of a player's offer, and its duration in milliseconds if it was answered.
    pub(crate) fn count_player(&mut self, outcome: PlayerOutcome, ms: Option<u64>) {
        if let Some(count) = self.counters.players.get_mut(outcome.index()) {
            *count += 1;
        }
        if let Some(ms) = ms {
            self.counters.player_setup.observe(ms * 1000, 1);
        }
    }

    /// Generates an id for a player's call, made up of letters and digits.
    pub(crate) fn call_id(&mut self) -> String {
        let letters = std::iter::repeat_with(|| self.random.alphanumeric());
        letters.take(CALL_ID_BYTES).collect()
    }

    /// Counts a call of an account that was answered.
    pub(crate) fn count_call(&mut self, account: Account) {
        self.usage.of(Some(account)).calls += 1;
    }

    /// Counts a refused request, and its account if the caller is known.
    pub(crate) fn count_refused(&mut self, account: Option<Account>) {
        self.usage.of(account).refusals += 1;
    }

    /// Returns the counters by account.
    pub(crate) fn usage(&self) -> &UsageTable {
        &self.usage
    }

    /// Counts a request or connection refused by a check.
    pub(crate) fn count_refusal(&mut self, check: Check) {
        self.counters.refusals.count(check);
    }

    /// Counts a request refused because of a signature or a policy.
    pub(crate) fn count_auth_failure(&mut self, failure: AuthFailure) {
        self.counters.auth_failure(failure);
    }

    /// Adds the number of steps taken by a policy evaluation.
    pub(crate) fn count_policy_steps(&mut self, steps: u64) {
        self.counters.policy_steps += steps;
    }

    /// Counts the end of a WebSocket connection to an account's channel.
    pub(crate) fn count_connection_end(&mut self, account: Option<Account>, end: &ConnectionEnd) {
        self.usage.of(account).messages += u64::from(end.messages_in);
        self.counters.connection_end(end.reason);
        self.counters.sessions.ended(end);
    }

    /// Counts a connection with this role that was replaced by a newer one.
    pub(crate) fn count_superseded(&mut self, role: Role) {
        self.counters.sessions.superseded(role);
    }

    #[inline]
    pub(crate) fn count_frame(&mut self) {
        self.frames += 1;
    }

    /// Returns the work done for frames and policies since startup, in work units.
    pub(crate) fn work(&self) -> u64 {
        self.frames * work_units::FRAME + self.counters.policy_steps * work_units::POLICY_STEP
    }
}

// Messages delivered in one turn, buffered until its sends are complete, the clock is read, and latencies are recorded.
//
// All messages of one read were accepted at the same time, so a few pairs of time and count represent a whole turn. All
// of a turn's sends are recorded with the time of the last. Messages that were pending are not measured, since the
// absence of a recipient says nothing about the broker.

/// Deliveries of one turn, grouped by acceptance time: (time, count) pairs.
#[derive(Debug, Default)]
struct DeliveryTimes(Vec<(u32, u64)>);

impl DeliveryTimes {
    /// Records the delivery of a message accepted at `accepted_us`. If the buffer is full, `at` is used as the delivery
    /// time of all buffered messages.
    #[inline]
    pub(crate) fn record(&mut self, accepted_us: u32, at: Moment, into: &mut Histogram) {
        match self.0.last_mut() {
            Some((moment, messages)) if *moment == accepted_us => *messages += 1,
            Some(_) | None => {
                if self.0.len() == MOMENTS_MAX {
                    self.record_all(at, into);
                }
                self.0.push((accepted_us, 1));
            }
        }
    }

    /// Records the buffered deliveries, all of which were sent by `at`.
    fn record_all(&mut self, at: Moment, into: &mut Histogram) {
        for (accepted_us, messages) in self.0.drain(..) {
            into.observe(u64::from(at.micros.wrapping_sub(accepted_us)), messages);
        }
    }
}

/// Maximum number of distinct acceptance times among a turn's deliveries; each takes up 16 bytes of a permanent buffer.
const MOMENTS_MAX: usize = 64;

// Copies of a shard's counters and gauges, made between two turns, and their sum over shards.

/// The metrics of one shard; a scrape returns the sum over all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Number of connections by [`ConnectionRole`](crate::event::ConnectionRole).
    pub connections: [u64; CONNECTION_ROLES],
    /// Number of channels, including those being created or deleted.
    pub channels: u64,
    /// Number of channels whose deletion is not yet durable.
    pub deleting: u64,
    /// Total bytes of the channels' records: see `limits.record_bytes_total`.
    pub record_bytes: u64,
    /// Number of timer wheel entries, at most the number of sessions and channels combined.
    pub timers: u64,
    /// Number of channel records read for pages of ListSignalingChannels and the inspector.
    pub records_read: u64,
    /// Number of Alexa calls queued by other shards whose end has not been acknowledged.
    pub call_places: u64,
    /// Number of devices waiting on the shard's channels.
    pub waiting_devices: u64,
    /// Number of connections considered doubtful because a message has been unconfirmed for too long.
    pub doubtful: u64,
    /// Number of requests waiting for an owner of their channel.
    pub parked: u64,
    /// Bytes of requests and unread responses on HTTP connections: see `limits.request_bytes`.
    pub request_bytes: u64,
    /// Number of HTTP connections refused or closed because they held the most request bytes.
    pub requests_refused: u64,
    /// Time of the oldest note in the flight recorder, in microseconds since startup; `None` if recording is off, and
    /// in the sum over shards.
    pub recorded_since_us: Option<u64>,
    /// Slow session setups; empty in the sum over shards, since session numbers are specific to a shard.
    pub slow_setups: Exemplars,
    /// Gauges for each account in the credentials file, and for all other accounts combined; empty if signatures are
    /// not required.
    pub accounts: UsageTable,
    /// All counters.
    pub counters: Counters,
}

impl Snapshot {
    /// Adds the metrics of another shard.
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
        self.doubtful += other.doubtful;
        self.parked += other.parked;
        self.request_bytes += other.request_bytes;
        self.requests_refused += other.requests_refused;
        self.accounts.add(&other.accounts);
        self.counters.add(&other.counters);
    }
}

#[cfg(test)]
mod delivery_times_tests {
    use super::*;

    fn at(micros: u32) -> Moment {
        Moment {
            micros,
            ..Moment::default()
        }
    }

    #[test]
    fn deliveries_are_measured_when_the_sends_are_over_across_the_wrap_of_the_clock() {
        let (mut times, mut into) = (DeliveryTimes::default(), Histogram::default());
        for _ in 0..3 {
            times.record(u32::MAX - 9, at(u32::MAX), &mut into);
        }
        times.record(5, at(5), &mut into);
        assert_eq!(into.count(), 0);
        times.record_all(at(30), &mut into);
        assert_eq!((into.count(), into.sum_us), (4, 3 * 40 + 25));
        times.record_all(at(60), &mut into);
        assert_eq!(into.count(), 4, "each once");
    }

    #[test]
    fn deliveries_without_a_flush_are_bounded() {
        let (mut times, mut into) = (DeliveryTimes::default(), Histogram::default());
        for moment in 0..1000 {
            times.record(moment, at(moment), &mut into);
        }
        assert!(times.0.len() <= MOMENTS_MAX);
        assert_eq!(into.count() + times.0.len() as u64, 1000);
    }
}
