//! An open WebSocket: frames, role, caller, rate limits, and the next deadline.

use crate::id::{CallerId, ChannelKey};
use crate::limits::{IDLE_FRAMES_PER_SECOND_MAX, MESSAGE_MS_MAX, STALL_MS};
use crate::settings::{Program, Quotas, Timeouts};
use crate::{auth::HeldCaller, journal::EndReason, quota::Bucket, session::NEVER, time::Now};
use codec::signal::Action;
use codec::ws::{Excess, FrameError, Receiver, Side};
use std::num::NonZeroU8;
use std::rc::Rc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Master,
    Viewer(Rc<str>),
}

impl Role {
    #[must_use]
    pub(crate) fn client_id(&self) -> Option<&str> {
        match self {
            Self::Master => None,
            Self::Viewer(id) => Some(id),
        }
    }

    #[must_use]
    pub(crate) fn on_wire(&self) -> codec::signal::Role {
        match self {
            Self::Master => codec::signal::Role::Master,
            Self::Viewer(_) => codec::signal::Role::Viewer,
        }
    }
}

/// Returns the client id of the viewer that sent or receives a message for `role`. In a frame for a master, the
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

/// Statistics of a connection for the log, from admission until the descriptor is free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub opened: Now,
    /// Received messages, including refused ones; saturates.
    pub messages_in: u32,
    /// Messages delivered completely; saturates.
    pub messages_out: u32,
    /// Times from a viewer's admission to its first offer and first answer, in milliseconds, saturating; [`NOT_YET`]
    /// until then.
    offered_ms: u32,
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

    /// Records an accepted offer of a viewer; returns `true` for the first one.
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

/// Index of a connection's message limits in its shard's list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoundsPlace(pub(crate) u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdmissionTerms {
    /// Whether the client may receive GO_AWAY and RECONNECT_ICE_SERVER; otherwise, the connection is closed with 1001.
    pub notices: bool,
    /// Client program, which may limit the length of frames and messages.
    pub program: Program,
    pub bounds: BoundsPlace,
    pub ends: Now,
}

#[derive(Debug)]
pub(crate) struct WebSocket {
    pub receiver: Receiver,
    pub channel: ChannelKey,
    pub role: Role,
    /// Caller of a viewer, if it has its own share of the channel's viewer limits.
    pub caller: Option<CallerId>,
    /// Caller that is rechecked; after a failed recheck, the reason.
    pub held: Held,
    /// Whether a newer connection has superseded this one, which may send but receives nothing (codec/PROTOCOL.md,
    /// TAKE-2).
    pub superseded: bool,
    pub rates: MessageRates,
    leaves: Leaves,
    pub tally: Tally,
    /// Code of why the connection ended; the first of several causes. Stored outside the tally, where it would take a
    /// word per connection. The receiver contains the lengths of an oversized message.
    reason: Option<NonZeroU8>,
    notices: Notices,
    program: Program,
    bounds: BoundsPlace,
    forbidden: bool,
    /// Frames without effect in `idle_second`, a second of the shard's clock. Never 0 after the first frame.
    idle_frames: u8,
    idle_second: u32,
    /// Time from an incomplete message's first byte to `last_frame`, in milliseconds; otherwise [`NO_MESSAGE`].
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
    /// An operator recalled the connection so that its client reconnects.
    Recalled,
    /// The caller's permission is in doubt: the connection is closed unless a check confirms it first.
    Asked,
}

/// Timestamps from which the deadlines of a WebSocket are computed.
#[derive(Debug)]
struct Times {
    /// When the connection reaches its maximum age.
    ends: Now,
    last_frame: Now,
    /// Time in milliseconds from `last_frame` to a ping that no frame has followed; otherwise [`NO_SPAN`].
    to_ping: u32,
    /// When bytes were last passed to the kernel or a ping was queued: the low half of the time, which suffices because
    /// pings are at most a day apart.
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

    /// When bytes were last sent; in the future during a clock jump.
    fn last_sent(&self, now: Now) -> Now {
        let since = self.last_sent.wrapping_sub(Self::low(now)).cast_signed();
        Now(now.0.saturating_add_signed(since.into()))
    }

    /// Converts an interval to 32 bits of milliseconds, at most 49 days. Measured intervals are a few minutes.
    fn span(ms: u64) -> u32 {
        u32::try_from(ms).map_or(NO_SPAN - 1, |ms| ms.min(NO_SPAN - 1))
    }
}

/// Action due on an open WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing before this time.
    At(Now),
    /// Send a ping: the client has been silent for a while, or nothing was sent to it. Middleboxes may drop a
    /// connection that is silent in one direction.
    Ping,
    /// Send GO_AWAY: the maximum age is near.
    GoAway,
    /// Close with 1001: the idle timeout expired without a received byte.
    Idle,
    /// Close with 1001: a ping timed out, because the client does not read or is gone.
    Unanswered,
    /// Close with 1001: the maximum age is reached.
    Old,
    /// Close with 1008: a message took too long to arrive.
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

    /// Whether the last permission check refused the caller.
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

    #[must_use]
    pub(crate) fn last_frame(&self) -> Now {
        self.times.last_frame
    }

    /// Whether the connection is a viewer that has not received an SDP_ANSWER.
    pub(crate) fn awaits_answer(&self) -> bool {
        self.tally.answered_ms == NOT_YET && self.role != Role::Master
    }

    /// Records an SDP_ANSWER to the connection; returns the time since admission for a viewer's first one.
    pub(crate) fn first_answer(&mut self, now: Now) -> Option<u64> {
        self.awaits_answer().then(|| {
            self.tally.answered_ms = self.tally.span(now);
            now.since(self.tally.opened)
        })
    }

    /// Records received bytes. If `begun`, they end within a message or frame, whose timeout then runs. Returns whether
    /// a deadline may have become earlier: that of the incomplete message, or of the next ping after an answered one.
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

    /// Prepares for a clock jump to `until`, during which nothing is read from peers. A connection that reaches its
    /// maximum age by then is not closed for earlier silence.
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

    /// Records that bytes or a ping are passed to the kernel.
    #[inline]
    pub(crate) fn sends(&mut self, now: Now) {
        self.times.last_sent = Times::low(now);
    }

    #[inline]
    pub(crate) fn message_came(&mut self) {
        self.message_ended();
        self.tally.messages_in = self.tally.messages_in.saturating_add(1);
    }

    /// Records the end of a message, or of a frame outside a message. The next message's timeout starts at its first
    /// byte.
    pub(crate) fn message_ended(&mut self) {
        self.since_begin = NO_MESSAGE;
    }

    /// Counts a frame without effect; returns `false` after too many in one second.
    pub(crate) fn count_idle_frame(&mut self, now: Now) -> bool {
        let second = u32::try_from(now.0 / 1000).unwrap_or(u32::MAX);
        if self.idle_second != second {
            (self.idle_second, self.idle_frames) = (second, 0);
        }
        self.idle_frames = self.idle_frames.saturating_add(1);
        self.idle_frames <= IDLE_FRAMES_PER_SECOND_MAX
    }

    /// Records that a ping was sent, or restarts the timeout of a ping whose pong could not be read yet.
    pub(crate) fn pinged(&mut self, now: Now) {
        self.times.to_ping = Times::span(now.since(self.times.last_frame));
    }

    /// Records a pong that confirms messages, which shows that the client is alive. Returns whether a ping was
    /// unanswered; the next deadline may then be earlier.
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

    /// Records that GO_AWAY is sent; returns `false` if it was sent before or is not allowed.
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

    /// Schedules a close at `at` so that the client reconnects. An earlier scheduled close takes precedence.
    pub(crate) fn recall(&mut self, at: Now) {
        if at < self.times.ends {
            (self.times.ends, self.leaves) = (at, Leaves::Recalled);
        }
    }

    /// Schedules a close at `at` unless a permission check approves the connection first. An earlier scheduled close
    /// takes precedence.
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

    /// Whether the shard was not running when the pong was due, so that the pong may be unread in the socket.
    #[must_use]
    pub(crate) fn stood_still(&self, timeouts: &Timeouts, now: Now) -> bool {
        let due = self.pong(timeouts);
        due.is_some_and(|due| now.since(due) > STALL_MS)
    }

    /// Deadline of the awaited pong.
    fn pong(&self, timeouts: &Timeouts) -> Option<Now> {
        let waits = !self.superseded && timeouts.ping_ms > 0 && timeouts.pong_ms > 0;
        let pinged = self.times.pinged().filter(|_| waits)?;
        Some(whole_second(pinged.after(timeouts.pong_ms)))
    }

    /// Returns the most urgent action at `now`. Superseded connections receive neither pings nor GO_AWAY.
    ///
    /// Actions that depend only on silence are aligned to whole seconds, so that one turn handles all clients of a
    /// second.
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

/// Caller of an open connection, or why it lost its permission. Takes 16 bytes.
#[derive(Debug)]
pub(crate) enum Held {
    /// Neither a caller nor a reason: the connection is never rechecked.
    Nothing,
    Caller(HeldCaller),
    /// Why the caller lost its permission.
    Refused(Box<Refused>),
}

/// Policy and statement that forbid a connection, or the removed key, role, policy or sign-in.
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

// Rates of one connection's messages. Source: KVS WebRTC service quotas, "SendSdpOffer", "SendSdpAnswer",
// "SendIceCandidate".

/// Token buckets of one connection, allocated with its first message, so that a silent connection has none.
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
