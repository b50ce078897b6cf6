//! An open WebSocket: its frames, its role, its caller, its rates, and which of its deadlines is next.

use crate::id::{CallerId, ChannelKey};
use crate::limits::{IDLE_FRAMES_PER_SECOND_MAX, MESSAGE_MS_MAX, STALL_MS};
use crate::settings::{Program, Quotas, Timeouts};
use crate::{auth::HeldCaller, journal::EndReason, quota::Bucket, session::NEVER, time::Now};
use codec::signal::Action;
use codec::ws::{Excess, FrameError, Receiver, Side};
use std::num::NonZeroU8;
use std::rc::Rc;

/// The role of a connection on its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The device.
    Master,
    /// A watcher, by its client id.
    Viewer(Rc<str>),
}

impl Role {
    /// A viewer's client id.
    #[must_use]
    pub(crate) fn client_id(&self) -> Option<&str> {
        match self {
            Self::Master => None,
            Self::Viewer(id) => Some(id),
        }
    }

    /// The wire's word for it.
    #[must_use]
    pub(crate) fn on_wire(&self) -> codec::signal::Role {
        match self {
            Self::Master => codec::signal::Role::Master,
            Self::Viewer(_) => codec::signal::Role::Viewer,
        }
    }
}

/// The log's figures of a connection, written when it ends. Kept from its admission until its descriptor is free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    /// When it was admitted.
    pub opened: Now,
    /// Messages that it sent, refused ones included; stays at its greatest.
    pub messages_in: u32,
    /// Messages that were handed to it whole; stays at its greatest.
    pub messages_out: u32,
    /// From its admission to its first offer and to the first answer that was handed to it, if it is a viewer;
    /// [`NOT_YET`] without. In milliseconds, saturating.
    offered_ms: u32,
    answered_ms: u32,
}

/// No span yet.
const NOT_YET: u32 = u32::MAX;

impl Tally {
    /// Of a connection that was just admitted.
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

    /// An offer of a viewer was accepted; true of the first one.
    pub(crate) fn offered(&mut self, now: Now) -> bool {
        let first = self.offered_ms == NOT_YET;
        if first {
            self.offered_ms = self.span(now);
        }
        first
    }

    /// From the admission of a viewer to its first offer.
    #[must_use]
    pub(crate) fn offered_ms(&self) -> Option<u32> {
        Some(self.offered_ms).filter(|ms| *ms != NOT_YET)
    }

    /// From the admission of a viewer to the first answer that was handed to it.
    #[must_use]
    pub(crate) fn answered_ms(&self) -> Option<u32> {
        Some(self.answered_ms).filter(|ms| *ms != NOT_YET)
    }
}

/// The place of the bounds of a connection's messages among those of its shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoundsPlace(pub(crate) u8);

/// The terms that are settled when a connection is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Whether it may get GO_AWAY and RECONNECT_ICE_SERVER. One that may not is closed with 1001 instead.
    pub notices: bool,
    /// Its program, which may read frames and messages of a bounded length alone.
    pub program: Program,
    /// The place of the bounds of its messages.
    pub bounds: BoundsPlace,
    /// When it is closed; never, if connections have no age limit.
    pub ends: Now,
}

/// The state of one open WebSocket.
#[derive(Debug)]
pub(crate) struct WebSocket {
    /// Bytes to messages.
    pub receiver: Receiver,
    /// The channel it belongs to.
    pub channel: ChannelKey,
    /// The role in which it was admitted.
    pub role: Role,
    /// Its caller, if it is a viewer that has a part of its own of what the channel's viewers share.
    pub caller: Option<CallerId>,
    /// Its caller, where that is asked again; why it is refused, once it is.
    pub held: Held,
    /// A newer connection took its place: it may send, but receives nothing (codec/PROTOCOL.md, TAKE-2).
    pub superseded: bool,
    /// The buckets that limit its messages.
    pub rates: MessageRates,
    /// The reason of its nearest end that is known beforehand.
    leaves: Leaves,
    /// The log's figures, written when it ends.
    pub tally: Tally,
    /// The code of why it ends: the first thing that happened. Not in the tally, where it would cost each connection a
    /// word. The lengths of a message that was too big are the receiver's.
    reason: Option<NonZeroU8>,
    notices: Notices,
    /// See [`Terms::program`].
    program: Program,
    /// See [`Terms::bounds`].
    bounds: BoundsPlace,
    /// See [`Self::is_forbidden`].
    forbidden: bool,
    /// Frames without effect that came within `idle_second` of the shard's clock. Never 0 again after the first one.
    idle_frames: u8,
    idle_second: u32,
    /// Milliseconds from the first byte of an unfinished message to the last frame; [`NO_MESSAGE`] if there is none.
    since_begin: u16,
    times: Times,
}

/// Whether it may get GO_AWAY and RECONNECT_ICE_SERVER: see [`Terms::notices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notices {
    Never,
    /// And has not got GO_AWAY.
    Open,
    /// And got GO_AWAY.
    Told,
}

/// The reason of an end that is known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// The limit of its age.
    OfAge,
    /// An operator asked it to come back.
    Recalled,
    /// It may not be open any more, unless it may again by then.
    Asked,
}

/// The moments from which the deadlines of a WebSocket follow.
#[derive(Debug)]
struct Times {
    /// See [`Terms::ends`].
    ends: Now,
    last_frame: Now,
    /// Milliseconds from `last_frame` to a ping that no frame followed; [`NO_SPAN`] if there is none.
    to_ping: u32,
    /// When bytes were last handed to the kernel, or a ping was queued: the low half of the moment, since pings are at
    /// most a day apart.
    last_sent: u32,
}

/// There is nothing that a span would lead to.
const NO_SPAN: u32 = u32::MAX;

/// No message is unfinished.
const NO_MESSAGE: u16 = u16::MAX;

const _: () = assert!(
    MESSAGE_MS_MAX < NO_MESSAGE as u64,
    "a late message is known as late"
);

impl Times {
    /// When a ping was sent that no frame followed.
    fn pinged(&self) -> Option<Now> {
        let span = Some(self.to_ping).filter(|ms| *ms != NO_SPAN)?;
        Some(self.last_frame.after(span.into()))
    }

    /// The low half of a moment.
    #[expect(clippy::cast_possible_truncation, reason = "that is what it does")]
    const fn low(now: Now) -> u32 {
        now.0 as u32
    }

    /// When bytes last went out, which may be a moment that the clock jumps to.
    fn last_sent(&self, now: Now) -> Now {
        let since = self.last_sent.wrapping_sub(Self::low(now)).cast_signed();
        Now(now.0.saturating_add_signed(since.into()))
    }

    /// A span of these milliseconds. All that are measured so are within minutes; 49 days are the most.
    fn span(ms: u64) -> u32 {
        u32::try_from(ms).map_or(NO_SPAN - 1, |ms| ms.min(NO_SPAN - 1))
    }
}

/// The action that is due on an open WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing before this moment.
    At(Now),
    /// For long nothing came from the client, or nothing went to it: ping it. What is between them may end a connection
    /// that either side is silent on.
    Ping,
    /// Its time is nearly over: send GO_AWAY.
    GoAway,
    /// Nothing came for the whole idle limit: close 1001.
    Idle,
    /// A ping was not answered: the client does not read, or is gone. Close 1001.
    Unanswered,
    /// Its time is over: close 1001.
    Old,
    /// A message took too long from its first byte to its last: close 1008.
    SlowMessage,
}

impl WebSocket {
    /// A connection that was just admitted.
    #[must_use]
    pub(crate) fn new(channel: ChannelKey, role: Role, terms: Terms, now: Now) -> Self {
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

    /// Why it ends, if that is known.
    #[must_use]
    pub(crate) fn reason(&self) -> Option<EndReason> {
        let excess = match self.receiver.error() {
            Some(FrameError::MessageTooBig(excess)) => excess,
            Some(_) | None => Excess::NONE,
        };
        self.reason
            .and_then(|code| EndReason::of_code(code, excess))
    }

    /// It ends for this reason, unless it had one before.
    pub(crate) fn because(&mut self, reason: EndReason) {
        if self.reason.is_none() {
            self.reason = Some(reason.code());
            if let EndReason::ProtocolError(error) = reason {
                self.receiver = Receiver::failed(Side::Server, error);
            }
        }
    }

    /// Its program.
    #[inline]
    #[must_use]
    pub(crate) fn program(&self) -> Program {
        self.program
    }

    /// The place of the bounds of its messages.
    #[inline]
    #[must_use]
    pub(crate) fn bounds(&self) -> BoundsPlace {
        self.bounds
    }

    /// Whether its caller may not connect any more, when it was last asked.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.forbidden
    }

    /// Notes what the last question said.
    pub(crate) fn was_asked(&mut self, forbidden: bool) {
        self.forbidden = forbidden;
    }

    /// When it was admitted.
    #[must_use]
    pub(crate) fn opened(&self) -> Now {
        self.tally.opened
    }

    /// Whether it has sent a message.
    #[must_use]
    pub(crate) fn spoke(&self) -> bool {
        self.tally.messages_in > 0
    }

    /// Whether its client has sent a frame, one that broke the protocol included.
    #[must_use]
    pub(crate) fn was_heard(&self) -> bool {
        use EndReason::{PeerClosed, ProtocolError, Unsupported};
        let ends_it = matches!(
            self.reason(),
            Some(PeerClosed | ProtocolError(_) | Unsupported)
        );
        self.spoke() || self.idle_frames > 0 || ends_it
    }

    /// When bytes came last.
    #[must_use]
    pub(crate) fn last_frame(&self) -> Now {
        self.times.last_frame
    }

    /// An SDP_ANSWER was handed to it: how long after its admission, if it is a viewer and this is the first.
    pub(crate) fn first_answer(&mut self, now: Now) -> Option<u64> {
        let first = self.tally.answered_ms == NOT_YET && self.role != Role::Master;
        first.then(|| {
            self.tally.answered_ms = self.tally.span(now);
            now.since(self.tally.opened)
        })
    }

    /// Bytes came. `begun`: whether they ended within a message or frame, whose time then runs. Returns whether a
    /// deadline may be nearer than before: that of what was begun, or the next ping after one that was answered.
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

    /// The clock jumps to `until`, and no peer is read before: if its time is over by then, its silence does not end it
    /// before.
    pub(crate) fn outlive_silence(&mut self, until: Now) {
        let ends = self.times.ends;
        if ends <= until && self.times.last_frame < ends {
            self.heard(self.message_began().is_some(), ends);
            self.sends(ends);
        }
    }

    /// When the first byte of an unfinished message came.
    fn message_began(&self) -> Option<Now> {
        let ms = Some(self.since_begin).filter(|ms| *ms != NO_MESSAGE)?;
        Some(Now(self.times.last_frame.0.saturating_sub(ms.into())))
    }

    /// Bytes of it were handed to the kernel, or a ping is.
    #[inline]
    pub(crate) fn sends(&mut self, now: Now) {
        self.times.last_sent = Times::low(now);
    }

    /// A whole message came.
    #[inline]
    pub(crate) fn message_came(&mut self) {
        self.message_ended();
        self.tally.messages_in = self.tally.messages_in.saturating_add(1);
    }

    /// A whole message, or a frame outside of one, came: the next one's time begins with its own first byte.
    pub(crate) fn message_ended(&mut self) {
        self.since_begin = NO_MESSAGE;
    }

    /// Counts a frame without effect; false when there were too many within one second.
    pub(crate) fn count_idle_frame(&mut self, now: Now) -> bool {
        let second = u32::try_from(now.0 / 1000).unwrap_or(u32::MAX);
        if self.idle_second != second {
            (self.idle_second, self.idle_frames) = (second, 0);
        }
        self.idle_frames = self.idle_frames.saturating_add(1);
        self.idle_frames <= IDLE_FRAMES_PER_SECOND_MAX
    }

    /// A ping went out. Also said of one whose answer could not have been read so far, which has its whole time again.
    pub(crate) fn pinged(&mut self, now: Now) {
        self.times.to_ping = Times::span(now.since(self.times.last_frame));
    }

    /// A pong came. Whether a ping went out that no frame followed: what is due next may be nearer.
    pub(crate) fn answers(&mut self) -> bool {
        std::mem::replace(&mut self.times.to_ping, NO_SPAN) != NO_SPAN
    }

    /// When a ping went out that no frame followed.
    #[must_use]
    pub(crate) fn pinged_at(&self) -> Option<Now> {
        self.times.pinged()
    }

    /// Whether a ping went out that no frame followed.
    #[must_use]
    pub(crate) fn awaits_pong(&self) -> bool {
        self.times.pinged().is_some()
    }

    /// GO_AWAY is to go out; false when it went out before, or may not.
    pub(crate) fn tell_to_go(&mut self) -> bool {
        let open = self.notices == Notices::Open;
        if open {
            self.notices = Notices::Told;
        }
        open
    }

    /// Whether it may get RECONNECT_ICE_SERVER.
    #[must_use]
    pub(crate) fn takes_notices(&self) -> bool {
        self.notices != Notices::Never
    }

    /// It is to be closed by `at`, so that it comes back; a nearer end stays.
    pub(crate) fn recall(&mut self, at: Now) {
        if at < self.times.ends {
            (self.times.ends, self.leaves) = (at, Leaves::Recalled);
        }
    }

    /// It is asked by `at` whether it may still be open; a nearer end stays.
    pub(crate) fn ask_by(&mut self, at: Now) {
        if at < self.times.ends {
            (self.times.ends, self.leaves) = (at, Leaves::Asked);
        }
    }

    /// Whether it is open only until it is asked.
    pub(crate) fn is_asked(&self) -> bool {
        self.leaves == Leaves::Asked
    }

    /// It was asked, and may be open until it reaches the limit of its age.
    pub(crate) fn may_stay(&mut self, ends: Now) {
        (self.times.ends, self.leaves) = (ends, Leaves::OfAge);
    }

    /// Why it ends when its time is over.
    #[must_use]
    pub(crate) fn end(&self) -> EndReason {
        match self.leaves {
            Leaves::OfAge => EndReason::Age,
            Leaves::Recalled => EndReason::IceReconnect,
            Leaves::Asked => EndReason::Forbidden,
        }
    }

    /// Whether the shard itself did not run when the answer to a ping was due, so that it may lie unread in the socket.
    #[must_use]
    pub(crate) fn stood_still(&self, timeouts: &Timeouts, now: Now) -> bool {
        let due = self.pong(timeouts);
        due.is_some_and(|due| now.since(due) > STALL_MS)
    }

    /// By when a ping that was sent must be answered, if it must.
    fn pong(&self, timeouts: &Timeouts) -> Option<Now> {
        let waits = !self.superseded && timeouts.ping_ms > 0 && timeouts.pong_ms > 0;
        let pinged = self.times.pinged().filter(|_| waits)?;
        Some(whole_second(pinged.after(timeouts.pong_ms)))
    }

    /// Returns the action that is due at `now`, the gravest first. Superseded connections are neither pinged nor sent
    /// GO_AWAY.
    ///
    /// Actions that follow from silence alone fall on whole seconds, so that one turn serves all clients of a second.
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

/// The next whole second of the shard's clock, unless it is one.
fn whole_second(at: Now) -> Now {
    Now(at.0.div_ceil(1000).saturating_mul(1000))
}

/// The caller of an open connection, or why it may not be open any more. In 16 bytes.
#[derive(Debug)]
pub(crate) enum Held {
    /// Neither: nobody is asked again.
    Nothing,
    /// Its caller.
    Caller(HeldCaller),
    /// The policy and statement that refuse it, or what is gone.
    Refused(Box<Refused>),
}

/// The policy and statement that refuse a connection, or what is gone.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Box<str>);

impl Held {
    /// The caller.
    #[must_use]
    pub(crate) const fn caller(&self) -> Option<&HeldCaller> {
        match self {
            Self::Caller(caller) => Some(caller),
            Self::Nothing | Self::Refused(_) => None,
        }
    }

    /// Why it may not be open any more.
    pub(crate) fn take_refused(&mut self) -> Option<Box<str>> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Refused(refused) => Some(refused.0),
            Self::Nothing | Self::Caller(_) => None,
        }
    }
}

const _: () = assert!(size_of::<Held>() == 16);

// The rates at which one connection may send. Source: KVS WebRTC service quotas, "SendSdpOffer", "SendSdpAnswer",
// "SendIceCandidate".

/// The buckets of one connection: made by its first message, so that a silent one has none.
#[derive(Debug, Default)]
pub(crate) struct MessageRates(Option<Box<Buckets>>);

#[derive(Debug, Default)]
struct Buckets {
    offer: Bucket,
    answer: Bucket,
    candidate: Bucket,
}

impl MessageRates {
    /// Takes a token for one message; false when there is none.
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
