//! Faults that tests script: under `--dev` only. A production shard has none of this.
//!
//! They act at four places: where a connection or call is admitted (`on_connect`, `on_call`), where a message has its
//! route (`on_message`) or was kept and is delivered (`deliver_pending`), and where a WebSocket opens or a fault is
//! made (`on_session`). The first rule that matches and is not spent acts. The counters hold: what a fault drops is
//! withdrawn, what it holds back is in the gauge of pending messages, and the copy of a duplicate is not counted.
//!
//! This file has what a fault is, what requests are refused with, and what faults hold back. What they do is in
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

/// The faults of a shard, and what they hold back.
#[derive(Debug, Default)]
pub(crate) struct InjectedFaults {
    /// In the order in which they were made, each with its end.
    pub(crate) rules: Vec<(Now, SharedRule)>,
    pub(crate) held: Held,
}

impl InjectedFaults {
    /// Takes a rule in. The side thread makes at most [`FAULTS_MAX`], so there is room.
    pub(crate) fn add(&mut self, rule: SharedRule, now: Now) {
        self.rules
            .retain(|(end, rule)| *end > now && !rule.is_spent());
        if self.rules.len() < FAULTS_MAX {
            let end = rule.lasts_ms.map_or(NEVER, |ms| now.after(ms));
            self.rules.push((end, rule));
        }
    }

    /// The first rule of a kind that is to act on this, and its act.
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

/// A message that is delivered later.
#[derive(Debug)]
pub(crate) struct HeldMessage {
    /// The message. Nobody sends one that was kept: only its mark knows the viewer of such a message.
    pub(crate) message: Deferred,
    /// Connection whose next message it follows, if that comes earlier.
    pub(crate) behind: Option<SessionKey>,
}

/// A step that the interposer leaves to itself: behind the step under way, or at some time.
#[derive(Debug)]
pub(crate) enum Later {
    /// A message that a fault held back goes on.
    Message(HeldMessage),
    /// A close frame goes to this connection.
    Close {
        session: SessionKey,
        code: u16,
        reason: Box<str>,
    },
    /// A connection was admitted.
    Joined(SessionKey),
    /// A message goes once more to this connection.
    SendAgain(Deferred, SessionKey),
    /// A message had this done to a connection.
    Act(SessionKey, SessionAct),
}

/// All of it, by when it is due.
#[derive(Debug, Default)]
pub(crate) struct Held {
    later: BTreeMap<(Now, u64), Later>,
    /// Numbers those of one moment.
    serial: u64,
    messages: usize,
    bytes: usize,
    /// Connections that are sent nothing, and until when.
    mutes: BTreeMap<SessionKey, Now>,
    /// Connections whose peers seem cut off, and until when.
    half_open: BTreeMap<SessionKey, Now>,
}

impl Held {
    /// Holds a message back; false, and counted, when there is no room.
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

    /// A close frame is sent at this moment.
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

    /// The next thing that is due.
    pub(crate) fn take_due(&mut self, now: Now) -> Option<Later> {
        let (&(at, serial), _) = self.later.first_key_value()?;
        if at > now {
            return None;
        }
        self.take((at, serial))
    }

    /// The message that waits for the next one to this connection.
    pub(crate) fn take_behind(&mut self, session: SessionKey) -> Option<HeldMessage> {
        self.take_message(|held| held.behind == Some(session))
    }

    /// A message of this channel.
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

    /// Nothing is sent to this connection until then, or until what another fault has said. Returns when.
    pub(crate) fn mute(&mut self, session: SessionKey, until: Now) -> Now {
        let mute = self.mutes.entry(session).or_insert(until);
        *mute = until.max(*mute);
        *mute
    }

    /// The peer of this connection seems cut off until then.
    pub(crate) fn half_open(&mut self, session: SessionKey, until: Now) {
        self.half_open.insert(session, until);
    }

    /// A connection whose peer is back.
    pub(crate) fn take_mended(&mut self, now: Now) -> Option<SessionKey> {
        let over = self.half_open.iter().find(|(_, until)| **until <= now);
        let session = over.map(|(session, _)| *session)?;
        self.half_open.remove(&session);
        Some(session)
    }

    /// A connection that is sent something again.
    pub(crate) fn take_unmuted(&mut self, now: Now) -> Option<SessionKey> {
        let over = self.mutes.iter().find(|(_, until)| **until <= now);
        let session = over.map(|(session, _)| *session)?;
        self.mutes.remove(&session);
        Some(session)
    }

    /// Forgets the connections that are not there any more.
    pub(crate) fn forget_gone(&mut self, is_there: impl Fn(SessionKey) -> bool) {
        self.mutes.retain(|session, _| is_there(*session));
        self.half_open.retain(|session, _| is_there(*session));
    }

    /// A connection is gone, or is to be as others are.
    pub(crate) fn forget(&mut self, session: SessionKey) {
        self.mutes.remove(&session);
        self.half_open.remove(&session);
    }

    /// When something is due.
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

/// A fault.
#[derive(Debug)]
pub struct FaultRule {
    /// Which fault it is: the number in its id.
    pub number: u64,
    /// The requests, messages or connections that it is about.
    pub matches: FaultMatch,
    /// Act of the rule.
    pub act: FaultAct,
    /// Matches that it lets pass before the first one it acts on.
    pub skip: u64,
    /// Matches that it acts on; `None` for all.
    pub times: Option<u64>,
    /// Probability of an act for each match; `None`: acts on every match.
    pub chance: Option<Chance>,
    /// Lifetime of the rule, in milliseconds.
    pub lasts_ms: Option<u64>,
    /// Matches and acts so far.
    pub counts: FaultCounts,
}

/// The subjects of a fault: all that is named must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultMatch {
    /// The channel's name.
    pub channel: Option<Glob>,
    /// The role: of the client that connects, sends, or receives.
    pub role: Option<Role>,
    /// Client id of the caller; a master has none.
    pub client_id: Option<Glob>,
    /// The operation of a call.
    pub operation: Option<Operation>,
    /// The action of a message.
    pub action: Option<Action>,
}

/// The act of a fault, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultAct {
    /// To a request for a WebSocket.
    Connect(RequestAct),
    /// To an API call.
    Api(RequestAct),
    /// To a message when it arrives.
    Message(MessageAct),
    /// To a message for a connected recipient.
    Delivery(DeliveryAct),
    /// To an open WebSocket.
    Session(SessionAct),
}

/// An act on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestAct {
    /// Refuse the request.
    Refuse {
        /// The error.
        error: &'static FaultError,
        /// The HTTP status, unless it is the error's own.
        status: Option<u16>,
        /// The text.
        message: Box<str>,
    },
    /// Delay the answer, in milliseconds.
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
    /// Deliver it later, by milliseconds.
    Delay(u64),
    /// Refuse it with a status response, if it has a correlation id.
    Status {
        /// The bare name of the error.
        error_type: Box<str>,
        /// The code.
        status_code: u16,
        /// The text.
        description: Box<str>,
    },
    /// End its time to live at once.
    Expire,
    /// Replace its viewer: a master's message goes to this one, a viewer's comes from it.
    Misdirect(Box<str>),
    /// Pass it on, then act on its sender's WebSocket.
    Session(SessionAct),
}

/// An act on a message for a connected recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryAct {
    /// Drop the message.
    Drop,
    /// Deliver it later, by milliseconds.
    Delay(u64),
    /// Send it twice.
    Duplicate,
    /// Send it after the next one for the same recipient.
    Reorder,
    /// Send it with this part of it corrupted.
    Corrupt(Corruption),
    /// Queue it for its recipient, then act on that one's WebSocket before anything is sent.
    Session(SessionAct),
}

/// The part of a message that a fault spoils. The message stays as long as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// The payload is base64 of zeros: no JSON.
    Payload,
    /// The payload is not base64.
    Base64,
    /// The text of the message is not JSON.
    Message,
}

/// An act on an open WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionAct {
    /// GO_AWAY, and the close frame some time later.
    GoAway {
        /// Milliseconds that it stays.
        grace_ms: u64,
    },
    /// A close frame.
    Close {
        /// Close code.
        code: u16,
        /// Close reason, 123 bytes at most.
        reason: Box<str>,
        /// After this many milliseconds.
        after_ms: u64,
    },
    /// Keep it open, and send nothing to it, no pong either; for milliseconds, or until its end.
    Stall(Option<u64>),
    /// Have its peer seem cut off: nothing that it sends is read, and nothing that is sent to it is confirmed; for
    /// milliseconds, or until its end.
    HalfOpen(Option<u64>),
    /// RECONNECT_ICE_SERVER.
    ReconnectIce,
    /// A text message without a character, as the cloud service is seen to send.
    SendEmpty,
    /// A TCP reset: its client sees 1006, the end without a close frame.
    Reset,
}

/// A part of the matches, the same in every run with the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    /// The seed.
    pub seed: u64,
    /// Of 2³² matches this many are acted on.
    pub of_2_32: u64,
}

/// The matches and acts of a fault so far.
#[derive(Debug, Default)]
pub struct FaultCounts {
    seen: AtomicU64,
    hits: AtomicU64,
    overflowed: AtomicU64,
    ended: AtomicBool,
}

/// A request, message or connection that a fault may be about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FaultSubject<'a> {
    pub(crate) channel: Option<&'a str>,
    pub(crate) role: Option<Role>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) operation: Option<Operation>,
    pub(crate) action: Option<Action>,
}

/// The acts of one kind, by which rules are picked.
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
    /// A client of a channel of this name, as the sender or the recipient of a message.
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
    /// Whether all that is named agrees.
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
    /// Counts a match; true when it is to be acted on.
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

    /// Whether it may still act.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.counts.ended.load(Ordering::Relaxed)
            || self.times.is_some_and(|times| self.counts.hits() >= times)
    }
}

impl Chance {
    /// Share of all matches, above 0 and up to 1.
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

    /// Whether the match of this number is acted on: the last step of the generator SplitMix64.
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
    /// Matches acted on.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Matches of all kinds.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Messages that should have been held back, for which there was no room.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// No shard acts on the fault any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn overflow(&self) {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
    }
}

/// A rule as shards share it.
pub type SharedRule = Arc<FaultRule>;

// The errors that faults refuse requests with, in the form in which the cloud service sends them.

/// An error type.
#[derive(Debug, PartialEq, Eq)]
pub struct FaultError {
    /// The bare name, as `x-amzn-ErrorType` carries it.
    pub name: &'static str,
    /// The HTTP status, where it does not depend on the operation.
    status: u16,
    /// The place of its text.
    text: ErrorText,
}

/// The member of the body that holds an error's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorText {
    /// Error of the operation's other refusals.
    AsOperation,
    /// `message`, whatever the operation.
    Common,
}

impl FaultError {
    /// The error of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|error| error.name == name)
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ALL.iter().map(|error| error.name)
    }

    /// The status of an answer to an operation, or to a request for a WebSocket.
    pub(crate) fn status(&self, operation: Option<Operation>) -> u16 {
        let family = operation.map_or(Family::WebSocket, Operation::family);
        let denied = ErrorKind::AccessDenied;
        if self.name == denied.error_type() {
            denied.status(family)
        } else {
            self.status
        }
    }

    /// The operation whose form the body of an answer has.
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

/// The errors of the service's models, and those that AWS services have in common ("Common Error Types" of each
/// service's API reference, and what its front end sends beside them). InvalidClientException and
/// SessionExpiredException are modelled with a `message`, unlike the others of their service.
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
