//! Counters and notes: the ledger of messages, log lines, durations, and the random ids that log lines and answers
//! share.

use crate::auth::{Authenticator, Caller, SignIn, certificate_id};
use crate::event::{
    AuthFailure, CONNECTION_ROLES, Counters, Exemplar, Exemplars, Histogram, Kind, Outcome,
    Purpose, Requested, UpgradeOutcome, UpgradeRole,
};
use crate::id::{Account, SessionKey};
use crate::journal::{
    AuditCaller, ConnectionEnd, EXPLAINED_BYTES_MAX, Explain, Journal, LimitedJournal,
    NAMED_CHARS_MAX, Presented, Unaccepted,
};
use crate::refusal_id::{RefusalIds, printed};
use crate::session::http::{Admission, PendingCall};
use crate::session::outbox::{DeliveryMark, Load};
use crate::settings::Settings;
use crate::shard::flight_recorder::Recorder;
use crate::shard::usage::UsageTable;
use crate::time::{Moment, Now, Wall};
use crate::work_units;
use crate::{check::Check, record::Version};
use codec::http::{Head, decode, pairs};
use codec::sigv4::{Parameter, Stamp};
use codec::{identifiers::ChannelArn, signal::Role};
use std::borrow::Cow;

/// The telemetry of a shard. Nothing that the shard does depends on it, but on gauges of bytes and on the places of
/// audit lines.
///
/// Invariant: no message is lost or counted twice, and no gauge counts messages without their bytes.
pub(crate) struct Telemetry {
    counters: Counters,
    journal: LimitedJournal,
    /// The events of channels, for operators. Here, since every step has the telemetry to count what it notes.
    recorder: Recorder,
    /// Session set-ups that took long.
    slow_setups: Exemplars,
    /// Messages delivered in this turn, not measured yet.
    delivery_times: DeliveryTimes,
    /// Frames taken in since the start.
    frames: u64,
    /// Counters by account; gauges are added up when asked.
    usage: UsageTable,
    /// Request ids of answers that refuse nothing, and versions of channels, are drawn from it.
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

impl Telemetry {
    /// The log lines of this shard.
    pub(crate) fn journal(&mut self) -> &mut LimitedJournal {
        &mut self.journal
    }

    /// When the journal has something to note by itself.
    pub(crate) fn next_due(&self) -> Option<Now> {
        self.journal.next_due()
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

impl Telemetry {
    /// All sends of a turn are over at `at`: the durations of its deliveries are counted.
    pub(crate) fn flushed(&mut self, at: Moment) {
        self.delivery_times
            .record_all(at, &mut self.counters.delivery);
    }

    /// Everything counted.
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            log_suppressed: self.journal.suppressed(),
            audit_refused: self.journal.unauditable(),
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

// The ledger of messages. Each that was received is in exactly one place until it ends: kept for an absent recipient,
// in an outbox, or in the hands of the step that moves it.
//
// ```text
//  count_received ──► in hand ── count_queued ──► in an outbox ── count_written ──► written ── count_confirmed ─┐
//                     │  ▲  ▲ ◄─ count_taken_back ─┘ ◄──── count_returned ────────────┘      ended: delivered ◄─┘
//                     │  │  └─── count_unkept ──── kept ── count_kept_ended ──► ended
//                     │  └───────────────────────── ▲
//                     ├── count_kept ───────────────┘
//                     └── count_ended, count_unaccepted ────────────────────► ended
// ```
// When an input is over none is in hand: `Telemetry::invariants`. Bytes are gauges beside it: of what is kept, and of
// what waits in outboxes, by messages and everything else.

impl Telemetry {
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

    /// A message was taken out of an outbox that had not sent it. Its bytes go with [`Telemetry::unload`].
    pub(crate) fn count_taken_back(&mut self) {
        self.counters.outbox_messages -= 1;
    }

    /// The last byte of a message, a frame of `frame_bytes`, was handed to the kernel. Its bytes go with
    /// [`Telemetry::unload`].
    /// An Alexa caller's offer ends here: its call keeps it for the next master.
    #[inline]
    pub(crate) fn count_written(
        &mut self,
        launch: &mut DeliveryMark,
        frame_bytes: usize,
        at: Moment,
    ) {
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
        self.counters.frame(frame_bytes);
        if let Some(accepted_us) = launch.accepted_us {
            let delivery = &mut self.counters.delivery;
            self.delivery_times.record(accepted_us.get(), at, delivery);
        }
    }

    /// A message that was written is confirmed.
    #[inline]
    pub(crate) fn count_confirmed(&mut self, launch: &DeliveryMark) {
        self.count_proved(launch, Outcome::Delivered);
    }

    /// The same, or it is given up unproved.
    #[inline]
    pub(crate) fn count_proved(&mut self, launch: &DeliveryMark, outcome: Outcome) {
        if launch.counted {
            self.counters.written_messages -= 1;
            self.counters.end(Kind::Known(launch.action), outcome);
        }
    }

    /// A message that was written and not confirmed was taken back.
    pub(crate) fn count_returned(&mut self) {
        self.counters.written_messages -= 1;
        self.counters.returned += 1;
    }

    /// Messages that were taken back were confirmed all the same.
    pub(crate) fn count_repeated(&mut self, messages: u32) {
        self.counters.repeated += u64::from(messages);
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

impl Telemetry {
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

// The counters of clients beside their messages: requests, upgrades, refusals, ends of connections, and the work
// that they cause.

impl Telemetry {
    /// An HTTP request was answered with `status`.
    pub(crate) fn count_request(&mut self, requested: Requested, status: u16) {
        self.counters.request(requested, status);
    }

    /// An upgrade was answered.
    pub(crate) fn count_upgrade(&mut self, role: UpgradeRole, outcome: UpgradeOutcome) {
        self.counters.upgrade(role, outcome);
    }

    /// A call of an account was answered.
    pub(crate) fn count_call(&mut self, account: Account) {
        self.usage.of(Some(account)).calls += 1;
    }

    /// A request was refused, of an account if its caller is known.
    pub(crate) fn count_refused(&mut self, account: Option<Account>) {
        self.usage.of(account).refusals += 1;
    }

    /// The counters by account.
    pub(crate) fn usage(&self) -> &UsageTable {
        &self.usage
    }

    /// A check refused a request or a connection.
    pub(crate) fn count_refusal(&mut self, check: Check) {
        self.counters.refusals.count(check);
    }

    /// A signature or a policy kept somebody out.
    pub(crate) fn count_auth_failure(&mut self, failure: AuthFailure) {
        self.counters.auth_failure(failure);
    }

    /// A policy was decided in this many steps.
    pub(crate) fn count_policy_steps(&mut self, steps: u64) {
        self.counters.policy_steps += steps;
    }

    /// A WebSocket connection to a channel of an account ended.
    pub(crate) fn count_connection_end(&mut self, account: Option<Account>, end: &ConnectionEnd) {
        self.usage.of(account).messages += u64::from(end.messages_in);
        self.counters.connection_end(end.reason);
        self.counters.sessions.ended(end);
    }

    /// A newer connection took the place of one with this role.
    pub(crate) fn count_superseded(&mut self, role: Role) {
        self.counters.sessions.superseded(role);
    }

    /// A frame was taken in.
    #[inline]
    pub(crate) fn count_frame(&mut self) {
        self.frames += 1;
    }

    /// The work of frames and of policies since the start, in units.
    pub(crate) fn work(&self) -> u64 {
        self.frames * work_units::FRAME + self.counters.policy_steps * work_units::POLICY_STEP
    }
}

// Messages delivered in one turn, until its sends are over and the clock is read: then their durations are counted.
//
// All messages of one read were accepted at the same moment, so a few pairs of moment and number stand for a whole
// turn. The first of a turn's sends is reported as late as the last. A message that was kept is not measured: the
// absence of its recipient says nothing about the broker.

/// Deliveries of one turn by the moment at which they were accepted.
#[derive(Debug, Default)]
struct DeliveryTimes(Vec<(u32, u64)>);

impl DeliveryTimes {
    /// A message accepted at `accepted_us` was handed over. When there is no room, `at` must do as the moment of it.
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

    /// All sends are over at `at`.
    fn record_all(&mut self, at: Moment, into: &mut Histogram) {
        for (accepted_us, messages) in self.0.drain(..) {
            into.observe(u64::from(at.micros.wrapping_sub(accepted_us)), messages);
        }
    }
}

/// Different moments of acceptance among the deliveries of one turn: each costs 16 bytes of a buffer that stays.
const MOMENTS_MAX: usize = 64;

// A copy of one shard's counters and gauges between two turns, and how shards add up.

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
    /// Connections that have not confirmed a message for long enough to doubt that their peers are there.
    pub doubtful: u64,
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
    /// Gauges of accounts of the credentials file, and of all others; none where no signature is asked for.
    pub accounts: UsageTable,
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
        self.doubtful += other.doubtful;
        self.parked += other.parked;
        self.request_bytes += other.request_bytes;
        self.requests_refused += other.requests_refused;
        self.accounts.add(&other.accounts);
        self.counters.add(&other.counters);
    }
}

// The notes of a refused request: what it named, who signed it, when, and how that was compared.
//
// Nothing here is made unless the refusal is noted in the log, and nothing is copied of requests that are served.

/// The request that is refused: what its answer is counted for, and the facts that are known of it.
#[derive(Clone, Copy)]
pub(crate) struct Evidence<'a> {
    /// The purpose that the answer is counted for.
    pub(crate) purpose: Purpose,
    /// The connection ends with the answer.
    pub(crate) close: bool,
    /// The request id of the answer, if it is in an audit line.
    pub(crate) id: Option<&'a str>,
    /// The channel's name, if it was read.
    pub(crate) channel: Option<&'a str>,
    /// The viewer's client id, if it was read.
    pub(crate) client_id: Option<&'a str>,
    /// The session of the temporary credentials that it asks for.
    pub(crate) session: Option<&'a str>,
    /// The ARN of the role that it asks for.
    pub(crate) role: Option<&'a str>,
    /// The certificate and the thing, or the token, of a sign-in that nobody vouches for.
    pub(crate) shown: Shown<'a>,
    /// The caller, if their signature was found right.
    pub(crate) caller: Option<&'a Caller>,
    /// The request's head, while it is there.
    pub(crate) head: Option<&'a Head<'a>>,
    /// The number of the fault that refuses it.
    pub(crate) fault: Option<u64>,
    /// The texts that the signature was compared with, if it was not right.
    pub(crate) signature: Option<SignatureEvidence<'a>>,
}

/// The proof of an identity as it was shown.
#[derive(Clone, Copy, Default)]
pub(crate) struct Shown<'a> {
    /// The fingerprint of the certificate.
    pub(crate) certificate: Option<&'a [u8; 32]>,
    /// The thing that the request names.
    pub(crate) thing: Option<&'a str>,
    /// The issuer of the token.
    pub(crate) issuer: Option<&'a str>,
    /// The subject of the token.
    pub(crate) subject: Option<&'a str>,
}

impl<'a> Shown<'a> {
    /// The proof of a caller that signs in, or whose session hangs on a sign-in.
    fn of(caller: &'a Caller) -> Option<Self> {
        Some(match caller.sign_in()? {
            SignIn::Thing(identity) => Self {
                certificate: Some(&identity.certificate),
                thing: identity.name.as_deref(),
                ..Self::default()
            },
            SignIn::Web(identity) => Self {
                issuer: Some(&identity.provider),
                subject: Some(&identity.subject),
                ..Self::default()
            },
        })
    }

    /// The same as lines of the log have it.
    fn presented(self) -> Presented {
        let text = |text: Option<&str>| text.map(named);
        Presented {
            certificate: self.certificate.map(|it| certificate_id(it).into()),
            thing: text(self.thing),
            issuer: text(self.issuer),
            subject: text(self.subject),
            role: None,
        }
    }
}

/// A caller as lines of changes have it; `None` where requests are not signed.
pub(crate) fn audit_caller(caller: &Caller) -> Option<Box<AuditCaller>> {
    caller.is_known().then(|| {
        Box::new(AuditCaller {
            name: caller.name().into(),
            account: caller.account().into(),
            key_id: caller.access_key_id().map(Into::into),
            source_identity: caller.source_identity().map(Into::into),
            sign_in: Shown::of(caller).unwrap_or_default().presented(),
        })
    })
}

/// The texts that a signature was compared with, and the keys.
#[derive(Clone, Copy)]
pub(crate) struct SignatureEvidence<'a> {
    pub(crate) authenticator: &'a Authenticator,
    /// Empty when it did not come to that.
    pub(crate) canonical_request: &'a [u8],
    pub(crate) string_to_sign: &'a [u8],
}

/// The claims of a request's head, true or not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Claimed<'a> {
    pub(crate) channel: Option<Cow<'a, str>>,
    pub(crate) client_id: Option<Cow<'a, str>>,
    pub(crate) key_id: Option<Cow<'a, str>>,
    pub(crate) signed: Option<Stamp>,
}

impl<'a> Evidence<'a> {
    /// Of the last request of its connection, of which nothing more is known.
    pub(crate) fn of(purpose: Purpose) -> Self {
        Self {
            purpose,
            close: true,
            id: None,
            channel: None,
            client_id: None,
            session: None,
            role: None,
            shown: Shown::default(),
            caller: None,
            head: None,
            fault: None,
            signature: None,
        }
    }

    /// Of one of which only the head was read.
    pub(crate) fn of_head(purpose: Purpose, head: &'a Head<'a>) -> Self {
        Self {
            head: Some(head),
            ..Self::of(purpose)
        }
    }

    /// Of an upgrade that was understood.
    pub(crate) fn of_admission(admission: &'a Admission) -> Self {
        Self {
            channel: Some(admission.arn.name()),
            client_id: admission.client_id.as_deref(),
            caller: Some(&admission.caller),
            ..Self::of(admission.purpose())
        }
    }

    /// Of a call that was understood.
    pub(crate) fn of_call(call: &'a PendingCall) -> Self {
        Self {
            close: call.close,
            channel: call.channel.as_deref(),
            caller: Some(&call.caller),
            ..Self::of(Purpose::Api(call.operation))
        }
    }

    /// The claims of the head, where nothing better is known.
    pub(crate) fn claimed(&self) -> Claimed<'a> {
        let mut claimed = self.head.map(Claimed::of).unwrap_or_default();
        if let Some(channel) = self.channel {
            claimed.channel = Some(channel.into());
        }
        if let Some(client_id) = self.client_id {
            claimed.client_id = Some(client_id.into());
        }
        if let Some(key_id) = self.caller.and_then(Caller::access_key_id) {
            claimed.key_id = Some(key_id.into());
        }
        claimed
    }

    /// The account and the source identity of the signer.
    pub(crate) fn signer(&self) -> (Option<&'a str>, Option<&'a str>) {
        let known = self.caller.filter(|caller| caller.is_known());
        let source_identity = known.and_then(Caller::source_identity);
        (known.map(Caller::account), source_identity)
    }

    /// The principal that signed the request, or that has the key which it names.
    pub(crate) fn principal(&self, key_id: Option<&str>) -> Option<&'a str> {
        let known = self.caller.filter(|caller| caller.is_known());
        let named = || {
            let credentials = self.signature?.authenticator.credentials();
            credentials.find(key_id?).map(|owner| owner.name.as_str())
        };
        known.map(Caller::name).or_else(named)
    }

    /// The proof of the caller's identity, or what was shown as one; and the role that is asked for.
    pub(crate) fn presented(&self) -> Option<Box<Presented>> {
        let shown = self.caller.and_then(Shown::of).unwrap_or(self.shown);
        let presented = Presented {
            role: self.role.map(named),
            ..shown.presented()
        };
        (presented != Presented::default()).then(|| Box::new(presented))
    }

    /// The part that was signed otherwise than it was sent, of a request whose signature was wrong. What is looked for
    /// does not depend on whether its key is known.
    pub(crate) fn signed_as(&self, settings: &Settings) -> Option<Box<str>> {
        let authenticator = self.signature?.authenticator;
        let forwarded = self.head.and_then(|head| head.header("x-forwarded-host"));
        let advertise = &settings.advertise;
        let own = [&advertise.wss, &advertise.https].into_iter().flatten();
        let own = own.filter_map(|url| Some(url.split_once("://")?.1));
        let hosts: Vec<&str> = forwarded.into_iter().chain(own).collect();
        let signed = authenticator.signed_as(&hosts)?;
        Some(limited(&signed.to_string()).into())
    }

    /// The texts that the signature was compared with, as the log has them.
    pub(crate) fn explain(&self) -> Option<Box<Explain>> {
        let signature = self.signature?;
        if signature.canonical_request.is_empty() {
            return None;
        }
        let scope = signature.string_to_sign.split(|byte| *byte == b'\n').nth(2);
        Some(Box::new(Explain {
            canonical_request: shown(signature.canonical_request),
            scope: limited(&String::from_utf8_lossy(scope.unwrap_or_default())).into(),
        }))
    }
}

impl<'a> Claimed<'a> {
    fn of(head: &'a Head<'a>) -> Self {
        let mut claimed = Self::default();
        for (name, value) in pairs(head.query().unwrap_or_default()) {
            let Ok(name) = decode(name) else { continue };
            let value = decode(value).unwrap_or(Cow::Borrowed(value));
            match Parameter::of(name.as_bytes()) {
                Some(Parameter::ChannelArn) => claimed.channel = Some(channel_name(value)),
                Some(Parameter::ClientId) => claimed.client_id = Some(value),
                Some(Parameter::Credential) => claimed.key_id = Some(before_slash(value)),
                Some(Parameter::Date) => claimed.signed = Stamp::parse(value.as_bytes()),
                _ => {}
            }
        }
        if let Some(authorization) = head.header("authorization") {
            let credential = authorization.split_once("Credential=");
            let key_id = credential.and_then(|(_, rest)| rest.split(['/', ',', ' ']).next());
            claimed.key_id = key_id.map(Cow::Borrowed);
            let date = head.header("x-amz-date").or_else(|| head.header("date"));
            claimed.signed = date.and_then(|date| Stamp::parse_date_header(date.as_bytes()));
        }
        claimed
    }
}

/// The name in a channel's ARN, or the text that is none.
fn channel_name(text: Cow<'_, str>) -> Cow<'_, str> {
    match ChannelArn::parse(&text, false) {
        Ok(arn) => Cow::Owned(arn.name().to_owned()),
        Err(_) => text,
    }
}

fn before_slash(text: Cow<'_, str>) -> Cow<'_, str> {
    match text.find('/') {
        Some(end) => Cow::Owned(text.get(..end).unwrap_or_default().to_owned()),
        None => text,
    }
}

/// The first characters of a text from the wire.
pub(crate) fn named(text: &str) -> Box<str> {
    let end = text.char_indices().nth(NAMED_CHARS_MAX);
    let end = end.map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default().into()
}

/// A canonical request as operators may read it: what is secret in it is cut first, then all of it.
fn shown(canonical_request: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(canonical_request);
    let mut out = String::with_capacity(text.len().min(EXPLAINED_BYTES_MAX));
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        if number == QUERY_LINE {
            for (number, pair) in line.split('&').enumerate() {
                if number > 0 {
                    out.push('&');
                }
                push_cut(&mut out, pair, '=');
            }
        } else {
            push_cut(&mut out, line, ':');
        }
    }
    limited(&out).into()
}

/// Appends a name and its value, which is cut if it is secret.
fn push_cut(out: &mut String, pair: &str, between: char) {
    let name_and_value = pair.split_once(between);
    let secret = name_and_value.filter(|(name, _)| {
        let name = decode(name).unwrap_or(Cow::Borrowed(name));
        SECRET
            .iter()
            .any(|secret| secret.eq_ignore_ascii_case(&name))
    });
    let Some((name, value)) = secret else {
        return out.push_str(pair);
    };
    out.push_str(name);
    out.push(between);
    let end = value.char_indices().nth(SECRET_CHARS_SHOWN);
    let shown = end.and_then(|(end, _)| value.get(..end));
    out.push_str(shown.unwrap_or(value));
    if shown.is_some() {
        out.push('…');
    }
}

/// As much of a text as is noted.
fn limited(text: &str) -> &str {
    text.get(..text.floor_char_boundary(EXPLAINED_BYTES_MAX))
        .unwrap_or_default()
}

/// Parameters and headers whose values are cut.
const SECRET: [&str; 6] = [
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "X-Api-Key",
];

/// Enough to compare, too little to use.
const SECRET_CHARS_SHOWN: usize = 8;

/// Which line of a canonical request is the query: behind method and path.
const QUERY_LINE: usize = 2;

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

#[cfg(test)]
mod evidence_tests {
    use super::*;
    use codec::http::HeadLimits;

    fn claimed(lines: &str) -> (Option<String>, Option<String>, Option<String>, Option<i64>) {
        let text = format!("{lines}\r\n\r\n");
        let head = Head::parse(text.as_bytes(), &HeadLimits::default()).unwrap();
        let claimed = Evidence::of_head(Purpose::Unknown, &head).claimed();
        let text = |part: Option<Cow<'_, str>>| part.map(Cow::into_owned);
        let signed = claimed.signed.map(Stamp::epoch);
        (
            text(claimed.channel),
            text(claimed.client_id),
            text(claimed.key_id),
            signed,
        )
    }

    #[test]
    fn heads_are_read_as_far_as_they_go() {
        let some = |text: &str| Some(text.to_owned());
        let arn = "arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2Fcam-1%2F17";
        let url = format!(
            "GET /?X-Amz-ChannelARN={arn}&X-Amz-ClientId=v%2D1&X-Amz-Credential=AKID%2F2026&\
             X-Amz-Date=20260102T030405Z HTTP/1.1\r\nHost: h"
        );
        let signed = Some(1_767_323_045);
        assert_eq!(
            claimed(&url),
            (some("cam-1"), some("v-1"), some("AKID"), signed)
        );
        let call = "POST /x HTTP/1.1\r\nHost: h\r\nX-Amz-Date: 20260102T030405Z\r\n\
                    Authorization: AWS4-HMAC-SHA256 Credential=AKID/20260102/r/s/t, SignedHeaders=host";
        assert_eq!(claimed(call), (None, None, some("AKID"), signed));
        let odd = "GET /?X-Amz-ChannelARN=%zz&%zz=1&X-Amz-Date=x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer x";
        assert_eq!(claimed(odd), (some("%zz"), None, None, None));
        let date = "GET / HTTP/1.1\r\nHost: h\r\nDate: Fri, 02 Jan 2026 03:04:05 GMT";
        assert_eq!(claimed(date), (None, None, None, None), "it is not signed");
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(named(&"ä".repeat(300)).chars().count(), NAMED_CHARS_MAX);
        assert_eq!(&*named("v1"), "v1");
    }

    #[test]
    fn a_canonical_request_is_shown_without_its_secrets() {
        let token = "Secret00Token".repeat(100);
        let canonical = format!(
            "GET\n/\nX-Amz-ChannelARN=a&X-Amz-Security-Token={token}&x-amz-signature=0123456789ab&b=1\n\
             host:h:1\ncookie:session=0123456789\nx-amz-security-token:{token}\nauthorization:AWS4-HMAC short\n\n\
             host\ne3b0"
        );
        assert_eq!(
            &*shown(canonical.as_bytes()),
            "GET\n/\nX-Amz-ChannelARN=a&X-Amz-Security-Token=Secret00…&x-amz-signature=01234567…&b=1\n\
             host:h:1\ncookie:session=…\nx-amz-security-token:Secret00…\nauthorization:AWS4-HMA…\n\nhost\ne3b0"
        );
        let long = format!("GET\n/\n{}\nhost:h", "ä".repeat(3000));
        let text = shown(long.as_bytes());
        assert!(text.len() <= EXPLAINED_BYTES_MAX && text.len() > EXPLAINED_BYTES_MAX - 3);
        let cut_late = format!("GET\n/{}\nX-Amz-Security-Token={token}", "p".repeat(2030));
        assert!(
            !shown(cut_late.as_bytes()).contains("Token0"),
            "cut first, then shortened"
        );
        assert_eq!(&*shown(b"\xff"), "\u{fffd}");
    }
}
