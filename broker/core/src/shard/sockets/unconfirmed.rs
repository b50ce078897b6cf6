//! Tracks connections with unconfirmed messages: when to query each of them, and how many unconfirmed bytes each has.
//!
//! A connection is added when its first unconfirmed message is written. It is queried a second later, and then every
//! second until all messages are confirmed. If many bytes have been written since the last query, the next one takes
//! place sooner.

use crate::channel::Towards;
use crate::event::Outcome;
use crate::id::{ChannelKey, SessionKey};
use crate::limits::{
    ASK_AFTER_MS, ASK_STEP_MS, GONE_STEADY_MS, GONE_TIMES_MAX, GONE_WINDOW_MS, UNREAD_BYTES_FREE,
};
use crate::machine::Output;
use crate::session::Session;
use crate::session::outbox::{DeliveryMark, Mark, Offers, Outbox, Spares, Unsent};
use crate::session::web_socket::{Role, WebSocket, viewer_of};
use crate::settings::Proof;
use crate::shard::Sockets;
use crate::shard::context::Context;
use crate::shard::flight_recorder::{NotedMessage, Passage};
use crate::shard::todo::Todo;
use crate::time::{Now, take_due};
use codec::signal::Action;
use codec::ws::{self, Opcode};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A shard's connections with unconfirmed messages.
#[derive(Debug, Default)]
pub(crate) struct Unconfirmed {
    /// Connections that have not been queried yet, each with the time at which its first unconfirmed message was
    /// written.
    pub(crate) fresh: VecDeque<(Now, SessionKey)>,
    /// Connections to query again, each with the time of its next query.
    again: BTreeSet<(Now, SessionKey)>,
    /// Masters that were sent a ping, each with the time at which its pong is due.
    pinged: VecDeque<(Now, SessionKey)>,
    /// Bytes of unconfirmed messages.
    pub(crate) bytes: usize,
    pub(crate) doubtful: usize,
    /// Connections that had more than [`UNREAD_BYTES_FREE`] unacknowledged bytes when the kernel was last queried.
    unread: BTreeMap<SessionKey, UnreadBytes>,
    /// Masters that have been reported gone.
    gone: BTreeMap<SessionKey, Gone>,
}

/// Bytes that the kernel still holds for a connection because the peer has not acknowledged them.
#[derive(Clone, Copy, Debug)]
struct UnreadBytes {
    bytes: usize,
    /// The part of `bytes` that does not belong to stored messages. It belongs to responses, to control frames, or to
    /// messages that were abandoned or taken back.
    unproved: usize,
}

/// Records the messages that a connection confirms.
struct ConfirmationNotes<'c> {
    cx: &'c mut Context,
    key: SessionKey,
    member: Option<(ChannelKey, Role)>,
    /// Confirmed offers and the candidates that belong to them, or `None` if they are not being collected.
    offers: Option<Offers>,
}

impl ConfirmationNotes<'_> {
    /// Defers the handling of the confirmed offers. If the connection is no longer doubtful, also defers the report to
    /// watchers.
    fn end(self, ends_doubt: bool) {
        if ends_doubt {
            self.cx.todo.push(Todo::Confirmed(self.key));
        }
        if let (Some((channel, _)), Some(offers)) = (self.member, self.offers)
            && !offers.is_empty()
        {
            let offers = Todo::OffersConfirmed(channel, self.key, offers);
            self.cx.todo.push(offers);
        }
    }

    /// Counts a confirmed message. Collects it if it is a viewer's offer, or a candidate that belongs to an unanswered
    /// offer. Records it in the trace, except for candidates, of which there are too many.
    fn add(&mut self, launch: &DeliveryMark, frame: &[u8]) {
        self.cx.telemetry.count_proved(launch, Outcome::Delivered);
        if !launch.counted {
            return;
        }
        let is_collected = launch.action == Action::SdpOffer || launch.follows;
        let is_viewers = is_collected && launch.from.is_some();
        if let Some(offers) = self.offers.as_mut().filter(|_| is_viewers) {
            offers.push((*launch, ws::whole(frame)));
        }
        let is_noted = launch.action != Action::IceCandidate;
        let Some((channel, role)) = self.member.as_ref().filter(|_| is_noted) else {
            return;
        };
        let (to, action) = (Towards::to(role), Some(launch.action));
        let passed = NotedMessage::new(action, to, Passage::Confirmed, frame.len());
        let viewer = viewer_of(role, frame, launch.sender_bytes);
        let note = self.cx.note(*channel);
        note.went(passed, viewer, Some(self.key));
    }
}

/// A connected master that was reported gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    /// When the master was reported gone, or `None` if it is back.
    since: Option<Now>,
    /// How often the master was reported gone within [`GONE_WINDOW_MS`] of the first time.
    times: u32,
    first: Now,
    /// When the master resumed confirming messages, or `None` if it has not, or is already back.
    confirms: Option<Now>,
}

/// Returns when to query a connection for the first time, given the time `since` at which its first message was
/// written. The result is rounded up so that several connections are queried together.
fn first_ask(since: Now) -> Now {
    let due = since.after(ASK_AFTER_MS);
    Now(due.0.next_multiple_of(ASK_STEP_MS))
}

impl Unconfirmed {
    /// Returns when the next query is due.
    #[inline]
    pub(crate) fn next_due(&self) -> Option<Now> {
        let fresh = self.fresh.front().map(|(since, _)| first_ask(*since));
        let again = self.again.first().map(|(due, _)| *due);
        let pinged = self.pinged.front().map(|(due, _)| *due);
        fresh.into_iter().chain(again).chain(pinged).min()
    }

    /// Returns the number of bytes that the kernel held for a connection at the last query, or 0 if there were too few
    /// to be charged.
    #[inline]
    pub(crate) fn unread_of(&self, key: SessionKey) -> usize {
        let unread = &self.unread;
        if unread.is_empty() {
            return 0; // the usual case
        }
        unread.get(&key).map_or(0, |unread| unread.bytes)
    }

    /// Returns the number of bytes that the kernel holds for a connection and that do not belong to a stored message.
    pub(crate) fn unproved_of(&self, key: SessionKey) -> usize {
        let unread = self.unread.get(&key);
        unread.map_or(0, |unread| unread.unproved)
    }

    /// Returns whether a master is currently considered gone.
    pub(crate) fn is_gone(&self, key: SessionKey) -> bool {
        let gone = self.gone.get(&key);
        gone.is_some_and(|gone| gone.since.is_some())
    }

    /// Records that a master was reported gone. Returns `false` if it was already considered gone.
    pub(crate) fn goes(&mut self, key: SessionKey, now: Now) -> bool {
        let gone = self.gone.entry(key).or_insert(Gone {
            since: None,
            times: 0,
            first: now,
            confirms: None,
        });
        gone.confirms = None;
        if gone.since.is_some() {
            return false;
        }
        if now.since(gone.first) > GONE_WINDOW_MS {
            (gone.times, gone.first) = (0, now);
        }
        (gone.since, gone.times) = (Some(now), gone.times + 1);
        true
    }
}

impl Sockets {
    /// Returns whether messages are confirmed by TCP acknowledgements, as reported by the kernel of this node or of the
    /// node that forwards the client.
    pub(crate) fn proves_by_tcp(&self) -> bool {
        self.settings.signaling.proof == Proof::Tcp
    }

    /// Removes and returns the next connection that is due to be queried by `now`, or else the next master whose pong
    /// was due by then.
    pub(crate) fn next_to_ask(&mut self, now: Now) -> Option<SessionKey> {
        loop {
            let list = &mut self.unconfirmed;
            let fresh = take_due(&mut list.fresh, |(since, _)| first_ask(*since) <= now);
            let due = fresh.or_else(|| {
                let first = list.again.first().filter(|(due, _)| *due <= now)?;
                list.again.take(&first.clone())
            });
            let Some((_, key)) = due else {
                return take_due(&mut list.pinged, |(due, _)| *due <= now).map(|(_, key)| key);
            };
            if let Some(session) = self.sessions.get_mut(key) {
                session.asking.list(false);
                let list = &self.unconfirmed;
                let is_noted = list.gone.contains_key(&key) || list.unread.contains_key(&key);
                if is_noted || session.outbox.unconfirmed_since().is_some() {
                    return Some(key);
                }
            }
        }
    }

    /// Schedules another query about a connection at `due`, unless one is already scheduled.
    pub(crate) fn ask_again(&mut self, key: SessionKey, due: Now) {
        if let Some(session) = self.sessions.get_mut(key)
            && !session.asking.list(true)
        {
            self.unconfirmed.again.insert((due, key));
        }
    }

    /// Makes the edge ask the kernel how many of a connection's bytes are unacknowledged. Returns `false` if the
    /// connection has no unconfirmed messages, or if messages are not confirmed by TCP.
    pub(crate) fn ask_kernel(&mut self, key: SessionKey) -> bool {
        let Some(session) = self.session(key) else {
            return false;
        };
        let asks = session.outbox.unconfirmed_since().is_some() && self.proves_by_tcp();
        if asks {
            self.output(Output::Ask(key));
        }
        asks
    }

    /// Records how many unacknowledged bytes the kernel holds for a connection, and charges the connection for those
    /// that do not belong to stored messages. If there are more than [`UNREAD_BYTES_FREE`], schedules another query.
    pub(crate) fn note_unread(&mut self, key: SessionKey, bytes: u32, now: Now) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.asking.was_asked();
        let bytes = bytes as usize;
        let unproved = bytes.saturating_sub(session.outbox.unconfirmed_bytes());
        let unread = &mut self.unconfirmed.unread;
        if bytes > UNREAD_BYTES_FREE {
            unread.insert(key, UnreadBytes { bytes, unproved });
            self.ask_again(key, now.after(ASK_AFTER_MS));
        } else if unread.remove(&key).is_none() {
            return; // the usual case
        }
        self.charge(key);
    }

    /// Applies `act` to a connection's outbox, and updates the totals of unconfirmed bytes and doubtful connections.
    /// Returns `true` if the connection has stopped being doubtful.
    fn follow(&mut self, key: SessionKey, act: impl FnOnce(&mut Outbox, &mut Spares)) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let outbox = &mut session.outbox;
        let bytes = outbox.unconfirmed_bytes();
        let doubtful = outbox.doubtful_since().is_some();
        act(outbox, &mut self.scratch.spares);
        self.unconfirmed.bytes -= bytes - outbox.unconfirmed_bytes();
        let ends = doubtful && outbox.doubtful_since().is_none();
        self.unconfirmed.doubtful -= usize::from(ends);
        ends
    }

    /// Handles a pong. Returns whether it answers the ping that confirms messages; if so, everything sent before that
    /// ping is confirmed.
    pub(crate) fn pong(&mut self, cx: &mut Context, key: SessionKey, bytes: &[u8]) -> bool {
        let (mut proved, now) = (false, cx.at.now);
        let mut notes = self.notes(cx, key);
        let ends_doubt = self.follow(key, |outbox, spares| {
            let note = |mark: &Mark, frame: &[u8]| notes.add(&mark.launch, frame);
            proved = outbox.proved(spares, bytes, now, note);
        });
        notes.end(ends_doubt);
        if proved {
            self.note_unread(key, 0, now); // except bytes sent after the ping
        }
        proved
    }

    /// Prepares to record the messages that a connection confirms. Offers are collected if they may have to be sent
    /// again, to another master.
    fn notes<'c>(&self, cx: &'c mut Context, key: SessionKey) -> ConfirmationNotes<'c> {
        let repeats = self.settings.signaling.repeat_offers_ms > 0;
        let member = self.session(key).and_then(Session::membership);
        let is_master = matches!(member, Some((_, Role::Master)));
        ConfirmationNotes {
            cx,
            key,
            member,
            offers: (repeats && is_master).then(Vec::new),
        }
    }

    /// Sends a ping on an open connection if pongs confirm messages. Has no effect if a ping is already in flight.
    pub(crate) fn prove(&mut self, cx: &mut Context, key: SessionKey) {
        if self.proves_by_tcp() {
            return;
        }
        let session = self.session_mut(key).filter(|it| it.open().is_some());
        let Some(counter) = session.and_then(|it| it.outbox.begin_proof(cx.at.now)) else {
            return;
        };
        self.push_control(cx, key, |out| ws::frame(out, Opcode::Ping, &counter));
    }

    /// Abandons a connection's unconfirmed messages if the connection was chosen to free memory in this way. Returns
    /// `true` if the connection has stopped being doubtful.
    pub(crate) fn take_room(&mut self, cx: &mut Context, key: SessionKey) -> bool {
        self.follow(key, |outbox, spares| {
            outbox.take_room(spares, |mark| {
                cx.telemetry
                    .count_proved(&mark.launch, Outcome::DeliveredUnproved);
            });
        })
    }

    /// Marks a connection as doubtful. Returns `true` if it was not doubtful before.
    pub(crate) fn doubt(&mut self, key: SessionKey, now: Now, expires: Now) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let begins = session.outbox.doubtful_since().is_none();
        session.outbox.doubt(now, expires);
        self.unconfirmed.doubtful += usize::from(begins);
        begins
    }

    /// Returns whether the limit on unconfirmed bytes is exceeded.
    #[inline]
    pub(crate) fn too_much_unconfirmed(&self) -> bool {
        self.unconfirmed.bytes > self.rules.unconfirmed_bytes
    }

    /// Returns the connections with unconfirmed messages. For each one, returns the time of its first unconfirmed
    /// message, its key, its number of unconfirmed bytes, and its channel.
    pub(crate) fn unconfirmed(&self) -> impl Iterator<Item = (Now, SessionKey, usize, ChannelKey)> {
        let keys = (0..self.places()).filter_map(|place| self.session_at(place));
        keys.filter_map(|key| {
            let session = self.session(key)?;
            let since = session.outbox.unconfirmed_since()?;
            Some((
                since,
                key,
                session.outbox.unconfirmed_bytes(),
                session.channel()?,
            ))
        })
    }

    /// Takes back a connection's unconfirmed messages that were written before `by`.
    pub(crate) fn take_unconfirmed(&mut self, key: SessionKey, by: Now) -> Vec<Unsent> {
        let mut taken = Vec::new();
        self.follow(key, |outbox, spares| {
            taken = outbox.take_unconfirmed(spares, by)
        });
        taken
    }
}

// Connected masters that are reported gone because they have been doubtful for too long.

impl Sockets {
    /// Schedules a check of whether a master has answered a ping. If it has not, the master is reported gone.
    pub(crate) fn await_pong_of_master(&mut self, key: SessionKey, now: Now) {
        let due = now.after(self.settings.presence.gone_ms);
        self.unconfirmed.pinged.push_back((due, key));
    }

    /// Schedules an immediate check of a connection that has become its channel's master again, if its pong became
    /// overdue in the meantime.
    pub(crate) fn judge_silence(&mut self, key: SessionKey, now: Now) {
        let session = self.session(key);
        if session.is_some_and(|session| self.is_silent(session, now)) {
            self.unconfirmed.pinged.push_front((now, key));
        }
    }

    /// Returns whether a ping has been unanswered for long enough to report a master gone.
    pub(crate) fn is_silent(&self, session: &Session, now: Now) -> bool {
        let gone_ms = self.settings.presence.gone_ms;
        let pinged = session.open().and_then(WebSocket::pinged_at);
        pinged.is_some_and(|pinged| pinged.after(gone_ms) <= now)
    }

    /// Returns whether a master has neither sent nor confirmed anything since it was reported gone.
    pub(crate) fn has_shown_nothing(&self, key: SessionKey) -> bool {
        let gone = self.unconfirmed.gone.get(&key);
        let gone = gone.filter(|gone| gone.confirms.is_none());
        let web_socket = self.session(key).and_then(Session::open);
        gone.and_then(|gone| gone.since)
            .is_some_and(|since| web_socket.is_some_and(|it| it.last_frame() < since))
    }

    /// Handles a confirmation from a master that is considered gone. If the master is now considered back, returns when
    /// it was reported gone. A master that was repeatedly reported gone must first confirm messages for a while.
    pub(crate) fn comes_back(&mut self, key: SessionKey, now: Now) -> Option<Now> {
        let gone = self.unconfirmed.gone.get_mut(&key)?;
        let since = gone.since?;
        let confirms = *gone.confirms.get_or_insert(now);
        if gone.times >= GONE_TIMES_MAX && now.since(confirms) < GONE_STEADY_MS {
            self.ask_again(key, now.after(ASK_AFTER_MS)); // new messages cause a query just as soon
            return None;
        }
        (gone.since, gone.confirms) = (None, None);
        Some(since)
    }

    /// Removes all data about the confirmations of a connection that is about to be removed.
    pub(crate) fn forget_doubt(&mut self, session: &Session, key: SessionKey) {
        self.unconfirmed.bytes -= session.outbox.unconfirmed_bytes();
        self.unconfirmed.doubtful -= usize::from(session.outbox.doubtful_since().is_some());
        self.unconfirmed.gone.remove(&key);
        self.unconfirmed.unread.remove(&key);
    }
}
impl Sockets {
    /// Determines what a connection's peer has received, either by querying the kernel or from the last pong.
    /// `road/confirmation.rs` handles the result.
    pub(crate) fn ask(&mut self, cx: &mut Context, key: SessionKey) {
        if !self.ask_kernel(key) {
            if self.unconfirmed.unread_of(key) > 0 {
                self.output(Output::Ask(key));
            }
            self.prove(cx, key);
            cx.todo.push(Todo::Settle(key));
        }
    }

    /// Handles EOF from a connection's peer. Its program will not read anything that it has not confirmed by now. The
    /// kernel is queried before this side closes the connection, and [`Self::take_leave`] follows once the session has
    /// left its channel. `closed` tells whether the peer sent a close frame. If a stream from another node ends without
    /// one, that node may be shutting down. Its client then continues to read, and the link reports what the client's
    /// host has received until the stream closes.
    pub(crate) fn peer_is_over(&mut self, key: SessionKey, closed: bool) {
        let Some(session) = self.session_mut(key) else {
            return;
        };
        if closed || !session.is_inner() {
            session.outbox.peer_is_over();
        }
        self.ask_kernel(key);
    }

    /// If pongs confirm messages, schedules processing of the last pong.
    pub(crate) fn take_leave(&self, cx: &mut Context, key: SessionKey) {
        let session = self.session(key).filter(|it| it.outbox.is_over());
        if session.is_some() && !self.proves_by_tcp() {
            cx.todo.push(Todo::Settle(key));
        }
    }

    /// Confirms all messages except those in the last `unread` bytes on the wire, because the peer has not acknowledged
    /// these bytes. Returns `false` if messages are not confirmed by TCP.
    pub(crate) fn confirm(&mut self, cx: &mut Context, key: SessionKey, unread: u32) -> bool {
        let by_tcp = self.session(key).is_some() && self.proves_by_tcp();
        if !by_tcp || self.is_half_open(key) {
            return by_tcp;
        }
        let mut notes = self.notes(cx, key);
        let ends_doubt = self.follow(key, |outbox, spares| {
            let repeated = outbox.returned().1;
            let note = |mark: &Mark, frame: &[u8]| notes.add(&mark.launch, frame);
            outbox.confirm(spares, unread.into(), note);
            let repeated = outbox.returned().1.saturating_sub(repeated);
            notes.cx.telemetry.count_repeated(repeated);
        });
        notes.end(ends_doubt);
        true
    }
}
