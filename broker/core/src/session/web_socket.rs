//! An open WebSocket: its frames, role, caller and rate limits, and its next deadline.

pub(crate) use crate::id::Role;
use crate::id::{CallerId, ChannelKey};
use crate::limits::{IDLE_FRAMES_PER_SECOND_MAX, MESSAGE_MS_MAX, STALL_MS};
use crate::settings::{Program, Quotas, Timeouts};
use crate::{auth::HeldCaller, journal::EndReason, quota::Bucket, session::NEVER, time::Now};
use codec::signal::Action;
use codec::ws::{Excess, FrameError, Receiver, Side};
use std::num::NonZeroU8;

/// Returns the client id of the viewer that sends or receives a message on a connection with `role`. A frame for a
/// master ends with the sender's id, a closing quote and a closing brace.
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

/// A connection's statistics for the log. They cover the time from its admission until its descriptor is free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub opened: Now,
    /// Number of messages received, including refused ones. Saturates.
    pub messages_in: u32,
    /// Number of messages delivered completely. Saturates.
    pub messages_out: u32,
    /// Time from a viewer's admission to its first offer, in milliseconds; [`NOT_YET`] until then. Saturates.
    offered_ms: u32,
    /// Time from a viewer's admission to its first answer, in the same form as `offered_ms`.
    answered_ms: u32,
}

const NOT_YET: u32 = u32::MAX;

impl Tally {
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

    /// Records that an offer from the viewer has been accepted. Returns `true` for the first offer.
    pub(crate) fn offered(&mut self, now: Now) -> bool {
        let first = self.offered_ms == NOT_YET;
        if first {
            self.offered_ms = self.span(now);
        }
        first
    }

    #[must_use]
    pub(crate) fn offered_ms(&self) -> Option<u32> {
        Some(self.offered_ms).filter(|ms| *ms != NOT_YET)
    }

    #[must_use]
    pub(crate) fn answered_ms(&self) -> Option<u32> {
        Some(self.answered_ms).filter(|ms| *ms != NOT_YET)
    }
}

/// The index of a connection's message limits in its shard's list of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoundsPlace(pub(crate) u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdmissionTerms {
    /// Whether the client may be sent GO_AWAY and RECONNECT_ICE_SERVER. If not, the connection is closed with 1001
    /// instead.
    pub notices: bool,
    /// The client program, which may limit the length of frames and messages.
    pub program: Program,
    pub bounds: BoundsPlace,
    pub ends: Now,
}

#[derive(Debug)]
pub(crate) struct WebSocket {
    pub receiver: Receiver,
    pub channel: ChannelKey,
    pub role: Role,
    /// The viewer's caller; `None` if the channel's per-caller limits do not apply to it.
    pub caller: Option<CallerId>,
    /// The caller whose permission is rechecked or, after a failed recheck, the reason for the failure.
    pub held: Held,
    /// Whether a newer connection has superseded this one. A superseded connection may send but receives nothing
    /// (codec/PROTOCOL.md, TAKE-2).
    pub superseded: bool,
    pub rates: MessageRates,
    leaves: Leaves,
    pub tally: Tally,
    /// Code of the reason why the connection ended. If there are several causes, the first one is kept. Stored here
    /// because a field in the tally would take a word per connection. The lengths of an oversized message are stored in
    /// the receiver.
    reason: Option<NonZeroU8>,
    notices: Notices,
    program: Program,
    bounds: BoundsPlace,
    forbidden: bool,
    /// Number of frames without effect in `idle_second`, a second of the shard's clock. Never 0 after the first one.
    idle_frames: u8,
    idle_second: u32,
    /// Milliseconds from the first byte of an incomplete message to `last_frame`; [`NO_MESSAGE`] if there is none.
    since_begin: u16,
    times: Times,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notices {
    Never,
    /// GO_AWAY has not been sent.
    Open,
    /// GO_AWAY has been sent.
    Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    OfAge,
    /// An operator has recalled the connection so that its client reconnects.
    Recalled,
    /// The caller may have lost its permission. The connection is closed unless a check confirms the permission first.
    Asked,
}

/// The timestamps from which the deadlines of a WebSocket are computed.
#[derive(Debug)]
struct Times {
    /// When the connection reaches its maximum age.
    ends: Now,
    last_frame: Now,
    /// Time from `last_frame` to the ping that followed it, in milliseconds; [`NO_SPAN`] if no ping is unanswered.
    to_ping: u32,
    /// When bytes were last passed to the kernel or a ping was queued. Only the low 32 bits of the time are stored,
    /// which is enough because pings are at most a day apart.
    last_sent: u32,
}

const NO_SPAN: u32 = u32::MAX;

const NO_MESSAGE: u16 = u16::MAX;

const _: () = assert!(
    MESSAGE_MS_MAX < NO_MESSAGE as u64,
    "a late message is known as late"
);

impl Times {
    fn pinged(&self) -> Option<Now> {
        let span = Some(self.to_ping).filter(|ms| *ms != NO_SPAN)?;
        Some(self.last_frame.after(span.into()))
    }

    #[expect(clippy::cast_possible_truncation, reason = "that is what it does")]
    const fn low(now: Now) -> u32 {
        now.0 as u32
    }

    /// Returns when bytes were last sent. The result may be in the future during a simulated clock jump.
    fn last_sent(&self, now: Now) -> Now {
        let since = self.last_sent.wrapping_sub(Self::low(now)).cast_signed();
        Now(now.0.saturating_add_signed(since.into()))
    }

    /// Converts an interval to 32-bit milliseconds, which cover 49 days. Actual intervals are a few minutes long.
    fn span(ms: u64) -> u32 {
        u32::try_from(ms).map_or(NO_SPAN - 1, |ms| ms.min(NO_SPAN - 1))
    }
}

/// The action that is due on an open WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing is due before this time.
    At(Now),
    /// Send a ping, because the connection has been silent in one direction for a while, and middleboxes may drop such
    /// a connection.
    Ping,
    /// Send GO_AWAY, because the connection will soon reach its maximum age.
    GoAway,
    /// No byte was received within the idle timeout. Close with 1001.
    Idle,
    /// A ping was not answered in time, because the client does not read or is gone. Close with 1001.
    Unanswered,
    /// The connection has reached its maximum age. Close with 1001.
    Old,
    /// A message took too long to arrive. Close with 1008.
    SlowMessage,
}

impl WebSocket {
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

    #[must_use]
    pub(crate) fn reason(&self) -> Option<EndReason> {
        let excess = match self.receiver.error() {
            Some(FrameError::MessageTooBig(excess)) => excess,
            Some(_) | None => Excess::NONE,
        };
        self.reason
            .and_then(|code| EndReason::of_code(code, excess))
    }

    pub(crate) fn because(&mut self, reason: EndReason) {
        if self.reason.is_none() {
            self.reason = Some(reason.code());
            if let EndReason::ProtocolError(error) = reason {
                self.receiver = Receiver::failed(Side::Server, error);
            }
        }
    }

    #[inline]
    #[must_use]
    pub(crate) fn program(&self) -> Program {
        self.program
    }

    #[inline]
    #[must_use]
    pub(crate) fn bounds(&self) -> BoundsPlace {
        self.bounds
    }

    /// Returns `true` if the caller failed its last permission check.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.forbidden
    }

    pub(crate) fn was_asked(&mut self, forbidden: bool) {
        self.forbidden = forbidden;
    }

    #[must_use]
    pub(crate) fn opened(&self) -> Now {
        self.tally.opened
    }

    #[must_use]
    pub(crate) fn spoke(&self) -> bool {
        self.tally.messages_in > 0
    }

    /// Returns `true` if the client has sent at least one frame, even one that violated the protocol.
    #[must_use]
    pub(crate) fn was_heard(&self) -> bool {
        use EndReason::{PeerClosed, ProtocolError, Unsupported};
        let ends_it = matches!(
            self.reason(),
            Some(PeerClosed | ProtocolError(_) | Unsupported)
        );
        self.spoke() || self.idle_frames > 0 || ends_it
    }

    #[must_use]
    pub(crate) fn last_frame(&self) -> Now {
        self.times.last_frame
    }

    /// Returns `true` if this is a viewer that has not received an SDP_ANSWER yet.
    pub(crate) fn awaits_answer(&self) -> bool {
        self.tally.answered_ms == NOT_YET && self.role != Role::Master
    }

    /// Records that an SDP_ANSWER was sent on the connection. If it is a viewer's first answer, returns the time since
    /// the viewer's admission, in milliseconds.
    pub(crate) fn first_answer(&mut self, now: Now) -> Option<u64> {
        self.awaits_answer().then(|| {
            self.tally.answered_ms = self.tally.span(now);
            now.since(self.tally.opened)
        })
    }

    /// Records that bytes were received. If `begun` is set, they end within a message or frame, and that message's
    /// timeout is running. Returns `true` if the next deadline may now be earlier, because a message has started, or
    /// because a ping has been answered and the next one is due.
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

    /// Prepares for a simulated jump of the clock to `until`. Nothing is read from peers during the jump, so a
    /// connection that reaches its maximum age by then must not be closed for inactivity before then.
    pub(crate) fn outlive_silence(&mut self, until: Now) {
        let ends = self.times.ends;
        if ends <= until && self.times.last_frame < ends {
            self.heard(self.message_began().is_some(), ends);
            self.sends(ends);
        }
    }

    /// Returns when the first byte of an incomplete message was received.
    fn message_began(&self) -> Option<Now> {
        let ms = Some(self.since_begin).filter(|ms| *ms != NO_MESSAGE)?;
        Some(Now(self.times.last_frame.0.saturating_sub(ms.into())))
    }

    /// Records that bytes or a ping are being passed to the kernel.
    #[inline]
    pub(crate) fn sends(&mut self, now: Now) {
        self.times.last_sent = Times::low(now);
    }

    #[inline]
    pub(crate) fn message_came(&mut self) {
        self.message_ended();
        self.tally.messages_in = self.tally.messages_in.saturating_add(1);
    }

    /// Records that a message, or a frame outside a message, is complete. The next message's timeout starts with its
    /// first byte.
    pub(crate) fn message_ended(&mut self) {
        self.since_begin = NO_MESSAGE;
    }

    /// Counts a frame without effect. Returns `false` if there have been too many in one second.
    pub(crate) fn count_idle_frame(&mut self, now: Now) -> bool {
        let second = u32::try_from(now.0 / 1000).unwrap_or(u32::MAX);
        if self.idle_second != second {
            (self.idle_second, self.idle_frames) = (second, 0);
        }
        self.idle_frames = self.idle_frames.saturating_add(1);
        self.idle_frames <= IDLE_FRAMES_PER_SECOND_MAX
    }

    /// Records that a ping was sent. Also restarts the timeout of a ping whose pong could not have been read yet.
    pub(crate) fn pinged(&mut self, now: Now) {
        self.times.to_ping = Times::span(now.since(self.times.last_frame));
    }

    /// Records a pong that confirms messages, which also shows that the client is alive. Returns `true` if a ping was
    /// unanswered until now, in which case the next deadline may be earlier.
    pub(crate) fn answers(&mut self) -> bool {
        self.idle_frames = self.idle_frames.max(1);
        std::mem::replace(&mut self.times.to_ping, NO_SPAN) != NO_SPAN
    }

    #[must_use]
    pub(crate) fn pinged_at(&self) -> Option<Now> {
        self.times.pinged()
    }

    #[must_use]
    pub(crate) fn awaits_pong(&self) -> bool {
        self.times.pinged().is_some()
    }

    /// Records that GO_AWAY is being sent. Returns `false` if it has already been sent or must not be sent.
    pub(crate) fn tell_to_go(&mut self) -> bool {
        let open = self.notices == Notices::Open;
        if open {
            self.notices = Notices::Told;
        }
        open
    }

    /// Returns `true` if the client may receive RECONNECT_ICE_SERVER.
    #[must_use]
    pub(crate) fn takes_notices(&self) -> bool {
        self.notices != Notices::Never
    }

    /// Schedules the connection to be closed at `at`, so that its client reconnects. Does nothing if the connection is
    /// already scheduled to be closed earlier.
    pub(crate) fn recall(&mut self, at: Now) {
        if at < self.times.ends {
            (self.times.ends, self.leaves) = (at, Leaves::Recalled);
        }
    }

    /// Schedules the connection to be closed at `at`, unless a permission check approves it first. Does nothing if the
    /// connection is already scheduled to be closed earlier.
    pub(crate) fn ask_by(&mut self, at: Now) {
        if at < self.times.ends {
            (self.times.ends, self.leaves) = (at, Leaves::Asked);
        }
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.leaves == Leaves::Asked
    }

    pub(crate) fn may_stay(&mut self, ends: Now) {
        (self.times.ends, self.leaves) = (ends, Leaves::OfAge);
    }

    #[must_use]
    pub(crate) fn end(&self) -> EndReason {
        match self.leaves {
            Leaves::OfAge => EndReason::Age,
            Leaves::Recalled => EndReason::IceReconnect,
            Leaves::Asked => EndReason::Forbidden,
        }
    }

    /// Returns `true` if the shard was not running when the pong was due. The pong may then still be in the socket,
    /// unread.
    #[must_use]
    pub(crate) fn stood_still(&self, timeouts: &Timeouts, now: Now) -> bool {
        let due = self.pong(timeouts);
        due.is_some_and(|due| now.since(due) > STALL_MS)
    }

    /// Returns when the awaited pong is due.
    fn pong(&self, timeouts: &Timeouts) -> Option<Now> {
        let waits = !self.superseded && timeouts.ping_ms > 0 && timeouts.pong_ms > 0;
        let pinged = self.times.pinged().filter(|_| waits)?;
        Some(whole_second(pinged.after(timeouts.pong_ms)))
    }

    /// Returns the most urgent action that is due at `now`. Superseded connections receive neither pings nor GO_AWAY.
    ///
    /// Deadlines that depend only on silence are rounded up to whole seconds, so that the shard handles all clients
    /// that are due in the same second in a single turn.
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

/// The caller of an open connection, or the reason why the caller has lost its permission. Takes 16 bytes.
#[derive(Debug)]
pub(crate) enum Held {
    /// The connection has no caller, or the reason for its end has already been taken out. Such a connection is not
    /// rechecked.
    Nothing,
    Caller(HeldCaller),
    /// The reason why the caller lost its permission.
    Refused(Box<Refused>),
}

/// The policy and the statement that forbid a connection, or the key, role, policy or sign-in that was removed.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Box<str>);

impl Held {
    #[must_use]
    pub(crate) const fn caller(&self) -> Option<&HeldCaller> {
        match self {
            Self::Caller(caller) => Some(caller),
            Self::Nothing | Self::Refused(_) => None,
        }
    }

    pub(crate) fn take_refused(&mut self) -> Option<Box<str>> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Refused(refused) => Some(refused.0),
            Self::Nothing | Self::Caller(_) => None,
        }
    }
}

const _: () = assert!(size_of::<Held>() == 16);

// Limits one connection's message rates. Source: KVS WebRTC service quotas, "SendSdpOffer", "SendSdpAnswer",
// "SendIceCandidate".

/// The token buckets of one connection. Allocated when its first message arrives.
#[derive(Debug, Default)]
pub(crate) struct MessageRates(Option<Box<Buckets>>);

#[derive(Debug, Default)]
struct Buckets {
    offer: Bucket,
    answer: Bucket,
    candidate: Bucket,
}

impl MessageRates {
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
