//! Faults scripted by tests, with `--dev` only. A production shard contains none of this.
//!
//! Faults act at four points: the admission of a connection or call (`on_connect`, `on_call`), the routing of a message
//! (`on_message`), the delivery of a pending one (`deliver_pending`), and the opening of a WebSocket or creation of a
//! fault (`on_session`). The first matching rule that is not spent acts. Counters stay consistent: a dropped message is
//! withdrawn, a held one is in the gauge of pending messages, and the copy of a duplicate is not counted.
//!
//! The file defines faults, the errors that they return, and what they hold back. Their effects are in
//! `connection_faults` and `message_faults`.

use crate::id::{ChannelKey, SessionKey};
use crate::limits::{FAULT_HELD_BYTES_MAX, FAULT_HELD_MAX, FAULTS_MAX};
use crate::shard::todo::Deferred;
use crate::{session::NEVER, shard::Glob, time::Now};
use codec::control::{ErrorKind, Family, Operation};
use codec::signal::{Action, Role};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The faults of a shard, and the messages and actions that they hold back.
#[derive(Debug, Default)]
pub(crate) struct InjectedFaults {
    /// Rules in order of creation, each with its expiry.
    pub(crate) rules: Vec<(Now, SharedRule)>,
    pub(crate) held: Held,
}

impl InjectedFaults {
    /// Adds a rule. The side thread creates at most [`FAULTS_MAX`], so there is room.
    pub(crate) fn add(&mut self, rule: SharedRule, now: Now) {
        self.rules
            .retain(|(end, rule)| *end > now && !rule.is_spent());
        if self.rules.len() < FAULTS_MAX {
            let end = rule.lasts_ms.map_or(NEVER, |ms| now.after(ms));
            self.rules.push((end, rule));
        }
    }

    /// The act of the first matching rule of a kind that is due to act, and the rule.
    pub(crate) fn pick<Act: Clone>(
        &self,
        kind: fn(&FaultAct) -> Option<&Act>,
        subject: &FaultSubject<'_>,
        now: Now,
    ) -> Option<(Act, SharedRule)> {
        self.rules.iter().find_map(|(end, rule)| {
            let act = kind(&rule.act).filter(|_| *end > now)?;
            let acts = !rule.is_spent() && rule.matches.covers(subject) && rule.hit();
            acts.then(|| (act.clone(), rule.clone()))
        })
    }
}

// The things that faults hold back: messages, close frames, and everything that a connection would be sent.

/// A message whose delivery is delayed.
#[derive(Debug)]
pub(crate) struct HeldMessage {
    /// The message. One that was pending has no sender: only its mark identifies the viewer.
    pub(crate) message: Deferred,
    /// Connection whose next message this one follows, if that message is sent before the delay ends.
    pub(crate) behind: Option<SessionKey>,
}

/// Work that the interposer defers until the current step ends, or until a given time.
#[derive(Debug)]
pub(crate) enum Later {
    /// Releases a message that a fault held back.
    Message(HeldMessage),
    /// Sends a close frame to this connection.
    Close {
        session: SessionKey,
        code: u16,
        reason: Box<str>,
    },
    /// Handles an admitted connection.
    Joined(SessionKey),
    /// Sends a message to this connection again.
    SendAgain(Deferred, SessionKey),
    /// Performs the act that a message triggered on a connection.
    Act(SessionKey, SessionAct),
}

/// All items that faults hold back, sorted by due time.
#[derive(Debug, Default)]
pub(crate) struct Held {
    later: BTreeMap<(Now, u64), Later>,
    /// Serial number that orders items with equal due times.
    serial: u64,
    messages: usize,
    bytes: usize,
    /// Muted connections, each with the time at which sending resumes.
    mutes: BTreeMap<SessionKey, Now>,
    /// Connections whose peers appear unreachable, each with the time at which the peer becomes reachable again.
    half_open: BTreeMap<SessionKey, Now>,
}

impl Held {
    /// Holds a message back; false, and counted, when there is no capacity.
    pub(crate) fn hold(&mut self, message: HeldMessage, until: Now, counts: &FaultCounts) -> bool {
        let bytes = message.bytes();
        if self.messages >= FAULT_HELD_MAX || self.bytes + bytes > FAULT_HELD_BYTES_MAX {
            counts.overflow();
            return false;
        }
        self.messages += 1;
        self.bytes += bytes;
        self.put(until, Later::Message(message));
        true
    }

    /// Schedules a close frame.
    pub(crate) fn close_at(&mut self, at: Now, session: SessionKey, code: u16, reason: Box<str>) {
        self.put(
            at,
            Later::Close {
                session,
                code,
                reason,
            },
        );
    }

    fn put(&mut self, at: Now, what: Later) {
        self.serial += 1;
        self.later.insert((at, self.serial), what);
    }

    /// The next item that is due.
    pub(crate) fn take_due(&mut self, now: Now) -> Option<Later> {
        let (&(at, serial), _) = self.later.first_key_value()?;
        if at > now {
            return None;
        }
        self.take((at, serial))
    }

    /// Takes the message held until the next one to this connection.
    pub(crate) fn take_behind(&mut self, session: SessionKey) -> Option<HeldMessage> {
        self.take_message(|held| held.behind == Some(session))
    }

    /// Takes a held message of this channel.
    pub(crate) fn take_of(&mut self, channel: ChannelKey) -> Option<HeldMessage> {
        self.take_message(|held| held.message.channel == channel)
    }

    fn take_message(&mut self, which: impl Fn(&HeldMessage) -> bool) -> Option<HeldMessage> {
        let meant = |what: &Later| matches!(what, Later::Message(message) if which(message));
        let mut all = self.later.iter();
        let place = all.find(|(_, what)| meant(what)).map(|(place, _)| *place)?;
        let Some(Later::Message(message)) = self.take(place) else {
            return None;
        };
        Some(message)
    }

    fn take(&mut self, place: (Now, u64)) -> Option<Later> {
        let what = self.later.remove(&place)?;
        if let Later::Message(message) = &what {
            self.messages -= 1;
            self.bytes -= message.bytes();
        }
        Some(what)
    }

    /// Sends nothing to this connection until `until`, or until a later end set by another fault. Returns when sending
    /// resumes.
    pub(crate) fn mute(&mut self, session: SessionKey, until: Now) -> Now {
        let mute = self.mutes.entry(session).or_insert(until);
        *mute = until.max(*mute);
        *mute
    }

    /// Makes the peer of this connection appear unreachable until `until`.
    pub(crate) fn half_open(&mut self, session: SessionKey, until: Now) {
        self.half_open.insert(session, until);
    }

    /// Takes a connection whose peer is reachable again.
    pub(crate) fn take_mended(&mut self, now: Now) -> Option<SessionKey> {
        let over = self.half_open.iter().find(|(_, until)| **until <= now);
        let session = over.map(|(session, _)| *session)?;
        self.half_open.remove(&session);
        Some(session)
    }

    /// Takes a muted connection to which sending resumes.
    pub(crate) fn take_unmuted(&mut self, now: Now) -> Option<SessionKey> {
        let over = self.mutes.iter().find(|(_, until)| **until <= now);
        let session = over.map(|(session, _)| *session)?;
        self.mutes.remove(&session);
        Some(session)
    }

    /// Forgets connections that no longer exist.
    pub(crate) fn forget_gone(&mut self, is_there: impl Fn(SessionKey) -> bool) {
        self.mutes.retain(|session, _| is_there(*session));
        self.half_open.retain(|session, _| is_there(*session));
    }

    /// Forgets a connection that is gone or no longer affected.
    pub(crate) fn forget(&mut self, session: SessionKey) {
        self.mutes.remove(&session);
        self.half_open.remove(&session);
    }

    /// When the next item is due.
    pub(crate) fn next(&self) -> Option<Now> {
        let later = self.later.first_key_value().map(|(&(at, _), _)| at);
        let mutes = self.mutes.values().copied().min();
        let half_open = self.half_open.values().copied().min();
        let next = later.into_iter().chain(mutes).chain(half_open).min();
        next.filter(|next| *next != NEVER)
    }
}

impl HeldMessage {
    fn bytes(&self) -> usize {
        let message = &self.message;
        let sender = message.sender.as_ref().map_or(0, |sender| sender.len());
        size_of::<Self>() + message.payload.len() + message.recipient.len() + sender
    }
}

// One fault as a test describes it: what it is about, what it does, and how often.
//
// A rule is the same value on every shard, so that its counts hold for the process.

/// A scripted fault.
#[derive(Debug)]
pub struct FaultRule {
    /// The fault's number, as in its id.
    pub number: u64,
    /// The requests, messages or connections that the rule applies to.
    pub matches: FaultMatch,
    /// The act performed on a match.
    pub act: FaultAct,
    /// Number of matches to skip before the first act.
    pub skip: u64,
    /// Maximum number of acts; `None`: unlimited.
    pub times: Option<u64>,
    /// Probability of an act for each match; `None`: acts on every match.
    pub chance: Option<Chance>,
    /// Lifetime of the rule, in milliseconds.
    pub lasts_ms: Option<u64>,
    /// Number of matches and acts so far.
    pub counts: FaultCounts,
}

/// Selects the subjects of a fault: all criteria given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultMatch {
    /// The channel's name.
    pub channel: Option<Glob>,
    /// The role of the client that connects, sends, or receives.
    pub role: Option<Role>,
    /// Client id of the client that calls, connects, sends, or receives; a master has none.
    pub client_id: Option<Glob>,
    /// The operation of a call.
    pub operation: Option<Operation>,
    /// The action of a message.
    pub action: Option<Action>,
}

/// The act of a fault, and the point at which it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultAct {
    /// Applies to a request for a WebSocket.
    Connect(RequestAct),
    /// Applies to an API call.
    Api(RequestAct),
    /// Applies to a message when it arrives.
    Message(MessageAct),
    /// Applies to a message for a connected recipient.
    Delivery(DeliveryAct),
    /// Applies to an open WebSocket.
    Session(SessionAct),
}

/// An act on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestAct {
    /// Refuse the request.
    Refuse {
        /// The error.
        error: &'static FaultError,
        /// The HTTP status, if it differs from the error's own.
        status: Option<u16>,
        /// The error message.
        message: Box<str>,
    },
    /// Delay the response by this many milliseconds.
    Delay(u64),
    /// Never answer.
    Hang,
    /// Reset the connection.
    Reset,
}

/// An act on a message when it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageAct {
    /// Drop the message.
    Drop,
    /// Deliver the message later, by this many milliseconds.
    Delay(u64),
    /// Refuse the message with a status response, if it has a correlation id.
    Status {
        /// The error type, without a prefix.
        error_type: Box<str>,
        /// The status code.
        status_code: u16,
        /// The description text.
        description: Box<str>,
    },
    /// Expire the message immediately.
    Expire,
    /// Replace the message's viewer: a master's message is sent to this viewer, a viewer's appears to come from it.
    Misdirect(Box<str>),
    /// Forward the message, then act on its sender's WebSocket.
    Session(SessionAct),
}

/// An act on a message for a connected recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryAct {
    /// Drop the message.
    Drop,
    /// Deliver the message later, by this many milliseconds.
    Delay(u64),
    /// Send the message twice.
    Duplicate,
    /// Send the message after the next one for the same recipient.
    Reorder,
    /// Send the message with this part of it corrupted.
    Corrupt(Corruption),
    /// Queue the message for its recipient, then act on the recipient's WebSocket before anything is sent.
    Session(SessionAct),
}

/// The part of a message that a fault corrupts, keeping its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// The payload is the base64 encoding of zeros, which is not JSON.
    Payload,
    /// The payload is not base64.
    Base64,
    /// The text of the message is not JSON.
    Message,
}

/// An act on an open WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionAct {
    /// Send GO_AWAY, and a close frame some time later.
    GoAway {
        /// Milliseconds between GO_AWAY and the close frame.
        grace_ms: u64,
    },
    /// Send a close frame.
    Close {
        /// Close code.
        code: u16,
        /// Close reason, at most 123 bytes.
        reason: Box<str>,
        /// Delay in milliseconds.
        after_ms: u64,
    },
    /// Keep the connection open but send nothing on it, not even pongs; for this many milliseconds, or until it closes.
    Stall(Option<u64>),
    /// Make the peer appear unreachable: nothing that it sends is read, and nothing sent to it is acknowledged; for
    /// this many milliseconds, or until the connection closes.
    HalfOpen(Option<u64>),
    /// Send RECONNECT_ICE_SERVER.
    ReconnectIce,
    /// Send an empty text message, as the cloud service has been observed to do.
    SendEmpty,
    /// Reset the TCP connection: the client sees code 1006, a close without a close frame.
    Reset,
}

/// A probability of acting on a match; the selection is identical in every run with the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    /// The seed of the selection.
    pub seed: u64,
    /// Number of matches out of 2³² that are acted on.
    pub of_2_32: u64,
}

/// Match and act counts of a fault.
#[derive(Debug, Default)]
pub struct FaultCounts {
    seen: AtomicU64,
    hits: AtomicU64,
    overflowed: AtomicU64,
    ended: AtomicBool,
}

/// A request, message or connection that a fault may apply to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FaultSubject<'a> {
    pub(crate) channel: Option<&'a str>,
    pub(crate) role: Option<Role>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) operation: Option<Operation>,
    pub(crate) action: Option<Action>,
}

/// Accessors for the acts of each kind.
impl FaultAct {
    pub(crate) fn on_connect(&self) -> Option<&RequestAct> {
        if let Self::Connect(act) = self {
            Some(act)
        } else {
            None
        }
    }

    pub(crate) fn on_call(&self) -> Option<&RequestAct> {
        if let Self::Api(act) = self {
            Some(act)
        } else {
            None
        }
    }

    pub(crate) fn on_message(&self) -> Option<&MessageAct> {
        if let Self::Message(act) = self {
            Some(act)
        } else {
            None
        }
    }

    pub(crate) fn on_delivery(&self) -> Option<&DeliveryAct> {
        if let Self::Delivery(act) = self {
            Some(act)
        } else {
            None
        }
    }

    pub(crate) fn on_session(&self) -> Option<&SessionAct> {
        if let Self::Session(act) = self {
            Some(act)
        } else {
            None
        }
    }
}

impl<'a> FaultSubject<'a> {
    /// A client of the named channel, as the sender or the recipient of a message.
    pub(crate) fn of_client(name: &'a str, client_id: Option<&'a str>, action: Action) -> Self {
        Self {
            channel: Some(name),
            role: Some(client_id.map_or(Role::Master, |_| Role::Viewer)),
            client_id,
            operation: None,
            action: Some(action),
        }
    }
}

impl FaultMatch {
    /// Whether all criteria match.
    pub(crate) fn covers(&self, subject: &FaultSubject<'_>) -> bool {
        fn same<T: PartialEq>(wanted: Option<&T>, is: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| is == Some(wanted))
        }
        let glob = |wanted: &Option<Glob>, is: Option<&str>| {
            let covers = |glob: &Glob| is.is_some_and(|text| glob.covers(text));
            wanted.as_ref().is_none_or(covers)
        };
        glob(&self.channel, subject.channel)
            && same(self.role.as_ref(), subject.role.as_ref())
            && glob(&self.client_id, subject.client_id)
            && same(self.operation.as_ref(), subject.operation.as_ref())
            && same(self.action.as_ref(), subject.action.as_ref())
    }
}

impl FaultRule {
    /// Counts a match; true if the rule must act on it.
    fn hit(&self) -> bool {
        let counts = &self.counts;
        let number = counts.seen.fetch_add(1, Ordering::Relaxed);
        if number < self.skip || self.chance.is_some_and(|chance| !chance.takes(number)) {
            return false;
        }
        let most = self.times.unwrap_or(u64::MAX);
        let one_more = |hits: u64| (hits < most).then_some(hits + 1);
        let order = Ordering::Relaxed;
        counts.hits.fetch_update(order, order, one_more).is_ok()
    }

    /// Whether the rule can no longer act.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.counts.ended.load(Ordering::Relaxed)
            || self.times.is_some_and(|times| self.counts.hits() >= times)
    }
}

impl Chance {
    /// Selects the fraction `part` of all matches, above 0 and at most 1.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 2^32"
    )]
    pub fn new(seed: u64, part: f64) -> Self {
        let of_2_32 = (part.clamp(0.0, 1.0) * 4_294_967_296.0) as u64;
        Self { seed, of_2_32 }
    }

    /// Whether to act on the match with this number, by the output function of SplitMix64.
    fn takes(self, number: u64) -> bool {
        let mut bits = self
            .seed
            .wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) >> 32 < self.of_2_32
    }
}

impl FaultCounts {
    /// Number of matches acted on.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Number of matches, including those not acted on.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Number of messages that could not be held back for lack of capacity.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Ends the fault on all shards.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn overflow(&self) {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
    }
}

/// A rule shared by the shards.
pub type SharedRule = Arc<FaultRule>;

// The errors that faults refuse requests with, in the form in which the cloud service sends them.

/// An error type that a fault can return.
#[derive(Debug, PartialEq, Eq)]
pub struct FaultError {
    /// The error type without a prefix, as in `x-amzn-ErrorType`.
    pub name: &'static str,
    /// The HTTP status, if it is the same for all operations.
    status: u16,
    /// The body member that contains the error message.
    text: ErrorText,
}

/// The body member that contains an error's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorText {
    /// The member used by the operation's other errors.
    AsOperation,
    /// `message`, for every operation.
    Common,
}

impl FaultError {
    /// The error with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|error| error.name == name)
    }

    /// The names of all errors.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ALL.iter().map(|error| error.name)
    }

    /// The status of a response to an operation, or to a WebSocket request.
    pub(crate) fn status(&self, operation: Option<Operation>) -> u16 {
        let family = operation.map_or(Family::WebSocket, Operation::family);
        let denied = ErrorKind::AccessDenied;
        if self.name == denied.error_type() {
            denied.status(family)
        } else {
            self.status
        }
    }

    /// The operation whose error format the response body uses.
    pub(crate) fn form(&self, operation: Option<Operation>) -> Option<Operation> {
        operation.filter(|_| self.text == ErrorText::AsOperation)
    }
}

const fn as_operation(name: &'static str, status: u16) -> FaultError {
    let text = ErrorText::AsOperation;
    FaultError { name, status, text }
}

const fn common(name: &'static str, status: u16) -> FaultError {
    let text = ErrorText::Common;
    FaultError { name, status, text }
}

/// The errors in the service's models, and those common to AWS services ("Common Error Types" of each service's API
/// reference, and others that its front end sends). InvalidClientException and SessionExpiredException are modelled
/// with a `message`, unlike the others of their service.
const ALL: &[FaultError] = &[
    as_operation("AccessDeniedException", 403),
    as_operation("AccountChannelLimitExceededException", 400),
    as_operation("AccountStreamLimitExceededException", 400),
    as_operation("ClientLimitExceededException", 400),
    as_operation("DeviceStreamLimitExceededException", 400),
    common("ExpiredTokenException", 403),
    common("IncompleteSignature", 400),
    as_operation("InternalFailure", 500),
    as_operation("InvalidArgumentException", 400),
    common("InvalidClientException", 400),
    as_operation("InvalidDeviceException", 400),
    as_operation("InvalidResourceFormatException", 400),
    common("InvalidSignatureException", 403),
    common("MalformedHttpRequestException", 400),
    common("MissingAuthenticationTokenException", 403),
    as_operation("NoDataRetentionException", 400),
    common("NotAuthorized", 401),
    as_operation("NotAuthorizedException", 401),
    common("OptInRequired", 403),
    common("RequestAbortedException", 400),
    common("RequestEntityTooLargeException", 413),
    common("RequestExpired", 400),
    common("RequestTimeoutException", 408),
    as_operation("ResourceInUseException", 400),
    as_operation("ResourceNotFoundException", 404),
    as_operation("SerializationException", 400),
    common("ServiceUnavailable", 503),
    common("SessionExpiredException", 400),
    as_operation("StreamEdgeConfigurationNotFoundException", 404),
    as_operation("TagsPerResourceExceededLimitException", 400),
    common("ThrottlingException", 400),
    common("UnknownOperationException", 404),
    common("UnrecognizedClientException", 403),
    common("ValidationError", 400),
    as_operation("VersionMismatchException", 400),
];

#[cfg(test)]
mod held_tests {
    use super::*;
    use crate::session::outbox::DeliveryMark;
    use codec::signal::Action;

    fn message(behind: Option<SessionKey>, bytes: usize) -> HeldMessage {
        let message = Deferred {
            from: SessionKey::new(0, 0),
            channel: ChannelKey::new(0, 0),
            sender: None,
            launch: DeliveryMark {
                action: Action::SdpOffer,
                expires: NEVER,
                order: 1,
                sender_bytes: 0,
                call: false,
                counted: true,
                from: None,
                first: false,
                follows: false,
                accepted_us: None,
            },
            payload: vec![b'A'; bytes].into(),
            recipient: "v1".into(),
            correlation_id: None,
        };
        HeldMessage { message, behind }
    }

    #[test]
    fn messages_are_held_up_to_a_number_and_up_to_bytes() {
        let (mut held, counts) = (Held::default(), FaultCounts::default());
        for _ in 0..FAULT_HELD_MAX + 3 {
            held.hold(message(None, 1), Now(5), &counts);
        }
        assert_eq!((held.messages, counts.overflowed()), (FAULT_HELD_MAX, 3));
        while held.take_due(Now(5)).is_some() {}
        assert_eq!((held.messages, held.bytes, held.next()), (0, 0, None));
        for _ in 0..5 {
            held.hold(message(None, 1 << 20), Now(5), &counts);
        }
        assert_eq!((held.messages, counts.overflowed()), (3, 3 + 2));
    }

    #[test]
    fn what_is_due_comes_in_order() {
        let (mut held, counts) = (Held::default(), FaultCounts::default());
        let session = SessionKey::new(7, 0);
        held.close_at(Now(9), session, 1001, "".into());
        held.hold(message(None, 1), Now(5), &counts);
        held.hold(message(Some(session), 2), Now(5), &counts);
        assert_eq!(held.next(), Some(Now(5)));
        assert!(held.take_due(Now(4)).is_none());
        assert!(held.take_behind(SessionKey::new(8, 0)).is_none());
        assert_eq!(
            held.take_behind(session).map(|it| it.message.payload.len()),
            Some(2)
        );
        assert!(matches!(held.take_due(Now(9)), Some(Later::Message(_))));
        assert!(matches!(held.take_due(Now(9)), Some(Later::Close { .. })));
    }

    #[test]
    fn a_mute_connection_is_sent_something_again_when_its_longest_fault_is_over() {
        let mut held = Held::default();
        let (one, other) = (SessionKey::new(1, 0), SessionKey::new(2, 0));
        held.mute(one, Now(5));
        held.mute(other, NEVER);
        assert_eq!(held.mute(one, Now(3)), Now(5), "the longer one counts");
        assert_eq!(held.next(), Some(Now(5)));
        assert_eq!(held.take_unmuted(Now(4)), None);
        assert_eq!(held.take_unmuted(Now(5)), Some(one));
        assert_eq!((held.take_unmuted(Now(5)), held.next()), (None, None));
        assert_eq!(held.mute(other, Now(9)), NEVER);
        held.forget(other);
        assert_eq!(held.mute(other, Now(9)), Now(9));
    }
}

#[cfg(test)]
pub(crate) mod rule_tests {
    use super::*;

    pub(crate) fn rule(act: FaultAct) -> FaultRule {
        FaultRule {
            number: 1,
            matches: FaultMatch::default(),
            act,
            skip: 0,
            times: Some(1),
            chance: None,
            lasts_ms: None,
            counts: FaultCounts::default(),
        }
    }

    #[test]
    fn a_rule_acts_after_those_it_skips_as_often_as_it_says() {
        let rule = FaultRule {
            skip: 2,
            times: Some(3),
            ..rule(FaultAct::Message(MessageAct::Drop))
        };
        let hits: Vec<bool> = (0..7).map(|_| rule.hit()).collect();
        assert_eq!(hits, [false, false, true, true, true, false, false]);
        assert_eq!((rule.counts.seen(), rule.counts.hits()), (7, 3));
        assert!(rule.is_spent());
    }

    #[test]
    fn a_chance_is_the_same_with_the_same_seed_and_about_right() {
        let chance = |seed| Chance {
            seed,
            of_2_32: (1 << 32) / 10,
        };
        let taken = |seed| {
            (0..10_000)
                .filter(|number| chance(seed).takes(*number))
                .count()
        };
        assert!((900..1100).contains(&taken(7)), "{}", taken(7));
        let which = |seed| {
            (0..64)
                .map(|number| chance(seed).takes(number))
                .collect::<Vec<_>>()
        };
        assert_eq!(which(7), which(7));
        assert_ne!(which(7), which(8));
    }

    #[test]
    fn all_that_is_named_must_agree() {
        let subject = FaultSubject {
            channel: Some("cam-1"),
            role: Some(Role::Viewer),
            client_id: Some("phone-1"),
            operation: None,
            action: Some(Action::SdpOffer),
        };
        let wanted = FaultMatch {
            channel: Some(Glob::new("cam-*")),
            role: Some(Role::Viewer),
            client_id: Some(Glob::new("phone-?")),
            operation: None,
            action: Some(Action::SdpOffer),
        };
        assert!(FaultMatch::default().covers(&subject) && wanted.covers(&subject));
        let others = [
            FaultSubject {
                channel: None,
                ..subject
            },
            FaultSubject {
                channel: Some("door"),
                ..subject
            },
            FaultSubject {
                role: Some(Role::Master),
                ..subject
            },
            FaultSubject {
                client_id: None,
                ..subject
            },
            FaultSubject {
                action: None,
                ..subject
            },
        ];
        for other in others {
            assert!(!wanted.covers(&other), "{other:?}");
        }
    }
}

#[cfg(test)]
mod error_tests {
    use super::*;

    /// The models of the three services differ in the status of one error and in the member of the text.
    #[test]
    fn status_and_body_are_those_of_the_operations_model() {
        let (denied, expired) = ("AccessDeniedException", "SessionExpiredException");
        for (operation, name, status, body) in [
            (
                Some(Operation::DescribeSignalingChannel),
                denied,
                401,
                r#"{"Message":"No."}"#,
            ),
            (
                Some(Operation::JoinStorageSession),
                denied,
                403,
                r#"{"message":"No."}"#,
            ),
            (None, denied, 403, r#"{"message":"No."}"#),
            (
                Some(Operation::GetIceServerConfig),
                expired,
                400,
                r#"{"message":"No."}"#,
            ),
            (
                Some(Operation::GetIceServerConfig),
                "NotAuthorizedException",
                401,
                r#"{"Message":"No."}"#,
            ),
            (
                Some(Operation::GetIceServerConfig),
                "ServiceUnavailable",
                503,
                r#"{"message":"No."}"#,
            ),
        ] {
            let error = FaultError::named(name).unwrap();
            assert_eq!(error.status(operation), status, "{name} {operation:?}");
            let mut text = Vec::new();
            codec::control::error_body(&mut text, error.form(operation), "No.");
            assert_eq!(text, body.as_bytes(), "{name} {operation:?}");
        }
        assert_eq!(FaultError::named("Nope"), None);
    }
}
