//! Counts messages, writes log lines, measures durations, and generates the random ids that appear both in log lines
//! and in responses.

use crate::event::{
    AuthFailure, CONNECTION_ROLES, Counters, Exemplar, Exemplars, Histogram, Kind, Outcome,
    PlayerOutcome, Purpose, Requested, UpgradeOutcome,
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

/// A shard's telemetry. Apart from the byte gauges and the reserved audit entries, nothing here influences what the
/// shard does.
///
/// Invariant: every message is counted exactly once, and message gauges and byte gauges always cover the same messages.
pub(crate) struct Telemetry {
    counters: Counters,
    journal: LimitedJournal,
    /// The flight recorder, which records channel events for operators. It is part of the telemetry because every step
    /// has access to the telemetry.
    pub(crate) recorder: Recorder,
    /// Samples of slow session setups.
    slow_setups: Exemplars,
    /// Messages delivered in this turn of the event loop, whose latency has yet to be recorded.
    delivery_times: DeliveryTimes,
    /// Number of frames received since startup.
    frames: u64,
    /// Counters per account. Gauges are computed on request.
    usage: UsageTable,
    /// Generates channel versions, and the request ids of all responses except refusals.
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

    /// Generates a request id: a version 4 UUID from the shard's random generator.
    pub(crate) fn request_id(&mut self) -> String {
        let bits = self.random.u128(..);
        printed(bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62)
    }

    /// Generates the request id of a refusal, which encodes the reason; see [`crate::refusal_id`].
    pub(crate) fn refusal_id(&mut self, refusal: &Refusal, of: Purpose, at: Wall) -> String {
        let (check, status) = (refusal.check, refusal.status(of));
        printed(self.refusal_ids.next(check, of, status, at))
    }

    /// Generates a new version for a channel record.
    pub(crate) fn version(&mut self) -> Version {
        Version::draw(&mut self.random)
    }
}

impl Telemetry {
    pub(crate) fn journal(&mut self) -> &mut LimitedJournal {
        &mut self.journal
    }

    /// Returns when the journal must write its next entry even if nothing happens.
    pub(crate) fn next_due(&self) -> Option<Now> {
        self.journal.next_due()
    }
}

impl Telemetry {
    /// Records the latency of this turn's deliveries. Called once all of the turn's sends have completed, at the time
    /// `at`.
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

    /// Returns samples of slow session setups: the most recent one per bucket.
    pub(crate) fn slow_setups(&self) -> Exemplars {
        self.slow_setups
    }

    /// Checks the invariants that hold after every input.
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

// The message ledger. From the time it is received until its outcome is counted, each message is in exactly one place:
// pending, in an outbox, written but not confirmed, or *in hand*, which means that a step is moving it.
//
// ```text
//  count_received ──► in hand ── count_queued ──► in an outbox ── count_written ──► written ── count_proved ────┐
//                     │  ▲  ▲ ◄─ count_taken_back ─┘ ◄──── count_returned ────────────┘      ended: delivered ◄─┘
//                     │  │  └─── count_unkept ──── kept ── count_kept_ended ──► ended
//                     │  └───────────────────────── ▲
//                     ├── count_kept ───────────────┘
//                     └── count_ended, count_unaccepted ────────────────────► ended
// ```
// Between inputs, no message is in hand (`Telemetry::invariants`). Separate gauges count the bytes of pending messages
// and the bytes in outboxes. The outbox gauges distinguish messages from everything else.

impl Telemetry {
    #[inline]
    pub(crate) fn count_received(&mut self, kind: Kind) {
        self.counters.receive(kind);
    }

    /// Counts the outcome of a message that was neither pending nor in an outbox.
    #[inline]
    pub(crate) fn count_ended(&mut self, kind: Kind, outcome: Outcome) {
        self.counters.end(kind, outcome);
    }

    pub(crate) fn count_unaccepted(&mut self, kind: Kind, reason: Unaccepted) {
        self.counters.unaccepted(kind, reason);
    }

    /// Counts messages that become pending: messages for absent recipients, messages delayed by a fault, and the offers
    /// of pending calls.
    pub(crate) fn count_kept(&mut self, messages: usize) {
        self.counters.pending_messages += messages as u64;
    }

    /// Counts a message that is no longer pending.
    pub(crate) fn count_unkept(&mut self) {
        self.counters.pending_messages -= 1;
    }

    /// Counts the outcome of a pending message. Afterwards, the message is no longer pending.
    pub(crate) fn count_kept_ended(&mut self, kind: Kind, outcome: Outcome) {
        self.count_unkept();
        self.count_ended(kind, outcome);
    }

    /// Counts a message that was added to an outbox, where it occupies `bytes` bytes.
    #[inline]
    pub(crate) fn count_queued(&mut self, bytes: usize) {
        self.counters.outbox_messages += 1;
        self.counters.outbox_bytes += bytes as u64;
    }

    /// Counts a copied message that was added to an outbox, where it occupies `bytes` bytes. The original's outcome is
    /// counted separately.
    pub(crate) fn count_copy_queued(&mut self, bytes: usize) {
        self.counters.outbox_bytes += bytes as u64;
    }

    /// Counts a message that was taken out of an outbox before it was sent. [`Telemetry::unload`] subtracts its bytes.
    pub(crate) fn count_taken_back(&mut self) {
        self.counters.outbox_messages -= 1;
    }

    /// Counts a written message that was taken back because it was not confirmed.
    pub(crate) fn count_returned(&mut self) {
        self.counters.written_messages -= 1;
        self.counters.returned += 1;
    }

    /// Counts a message that the kernel has accepted in full. `bytes` is its frame size; [`Telemetry::unload`]
    /// subtracts its bytes from the gauges. A call's offer counts as delivered right away, because the call itself
    /// still contains it for the next master.
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

    /// Counts the outcome of a sent message: either it was confirmed, or the broker stopped waiting for a confirmation.
    #[inline]
    pub(crate) fn count_proved(&mut self, launch: &DeliveryMark, outcome: Outcome) {
        if launch.counted {
            self.counters.written_messages -= 1;
            self.counters.end(Kind::Known(launch.action), outcome);
        }
    }

    /// Counts messages that were confirmed only after they had been taken back.
    pub(crate) fn count_repeated(&mut self, messages: u32) {
        self.counters.repeated += u64::from(messages);
    }

    /// Records the time in milliseconds from a viewer's admission to its first SDP_ANSWER.
    pub(crate) fn count_setup(&mut self, viewer: SessionKey, ms: u64, at: Moment) {
        self.counters.session_setup.observe(ms * 1000, 1);
        self.slow_setups.note(Exemplar {
            connection: viewer.pack(),
            ms,
            at_ms: at.wall.0,
        });
    }

    /// Counts an Alexa or player call that becomes pending.
    pub(crate) fn count_call_waiting(&mut self) {
        self.counters.waiting_calls += 1;
    }

    /// Counts the end of a pending call.
    pub(crate) fn count_call_over(&mut self) {
        self.counters.waiting_calls = self.counters.waiting_calls.saturating_sub(1);
    }
}

impl Telemetry {
    /// Updates the pending-bytes gauge after a channel's pending bytes have changed from `before` to `after`.
    pub(crate) fn count_kept_bytes(&mut self, before: usize, after: usize) {
        let bytes = &mut self.counters.pending_bytes;
        *bytes = (*bytes + after as u64).saturating_sub(before as u64);
    }

    /// Counts bytes that were added to an outbox but do not belong to a message, such as a response, a pong or a close
    /// frame.
    #[inline]
    pub(crate) fn count_control_queued(&mut self, bytes: usize) {
        self.counters.control_bytes += bytes as u64;
    }

    /// Subtracts bytes that have left an outbox from the gauges.
    #[inline]
    pub(crate) fn unload(&mut self, load: Load) {
        let counters = &mut self.counters;
        counters.outbox_bytes = counters.outbox_bytes.saturating_sub(load.messages as u64);
        counters.control_bytes = counters.control_bytes.saturating_sub(load.control as u64);
    }

    /// Returns the number of pending message bytes.
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

    /// Returns whether all outboxes are empty and no call is pending.
    pub(crate) fn is_quiet(&self) -> bool {
        self.counters.waiting_calls == 0
            && self.counters.outbox_bytes == 0
            && self.counters.control_bytes == 0
    }
}

// Client counters other than the message counters: requests, upgrades, refusals, closed connections, and the work they
// cause.

impl Telemetry {
    /// Counts an HTTP request answered with `status`.
    pub(crate) fn count_request(&mut self, requested: Requested, status: u16) {
        self.counters.request(requested, status);
    }

    pub(crate) fn count_upgrade(&mut self, role: Role, outcome: UpgradeOutcome) {
        self.counters.upgrade(role, outcome);
    }

    /// Counts the outcome of a player's call. `ms` is the call's duration, if it was answered.
    pub(crate) fn count_player(&mut self, outcome: PlayerOutcome, ms: Option<u64>) {
        if let Some(count) = self.counters.players.get_mut(outcome.index()) {
            *count += 1;
        }
        if let Some(ms) = ms {
            self.counters.player_setup.observe(ms * 1000, 1);
        }
    }

    /// Generates an alphanumeric id for a player's call.
    pub(crate) fn call_id(&mut self) -> String {
        let letters = std::iter::repeat_with(|| self.random.alphanumeric());
        letters.take(CALL_ID_BYTES).collect()
    }

    /// Counts an answered call under the caller's account.
    pub(crate) fn count_call(&mut self, account: Account) {
        self.usage.of(Some(account)).calls += 1;
    }

    /// Counts a refused request under the caller's `account`, which is `None` if the caller is not known.
    pub(crate) fn count_refused(&mut self, account: Option<Account>) {
        self.usage.of(account).refusals += 1;
    }

    /// Returns the counters per account.
    pub(crate) fn usage(&self) -> &UsageTable {
        &self.usage
    }

    /// Counts a request or connection that failed this check.
    pub(crate) fn count_refusal(&mut self, check: Check) {
        self.counters.refusals.count(check);
    }

    /// Counts a request that was refused because of its signature or a policy.
    pub(crate) fn count_auth_failure(&mut self, failure: AuthFailure) {
        self.counters.auth_failure(failure);
    }

    /// Counts the steps that were needed to evaluate policies.
    pub(crate) fn count_policy_steps(&mut self, steps: u64) {
        self.counters.policy_steps += steps;
    }

    /// Counts a closed WebSocket connection to one of `account`'s channels.
    pub(crate) fn count_connection_end(&mut self, account: Option<Account>, end: &ConnectionEnd) {
        self.usage.of(account).messages += u64::from(end.messages_in);
        self.counters.connection_end(end.reason);
        self.counters.sessions.ended(end);
    }

    /// Counts a connection with this role that a newer connection has superseded.
    pub(crate) fn count_superseded(&mut self, role: Role) {
        self.counters.sessions.superseded(role);
    }

    #[inline]
    pub(crate) fn count_frame(&mut self) {
        self.frames += 1;
    }

    /// Returns the amount of work done for frames and policies since startup, in work units.
    pub(crate) fn work(&self) -> u64 {
        self.frames * work_units::FRAME + self.counters.policy_steps * work_units::POLICY_STEP
    }
}

// Messages delivered in one turn of the event loop. They are buffered until the turn's sends have completed. Then the
// clock is read and their latencies are recorded.
//
// All messages from one read have the same acceptance time, so a few (time, count) pairs cover a whole turn. All of a
// turn's sends are recorded with the time of the last one. Messages that were pending are not measured, because a
// recipient's absence says nothing about the broker.

/// The deliveries of one turn, as pairs of an acceptance time and the number of messages accepted at that time.
#[derive(Debug, Default)]
struct DeliveryTimes(Vec<(u32, u64)>);

impl DeliveryTimes {
    /// Buffers the delivery of a message that was accepted at `accepted_us`. If the buffer is full, first records the
    /// buffered deliveries with `at` as the delivery time.
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

    /// Records the buffered deliveries with `at` as the delivery time.
    fn record_all(&mut self, at: Moment, into: &mut Histogram) {
        for (accepted_us, messages) in self.0.drain(..) {
            into.observe(u64::from(at.micros.wrapping_sub(accepted_us)), messages);
        }
    }
}

/// Maximum number of distinct acceptance times among one turn's deliveries. Each takes 16 bytes of a buffer that is
/// never freed.
const MOMENTS_MAX: usize = 64;

// Copies of a shard's counters and gauges, made between turns, and their sum over all shards.

/// The metrics of a shard. A scrape reports the sum over all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Number of connections per [`ConnectionRole`](crate::event::ConnectionRole).
    pub connections: [u64; CONNECTION_ROLES],
    /// Number of channels, including those being created or deleted.
    pub channels: u64,
    /// Number of channels whose deletion is not yet durable.
    pub deleting: u64,
    /// Total size of the channels' records in bytes. Limited by `limits.record_bytes_total`.
    pub record_bytes: u64,
    /// Number of timers in the wheel, at most one per session and channel.
    pub timers: u64,
    /// Number of channel records read since startup for pages of ListSignalingChannels and of the inspector.
    pub records_read: u64,
    /// Number of calls from other shards that use capacity here, because those shards have not yet acknowledged that
    /// the call has ended.
    pub call_places: u64,
    /// Number of devices waiting on the shard's channels.
    pub waiting_devices: u64,
    /// Number of doubtful connections: those with a message that has been unconfirmed for too long.
    pub doubtful: u64,
    /// Number of requests that wait until their channel has an owner.
    pub parked: u64,
    /// Bytes of requests and unread responses on HTTP connections. Limited by `limits.request_bytes`.
    pub request_bytes: u64,
    /// Number of HTTP connections refused or closed because they held the most request bytes.
    pub requests_refused: u64,
    /// Time of the oldest note in the flight recorder, in microseconds since startup. `None` if recording is off, and
    /// always `None` in the sum over all shards.
    pub recorded_since_us: Option<u64>,
    /// Samples of slow session setups. Always empty in the sum over all shards, since a session number is only
    /// meaningful within its shard.
    pub slow_setups: Exemplars,
    /// Gauges of each account in the credentials file, and of all other accounts together. Empty if requests need not
    /// be signed.
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
