//! An open WebSocket: frames, role, caller, rate limits, and the next deadline.

use crate::id::{CallerId, ChannelKey};
use crate::limits::{IDLE_FRAMES_PER_SECOND_MAX, MESSAGE_MS_MAX, STALL_MS};
use crate::settings::{Program, Quotas, Timeouts};
use crate::{auth::HeldCaller, journal::EndReason, quota::Bucket, session::NEVER, time::Now};
use codec::signal::Action;
use codec::ws::{Excess, FrameError, Receiver, Side};
use std::num::NonZeroU8;
use std::rc::Rc;

/// Role of a connection in its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The master.
    Master,
    /// A viewer, with its client id.
    Viewer(Rc<str>),
}

impl Role {
    /// Client id, if the role is a viewer.
    #[must_use]
    pub(crate) fn client_id(&self) -> Option<&str> {
        match self {
            Self::Master => None,
            Self::Viewer(id) => Some(id),
        }
    }

    /// Converts the role to the codec's type.
    #[must_use]
    pub(crate) fn on_wire(&self) -> codec::signal::Role {
        match self {
            Self::Master => codec::signal::Role::Master,
            Self::Viewer(_) => codec::signal::Role::Viewer,
        }
    }
}

/// Returns the client id of the viewer that sent, or will receive, a message for `role`. In a frame for a master, the
/// sender's id precedes the closing quote and brace.
pub(crate) fn viewer_of<'a>(role: &'a Role, frame: &'a [u8], sender_bytes: u16) -> &'a str {
    if let Role::Viewer(id) = role {
        return id;
    }
    let end = frame.len().saturating_sub(2);
    let begin = end.saturating_sub(usize::from(sender_bytes));
    frame
        .get(begin..end)
        .and_then(|id| std::str::from_utf8(id).ok())
        .unwrap_or_default()
}

/// Statistics of a connection, logged when the connection ends. Kept from admission until the descriptor is free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    /// Time of admission.
    pub opened: Now,
    /// Number of messages received, including refused ones; saturates.
    pub messages_in: u32,
    /// Number of messages delivered completely to the connection; saturates.
    pub messages_out: u32,
    /// Times from a viewer's admission to its first offer and to its first answer, in milliseconds, saturating;
    /// [`NOT_YET`] if there has been none.
    offered_ms: u32,
    answered_ms: u32,
}

/// Value of a time that is not known yet, before the first offer or answer.
const NOT_YET: u32 = u32::MAX;

impl Tally {
    /// Creates the statistics of a connection at its admission.
    fn of(now: Now) -> Self {
        Self {
            opened: now,
            messages_in: 0,
            messages_out: 0,
            offered_ms: NOT_YET,
            answered_ms: NOT_YET,
        }
    }

    fn span(&self, now: Now) -> u32 {
        u32::try_from(now.since(self.opened)).map_or(NOT_YET - 1, |ms| ms.min(NOT_YET - 1))
    }

    /// Records an accepted offer from a viewer; returns `true` for the first one.
    pub(crate) fn offered(&mut self, now: Now) -> bool {
        let first = self.offered_ms == NOT_YET;
        if first {
            self.offered_ms = self.span(now);
        }
        first
    }

    /// Time from a viewer's admission to its first offer, in milliseconds.
    #[must_use]
    pub(crate) fn offered_ms(&self) -> Option<u32> {
        Some(self.offered_ms).filter(|ms| *ms != NOT_YET)
    }

    /// Time from a viewer's admission to its first answer, in milliseconds.
    #[must_use]
    pub(crate) fn answered_ms(&self) -> Option<u32> {
        Some(self.answered_ms).filter(|ms| *ms != NOT_YET)
    }
}

/// Index of a connection's message limits in its shard's list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoundsPlace(pub(crate) u8);

/// Properties that are fixed when a connection is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdmissionTerms {
    /// Whether the client may receive GO_AWAY and RECONNECT_ICE_SERVER; if not, the connection is closed with 1001
    /// instead.
    pub notices: bool,
    /// Client program, which may limit the length of frames and messages.
    pub program: Program,
    /// Index of the connection's message limits.
    pub bounds: BoundsPlace,
    /// When the connection reaches its maximum age.
    pub ends: Now,
}

/// State of one open WebSocket.
#[derive(Debug)]
pub(crate) struct WebSocket {
    /// Assembles received bytes into messages.
    pub receiver: Receiver,
    /// Channel of the connection.
    pub channel: ChannelKey,
    /// Role in which the connection was admitted.
    pub role: Role,
    /// Caller of a viewer, if the caller has its own share of the channel's viewer limits.
    pub caller: Option<CallerId>,
    /// The caller, if its permission is rechecked; after a recheck has failed, the reason.
    pub held: Held,
    /// Whether a newer connection has superseded this one, which may still send but receives nothing
    /// (codec/PROTOCOL.md, TAKE-2).
    pub superseded: bool,
    /// Token buckets that limit the connection's messages.
    pub rates: MessageRates,
    /// Why the connection is scheduled to be closed next.
    leaves: Leaves,
    /// Statistics, logged when the connection ends.
    pub tally: Tally,
    /// Code of the reason why the connection ended; if there are several causes, the first one. Not part of the tally,
    /// where it would take a word for each connection. The lengths of an oversized message are stored in the receiver.
    reason: Option<NonZeroU8>,
    notices: Notices,
    /// See [`Terms::program`].
    program: Program,
    /// See [`Terms::bounds`].
    bounds: BoundsPlace,
    /// See [`Self::is_forbidden`].
    forbidden: bool,
    /// Number of frames without effect within `idle_second`, a second of the shard's clock. Never 0 again after the
    /// first one.
    idle_frames: u8,
    idle_second: u32,
    /// Time from the first byte of an incomplete message to `last_frame`, in milliseconds; [`NO_MESSAGE`] if no message
    /// is incomplete.
    since_begin: u16,
    times: Times,
}

/// State of the notices GO_AWAY and RECONNECT_ICE_SERVER; see [`Terms::notices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notices {
    Never,
    /// Notices are allowed, and GO_AWAY has not been sent.
    Open,
    /// Notices are allowed, and GO_AWAY has been sent.
    Told,
}

/// Reason for a scheduled close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// The maximum age is reached.
    OfAge,
    /// An operator has recalled the connection so that its client reconnects.
    Recalled,
    /// The connection may no longer be permitted; it is closed unless a permission check allows it before then.
    Asked,
}

/// Timestamps that determine the deadlines of a WebSocket.
#[derive(Debug)]
struct Times {
    /// See [`Terms::ends`].
    ends: Now,
    last_frame: Now,
    /// Time from `last_frame` until a ping was sent that no frame has followed, in milliseconds; [`NO_SPAN`] if there
    /// is none.
    to_ping: u32,
    /// When bytes were last passed to the kernel or a ping was queued. Stores only the low half of the time, which
    /// suffices because pings are at most a day apart.
    last_sent: u32,
}

/// Value of `to_ping` if no ping is unanswered.
const NO_SPAN: u32 = u32::MAX;

/// Value of `since_begin` if no message is incomplete.
const NO_MESSAGE: u16 = u16::MAX;

const _: () = assert!(
    MESSAGE_MS_MAX < NO_MESSAGE as u64,
    "a late message is known as late"
);

impl Times {
    /// When the unanswered ping was sent; `None` if a frame has been received since the last ping.
    fn pinged(&self) -> Option<Now> {
        let span = Some(self.to_ping).filter(|ms| *ms != NO_SPAN)?;
        Some(self.last_frame.after(span.into()))
    }

    /// Low half of a time.
    #[expect(clippy::cast_possible_truncation, reason = "that is what it does")]
    const fn low(now: Now) -> u32 {
        now.0 as u32
    }

    /// When bytes were last sent; can be in the future during a clock jump.
    fn last_sent(&self, now: Now) -> Now {
        let since = self.last_sent.wrapping_sub(Self::low(now)).cast_signed();
        Now(now.0.saturating_add_signed(since.into()))
    }

    /// Converts an interval to 32 bits of milliseconds. Measured intervals are a few minutes; the maximum is 49 days.
    fn span(ms: u64) -> u32 {
        u32::try_from(ms).map_or(NO_SPAN - 1, |ms| ms.min(NO_SPAN - 1))
    }
}

/// The action that is due on an open WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing is due before this time.
    At(Now),
    /// The client has been silent for a while, or nothing has been sent to it: send a ping. Middleboxes may drop a
    /// connection that carries no data in one direction.
    Ping,
    /// The maximum age is near: send GO_AWAY.
    GoAway,
    /// No bytes were received within the idle timeout: close with 1001.
    Idle,
    /// A ping timed out because the client does not read or is gone: close with 1001.
    Unanswered,
    /// The maximum age is reached: close with 1001.
    Old,
    /// A message took too long from its first byte to its last: close with 1008.
    SlowMessage,
}

impl WebSocket {
    /// Creates the state of a connection at its admission.
    #[must_use]
    pub(crate) fn new(channel: ChannelKey, role: Role, terms: AdmissionTerms, now: Now) -> Self {
        Self {
            receiver: Receiver::new(Side::Server),
            channel,
            role,
            caller: None,
            held: Held::Nothing,
            superseded: false,
            rates: MessageRates::default(),
            leaves: Leaves::OfAge,
            tally: Tally::of(now),
            reason: None,
            notices: if terms.notices {
                Notices::Open
            } else {
                Notices::Never
            },
            program: terms.program,
            bounds: terms.bounds,
            forbidden: false,
            idle_frames: 0,
            idle_second: 0,
            since_begin: NO_MESSAGE,
            times: Times {
                ends: terms.ends,
                last_frame: now,
                to_ping: NO_SPAN,
                last_sent: Times::low(now),
            },
        }
    }

    /// Why the connection is ending, if known.
    #[must_use]
    pub(crate) fn reason(&self) -> Option<EndReason> {
        let excess = match self.receiver.error() {
            Some(FrameError::MessageTooBig(excess)) => excess,
            Some(_) | None => Excess::NONE,
        };
        self.reason
            .and_then(|code| EndReason::of_code(code, excess))
    }

    /// Sets the reason why the connection ends, unless a reason is already set.
    pub(crate) fn because(&mut self, reason: EndReason) {
        if self.reason.is_none() {
            self.reason = Some(reason.code());
            if let EndReason::ProtocolError(error) = reason {
                self.receiver = Receiver::failed(Side::Server, error);
            }
        }
    }

    /// Client program.
    #[inline]
    #[must_use]
    pub(crate) fn program(&self) -> Program {
        self.program
    }

    /// Index of the connection's message limits.
    #[inline]
    #[must_use]
    pub(crate) fn bounds(&self) -> BoundsPlace {
        self.bounds
    }

    /// Whether the last permission check found that the caller may no longer connect.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.forbidden
    }

    /// Records the result of a permission check.
    pub(crate) fn was_asked(&mut self, forbidden: bool) {
        self.forbidden = forbidden;
    }

    /// Time of admission.
    #[must_use]
    pub(crate) fn opened(&self) -> Now {
        self.tally.opened
    }

    /// Whether the client has sent a message.
    #[must_use]
    pub(crate) fn spoke(&self) -> bool {
        self.tally.messages_in > 0
    }

    /// Whether the client has sent a frame, even one that violated the protocol.
    #[must_use]
    pub(crate) fn was_heard(&self) -> bool {
        use EndReason::{PeerClosed, ProtocolError, Unsupported};
        let ends_it = matches!(
            self.reason(),
            Some(PeerClosed | ProtocolError(_) | Unsupported)
        );
        self.spoke() || self.idle_frames > 0 || ends_it
    }

    /// When the last bytes were received.
    #[must_use]
    pub(crate) fn last_frame(&self) -> Now {
        self.times.last_frame
    }

    /// Whether the connection is a viewer that has not been sent an SDP_ANSWER.
    pub(crate) fn awaits_answer(&self) -> bool {
        self.tally.answered_ms == NOT_YET && self.role != Role::Master
    }

    /// Records an SDP_ANSWER sent to the connection; if it is a viewer's first one, returns the time since admission.
    pub(crate) fn first_answer(&mut self, now: Now) -> Option<u64> {
        self.awaits_answer().then(|| {
            self.tally.answered_ms = self.tally.span(now);
            now.since(self.tally.opened)
        })
    }

    /// Records that bytes were received. `begun` is set if they ended within a message or frame, whose timeout then
    /// runs. Returns whether a deadline may now be earlier: that of the incomplete message, or of the next ping if a
    /// ping was answered.
    pub(crate) fn heard(&mut self, begun: bool, now: Now) -> bool {
        let answered = self.times.to_ping != NO_SPAN;
        let began = self.message_began().unwrap_or(now);
        self.since_begin = if begun {
            u16::try_from(now.since(began)).map_or(NO_MESSAGE - 1, |ms| ms.min(NO_MESSAGE - 1))
        } else {
            NO_MESSAGE
        };
        (self.times.last_frame, self.times.to_ping) = (now, NO_SPAN);
        answered || begun
    }

    /// Prepares for a clock jump to `until`, during which peers are not read. If the maximum age is reached by then,
    /// the connection is not closed beforehand because of earlier silence.
    pub(crate) fn outlive_silence(&mut self, until: Now) {
        let ends = self.times.ends;
        if ends <= until && self.times.last_frame < ends {
            self.heard(self.message_began().is_some(), ends);
            self.sends(ends);
        }
    }

    /// When the first byte of an incomplete message was received.
    fn message_began(&self) -> Option<Now> {
        let ms = Some(self.since_begin).filter(|ms| *ms != NO_MESSAGE)?;
        Some(Now(self.times.last_frame.0.saturating_sub(ms.into())))
    }

    /// Records that bytes or a ping are being passed to the kernel.
    #[inline]
    pub(crate) fn sends(&mut self, now: Now) {
        self.times.last_sent = Times::low(now);
    }

    /// Counts a complete message.
    #[inline]
    pub(crate) fn message_came(&mut self) {
        self.message_ended();
        self.tally.messages_in = self.tally.messages_in.saturating_add(1);
    }

    /// Records the end of a message, or of a frame outside a message; the next message's timeout starts at its first
    /// byte.
    pub(crate) fn message_ended(&mut self) {
        self.since_begin = NO_MESSAGE;
    }

    /// Counts a frame without effect; returns `false` if there have been too many within one second.
    pub(crate) fn count_idle_frame(&mut self, now: Now) -> bool {
        let second = u32::try_from(now.0 / 1000).unwrap_or(u32::MAX);
        if self.idle_second != second {
            (self.idle_second, self.idle_frames) = (second, 0);
        }
        self.idle_frames = self.idle_frames.saturating_add(1);
        self.idle_frames <= IDLE_FRAMES_PER_SECOND_MAX
    }

    /// Records that a ping was sent. Also called to restart the timeout of a ping whose pong could not be read yet.
    pub(crate) fn pinged(&mut self, now: Now) {
        self.times.to_ping = Times::span(now.since(self.times.last_frame));
    }

    /// Records a pong that confirms messages, which shows that the client is alive. Returns whether a ping was
    /// unanswered, in which case the next deadline may be earlier.
    pub(crate) fn answers(&mut self) -> bool {
        self.idle_frames = self.idle_frames.max(1);
        std::mem::replace(&mut self.times.to_ping, NO_SPAN) != NO_SPAN
    }

    /// When the unanswered ping was sent; `None` if a frame has been received since the last ping.
    #[must_use]
    pub(crate) fn pinged_at(&self) -> Option<Now> {
        self.times.pinged()
    }

    /// Whether no frame has been received since a ping was sent.
    #[must_use]
    pub(crate) fn awaits_pong(&self) -> bool {
        self.times.pinged().is_some()
    }

    /// Records that GO_AWAY is being sent; returns `false` if it has already been sent or is not allowed.
    pub(crate) fn tell_to_go(&mut self) -> bool {
        let open = self.notices == Notices::Open;
        if open {
            self.notices = Notices::Told;
        }
        open
    }

    /// Whether the client may receive RECONNECT_ICE_SERVER.
    #[must_use]
    pub(crate) fn takes_notices(&self) -> bool {
        self.notices != Notices::Never
    }

    /// Schedules the connection to be closed at `at` so that its client reconnects. An earlier scheduled close takes
    /// precedence.
    pub(crate) fn recall(&mut self, at: Now) {
        if at < self.times.ends {
            (self.times.ends, self.leaves) = (at, Leaves::Recalled);
        }
    }

    /// Schedules the connection to be closed at `at` unless a permission check approves it first. An earlier scheduled
    /// close takes precedence.
    pub(crate) fn ask_by(&mut self, at: Now) {
        if at < self.times.ends {
            (self.times.ends, self.leaves) = (at, Leaves::Asked);
        }
    }

    /// Whether the connection will be closed unless a permission check approves it.
    pub(crate) fn is_asked(&self) -> bool {
        self.leaves == Leaves::Asked
    }

    /// Records that a permission check approved the connection, which may stay open until `ends`, its maximum age.
    pub(crate) fn may_stay(&mut self, ends: Now) {
        (self.times.ends, self.leaves) = (ends, Leaves::OfAge);
    }

    /// Reason for the scheduled close.
    #[must_use]
    pub(crate) fn end(&self) -> EndReason {
        match self.leaves {
            Leaves::OfAge => EndReason::Age,
            Leaves::Recalled => EndReason::IceReconnect,
            Leaves::Asked => EndReason::Forbidden,
        }
    }

    /// Whether the shard was not running when the pong was due, in which case the pong may be unread in the socket.
    #[must_use]
    pub(crate) fn stood_still(&self, timeouts: &Timeouts, now: Now) -> bool {
        let due = self.pong(timeouts);
        due.is_some_and(|due| now.since(due) > STALL_MS)
    }

    /// Deadline of the awaited pong, if any.
    fn pong(&self, timeouts: &Timeouts) -> Option<Now> {
        let waits = !self.superseded && timeouts.ping_ms > 0 && timeouts.pong_ms > 0;
        let pinged = self.times.pinged().filter(|_| waits)?;
        Some(whole_second(pinged.after(timeouts.pong_ms)))
    }

    /// Returns the most urgent action that is due at `now`. Superseded connections receive neither pings nor GO_AWAY.
    ///
    /// Actions that depend only on silence are aligned to whole seconds, so that one turn handles all clients that are
    /// due within the same second.
    #[must_use]
    pub(crate) fn due(&self, timeouts: &Timeouts, now: Now) -> Due {
        let age = Some(self.times.ends).filter(|ends| *ends != NEVER);
        let idle = whole_second(self.times.last_frame.after(timeouts.idle_ms));
        let notice = self.notices == Notices::Open && !self.superseded && !self.is_asked();
        let told = age.filter(|_| notice).map(|end| {
            let grace = timeouts.go_away_grace_ms;
            Now(end.0.saturating_sub(grace)).max(self.tally.opened)
        });
        let pings = timeouts.ping_ms > 0 && !self.superseded;
        let ping = pings.then(|| {
            let sent = self.times.last_sent(now);
            let quiet = if self.awaits_pong() {
                sent
            } else {
                sent.min(self.times.last_frame)
            };
            whole_second(quiet.after(timeouts.ping_ms))
        });
        let pong = self.pong(timeouts);
        let slow = self.message_began();
        let slow = slow.map(|began| began.after(MESSAGE_MS_MAX));
        let dues = [
            (age, Due::Old),
            (Some(idle), Due::Idle),
            (pong, Due::Unanswered),
            (slow, Due::SlowMessage),
            (told, Due::GoAway),
            (ping, Due::Ping),
        ];
        let due = dues.iter().find(|(at, _)| at.is_some_and(|at| at <= now));
        let next = || dues.iter().filter_map(|(at, _)| *at).min().unwrap_or(idle);
        due.map_or_else(|| Due::At(next()), |&(_, due)| due)
    }
}

/// Rounds a time up to a whole second of the shard's clock.
fn whole_second(at: Now) -> Now {
    Now(at.0.div_ceil(1000).saturating_mul(1000))
}

/// Caller of an open connection, or the reason why the caller is no longer permitted. Takes 16 bytes.
#[derive(Debug)]
pub(crate) enum Held {
    /// Neither a caller nor a reason; the connection is never rechecked.
    Nothing,
    /// The caller, whose permission is rechecked.
    Caller(HeldCaller),
    /// Why the caller is no longer permitted.
    Refused(Box<Refused>),
}

/// Policy and statement that forbid a connection, or the key, role, policy or sign-in that no longer exists.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Box<str>);

impl Held {
    /// Returns the caller, if the connection has one that is rechecked.
    #[must_use]
    pub(crate) const fn caller(&self) -> Option<&HeldCaller> {
        match self {
            Self::Caller(caller) => Some(caller),
            Self::Nothing | Self::Refused(_) => None,
        }
    }

    /// Takes the reason why the caller is no longer permitted.
    pub(crate) fn take_refused(&mut self) -> Option<Box<str>> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Refused(refused) => Some(refused.0),
            Self::Nothing | Self::Caller(_) => None,
        }
    }
}

const _: () = assert!(size_of::<Held>() == 16);

// Rates of one connection's messages. Source: KVS WebRTC service quotas, "SendSdpOffer", "SendSdpAnswer",
// "SendIceCandidate".

/// Token buckets of one connection, allocated when it sends its first message, so that a silent connection has none.
#[derive(Debug, Default)]
pub(crate) struct MessageRates(Option<Box<Buckets>>);

#[derive(Debug, Default)]
struct Buckets {
    offer: Bucket,
    answer: Bucket,
    candidate: Bucket,
}

impl MessageRates {
    /// Takes a token for one message; returns `false` if none is available.
    pub(crate) fn take(&mut self, action: Action, quotas: &Quotas, now: Now) -> bool {
        if quotas.off {
            return true;
        }
        let buckets = self.0.get_or_insert_default();
        match action {
            Action::SdpOffer => buckets.offer.take(quotas.sdp, now),
            Action::SdpAnswer => buckets.answer.take(quotas.sdp, now),
            Action::IceCandidate => buckets.candidate.take(quotas.ice, now),
        }
    }
}

#[cfg(test)]
mod rates_tests {
    use super::*;
    use crate::settings::{Profile, Settings};

    #[test]
    fn each_action_has_its_own_bucket() {
        let quotas = Settings::default().quotas;
        let mut rates = MessageRates::default();
        let mut taken = |action| {
            (0..1000)
                .filter(|_| rates.take(action, &quotas, Now(9)))
                .count()
        };
        assert_eq!(taken(Action::SdpOffer), 25);
        assert_eq!(taken(Action::SdpAnswer), 25);
        assert_eq!(taken(Action::IceCandidate), 100);
    }

    #[test]
    fn without_quotas_nothing_is_counted() {
        let quotas = Settings::new(Profile::Default, true).quotas;
        let mut rates = MessageRates::default();
        assert!((0..1000).all(|_| rates.take(Action::SdpOffer, &quotas, Now(9))));
        assert!(rates.0.is_none());
    }
}

#[cfg(test)]
mod tests;
