//! Connections with unconfirmed messages: when each is queried, and how many bytes they hold.
//!
//! A connection is listed once, starting with its first unconfirmed message. It is queried after a second, then every
//! second while messages remain unconfirmed, or sooner if much has been written since the last query.

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
use crate::time::{Now, take_due};
use codec::signal::Action;
use codec::ws::{self, Opcode};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The connections of a shard that have unconfirmed messages.
#[derive(Debug, Default)]
pub(crate) struct Unconfirmed {
    /// Connections not yet queried, with the time of their first message.
    pub(crate) fresh: VecDeque<(Now, SessionKey)>,
    /// Connections to be queried again, and when.
    again: BTreeSet<(Now, SessionKey)>,
    /// Masters that have been sent a ping, and when each is to be checked.
    pinged: VecDeque<(Now, SessionKey)>,
    /// Bytes of unconfirmed messages.
    pub(crate) bytes: usize,
    /// Number of doubtful connections.
    pub(crate) doubtful: usize,
    /// Connections for which the kernel holds more unread bytes than are free of charge, as last reported.
    unread: BTreeMap<SessionKey, UnreadBytes>,
    /// Masters that have been reported gone.
    gone: BTreeMap<SessionKey, Gone>,
    /// Confirmed offers and the candidates that belong to them; empty between inputs.
    offers: Offers,
}

/// Bytes on the wire that the kernel holds for a connection because its peer has not acknowledged them yet.
#[derive(Clone, Copy, Debug)]
struct UnreadBytes {
    bytes: usize,
    /// The part of `bytes` not covered by stored messages: responses, control frames, and messages that were abandoned
    /// or returned.
    unproved: usize,
}

/// Notes on the messages that a connection confirms.
struct ConfirmationNotes<'c> {
    cx: &'c mut Context,
    key: SessionKey,
    member: Option<(ChannelKey, Role)>,
    /// Confirmed offers and the candidates that belong to them, if collected.
    offers: Option<Offers>,
}

impl ConfirmationNotes<'_> {
    /// Counts and notes a confirmed message.
    fn add(&mut self, launch: &DeliveryMark, frame: &[u8]) {
        self.cx.telemetry.count_confirmed(launch);
        self.trace(launch, frame);
        self.collect(launch, frame);
    }

    /// Collects a viewer's offer, or a candidate for an offer that has not been answered.
    fn collect(&mut self, launch: &DeliveryMark, frame: &[u8]) {
        let is_meant = launch.action == Action::SdpOffer || launch.follows;
        let is_viewers = is_meant && launch.from.is_some() && launch.counted;
        if let Some(offers) = self.offers.as_mut().filter(|_| is_viewers) {
            offers.push((*launch, ws::whole(frame)));
        }
    }

    /// Notes in the trace that an offer or answer was confirmed. Candidates are not noted, since they would fill the
    /// trace.
    fn trace(&mut self, launch: &DeliveryMark, frame: &[u8]) {
        let is_noted = launch.counted && launch.action != Action::IceCandidate;
        let Some((channel, role)) = self.member.as_ref().filter(|_| is_noted) else {
            return;
        };
        let towards = match role {
            Role::Master => Towards::Master,
            Role::Viewer(_) => Towards::Viewer,
        };
        let passed = NotedMessage {
            action: Some(launch.action),
            towards,
            passage: Passage::Confirmed,
            bytes: frame.len(),
            candidates: None,
        };
        let viewer = viewer_of(role, frame, launch.sender_bytes);
        let note = self.cx.telemetry.note();
        note.went(self.cx.at, *channel, passed, viewer, Some(self.key));
    }
}

/// A connected master that has been reported gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    /// When the master was reported gone, if it still counts as gone.
    since: Option<Now>,
    /// Number of times the master was reported gone within [`GONE_WINDOW_MS`] of the first.
    times: u32,
    first: Now,
    /// When the master began to confirm messages again, although it still counts as gone.
    confirms: Option<Now>,
}

/// Returns when to first query a connection whose first message was written at `since`, rounded so that several
/// connections are queried together.
fn first_ask(since: Now) -> Now {
    let due = since.after(ASK_AFTER_MS);
    Now(due.0.next_multiple_of(ASK_STEP_MS))
}

impl Sockets {
    /// Whether the kernel reports what a connection's peer has received, be it this node's kernel or that of the
    /// client's front.
    pub(crate) fn proves_by_tcp(&self) -> bool {
        self.settings.signaling.proof == Proof::Tcp
    }

    /// Returns when the next connection is due to be queried.
    #[inline]
    pub(crate) fn next_ask(&self) -> Option<Now> {
        let list = &self.unconfirmed;
        let fresh = list.fresh.front().map(|(since, _)| first_ask(*since));
        let again = list.again.first().map(|(due, _)| *due);
        let pinged = list.pinged.front().map(|(due, _)| *due);
        fresh.into_iter().chain(again).chain(pinged).min()
    }

    /// Removes and returns the next connection due to be queried by `now`.
    pub(crate) fn next_to_ask(&mut self, now: Now) -> Option<SessionKey> {
        loop {
            let list = &mut self.unconfirmed;
            let fresh = take_due(&mut list.fresh, |(since, _)| first_ask(*since) <= now);
            let due = fresh.or_else(|| {
                let first = list.again.first().filter(|(due, _)| *due <= now)?;
                list.again.take(&first.clone())
            });
            let (_, key) = due?;
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

    /// Schedules another query of a connection at `due`, unless it is already listed.
    pub(crate) fn ask_again(&mut self, key: SessionKey, due: Now) {
        if let Some(session) = self.sessions.get_mut(key)
            && !session.asking.list(true)
        {
            self.unconfirmed.again.insert((due, key));
        }
    }

    /// Makes the edge query the unread bytes of a connection, if it has unconfirmed messages. Returns `false` if
    /// messages are confirmed by pongs, since there is nothing to query.
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

    /// Records how many unread bytes the kernel holds for a connection. Those not covered by stored messages are
    /// charged to the connection. Above [`UNREAD_BYTES_FREE`], the kernel is queried again.
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

    /// Returns the number of bytes that the kernel holds for a connection, as last reported; 0 if there are too few to
    /// charge.
    #[inline]
    pub(crate) fn unread_of(&self, key: SessionKey) -> usize {
        let unread = &self.unconfirmed.unread;
        if unread.is_empty() {
            return 0; // the usual case
        }
        unread.get(&key).map_or(0, |unread| unread.bytes)
    }

    /// Returns the number of bytes that the kernel holds for a connection and that are not covered by stored messages.
    pub(crate) fn unproved_of(&self, key: SessionKey) -> usize {
        let unread = self.unconfirmed.unread.get(&key);
        unread.map_or(0, |unread| unread.unproved)
    }

    /// Applies `act` to a connection's outbox and updates the unconfirmed bytes and doubt accordingly. Returns `true`
    /// if the connection is no longer doubtful as a result.
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

    /// Confirms messages, given the number of bytes that a connection's peer has not acknowledged. Returns `true` if
    /// the connection is no longer doubtful as a result.
    pub(crate) fn confirm(&mut self, cx: &mut Context, key: SessionKey, unread: u64) -> bool {
        let mut notes = self.notes(cx, key);
        let ends = self.follow(key, |outbox, spares| {
            let repeated = outbox.returned().1;
            outbox.confirm(spares, unread, |mark, frame| notes.add(&mark.launch, frame));
            let repeated = outbox.returned().1.saturating_sub(repeated);
            notes.cx.telemetry.count_repeated(repeated);
        });
        (self.unconfirmed.offers).extend(notes.offers.unwrap_or_default());
        ends
    }

    /// Handles a pong. Returns whether it answers the confirming ping, in which case everything sent before the ping is
    /// confirmed, and whether the connection is no longer doubtful as a result.
    pub(crate) fn proved(
        &mut self,
        cx: &mut Context,
        key: SessionKey,
        payload: &[u8],
        now: Now,
    ) -> (bool, bool) {
        let mut proved = false;
        let mut notes = self.notes(cx, key);
        let ends = self.follow(key, |outbox, spares| {
            let note = |mark: &Mark, frame: &[u8]| notes.add(&mark.launch, frame);
            proved = outbox.proved(spares, payload, now, note);
        });
        (self.unconfirmed.offers).extend(notes.offers.unwrap_or_default());
        if proved {
            self.note_unread(key, 0, now); // but what is behind its ping
        }
        (proved, ends)
    }

    /// Creates notes on what a connection confirms; its offers are collected if they may be repeated to its successor.
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

    /// Takes the offers confirmed since the previous call, and the candidates that belong to them.
    pub(crate) fn take_offers(&mut self) -> Offers {
        std::mem::take(&mut self.unconfirmed.offers)
    }

    /// Appends a ping to an open connection's outbox, unless one is in flight, if messages are confirmed by pongs.
    pub(crate) fn prove(&mut self, cx: &mut Context, key: SessionKey, now: Now) {
        let Some(session) = self.session(key) else {
            return;
        };
        if session.open().is_none() || self.proves_by_tcp() {
            return;
        }
        let Some(counter) = self
            .session_mut(key)
            .and_then(|it| it.outbox.begin_proof(now))
        else {
            return;
        };
        self.push_control(cx, key, |out| ws::frame(out, Opcode::Ping, &counter));
    }

    /// Abandons a connection's unconfirmed messages, if it was marked for that. Returns `true` if the connection is no
    /// longer doubtful as a result.
    pub(crate) fn take_room(&mut self, cx: &mut Context, key: SessionKey) -> bool {
        self.follow(key, |outbox, spares| {
            outbox.take_room(spares, |mark| {
                cx.telemetry
                    .count_proved(&mark.launch, Outcome::DeliveredUnproved);
            });
        })
    }

    /// Marks a connection's peer as doubtful. Returns `true` if it was not doubtful before.
    pub(crate) fn doubt(&mut self, key: SessionKey, now: Now, expires: Now) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let begins = session.outbox.doubtful_since().is_none();
        session.outbox.doubt(now, expires);
        self.unconfirmed.doubtful += usize::from(begins);
        begins
    }

    /// Returns the number of doubtful connections.
    pub(crate) fn doubtful(&self) -> usize {
        self.unconfirmed.doubtful
    }

    /// Returns the number of unconfirmed message bytes.
    pub(crate) fn unconfirmed_bytes(&self) -> usize {
        self.unconfirmed.bytes
    }

    /// Whether the limit on unconfirmed bytes is exceeded.
    #[inline]
    pub(crate) fn too_much_unconfirmed(&self) -> bool {
        self.unconfirmed.bytes > self.rules.unconfirmed_bytes
    }

    /// Returns the connections with unconfirmed messages, each with the time since when it has had any, their number of
    /// bytes, and its channel.
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

    /// Takes back a connection's unconfirmed messages written before `by`.
    pub(crate) fn take_unconfirmed(&mut self, key: SessionKey, by: Now) -> Vec<Unsent> {
        let mut taken = Vec::new();
        self.follow(key, |outbox, spares| {
            taken = outbox.take_unconfirmed(spares, by)
        });
        taken
    }
}

// Masters that are connected and reported gone, since they are doubtful for long.

impl Sockets {
    /// Schedules a check of a master that was sent a ping, for when it must be reported gone if no pong has arrived.
    pub(crate) fn await_pong_of_master(&mut self, key: SessionKey, now: Now) {
        let due = now.after(self.settings.presence.gone_ms);
        self.unconfirmed.pinged.push_back((due, key));
    }

    /// Checks a connection that has regained the master's slot, since its pong may have become due while it did not
    /// hold the slot.
    pub(crate) fn judge_silence(&mut self, key: SessionKey, now: Now) {
        let session = self.session(key);
        if session.is_some_and(|session| self.is_silent(session, now)) {
            self.unconfirmed.pinged.push_front((now, key));
        }
    }

    /// Takes the next master whose pong is due by `now`.
    pub(crate) fn next_pinged(&mut self, now: Now) -> Option<SessionKey> {
        let pinged = &mut self.unconfirmed.pinged;
        take_due(pinged, |(due, _)| *due <= now).map(|(_, key)| key)
    }

    /// Whether a connection has left a ping unanswered for the time after which a doubtful master is reported gone.
    pub(crate) fn is_silent(&self, session: &Session, now: Now) -> bool {
        let gone_ms = self.settings.presence.gone_ms;
        let pinged = session.open().and_then(WebSocket::pinged_at);
        pinged.is_some_and(|pinged| pinged.after(gone_ms) <= now)
    }

    /// Whether a master is reported gone.
    pub(crate) fn is_gone(&self, key: SessionKey) -> bool {
        let gone = self.unconfirmed.gone.get(&key);
        gone.is_some_and(|gone| gone.since.is_some())
    }

    /// Whether a master is reported gone and has neither confirmed anything nor sent a frame since.
    pub(crate) fn has_shown_nothing(&self, key: SessionKey) -> bool {
        let gone = self.unconfirmed.gone.get(&key);
        let gone = gone.filter(|gone| gone.confirms.is_none());
        let web_socket = self.session(key).and_then(Session::open);
        gone.and_then(|gone| gone.since)
            .is_some_and(|since| web_socket.is_some_and(|it| it.last_frame() < since))
    }

    /// Reports a master as gone. Returns `false` if it already is.
    pub(crate) fn goes(&mut self, key: SessionKey, now: Now) -> bool {
        let gone = self.unconfirmed.gone.entry(key).or_insert(Gone {
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

    /// Handles a confirmation from a master that is reported gone. If the master counts as back, returns when it was
    /// reported gone; a master that flaps must first confirm messages for a while.
    pub(crate) fn comes_back(&mut self, key: SessionKey, now: Now) -> Option<Now> {
        let gone = self.unconfirmed.gone.get_mut(&key)?;
        let since = gone.since?;
        let confirms = *gone.confirms.get_or_insert(now);
        if gone.times >= GONE_TIMES_MAX && now.since(confirms) < GONE_STEADY_MS {
            self.ask_again(key, now.after(ASK_AFTER_MS)); // soon: it is asked about new messages too
            return None;
        }
        (gone.since, gone.confirms) = (None, None);
        Some(since)
    }

    /// Removes all confirmation state of a connection that is ending.
    pub(crate) fn forget_doubt(&mut self, session: &Session, key: SessionKey) {
        self.unconfirmed.bytes -= session.outbox.unconfirmed_bytes();
        self.unconfirmed.doubtful -= usize::from(session.outbox.doubtful_since().is_some());
        self.unconfirmed.gone.remove(&key);
        self.unconfirmed.unread.remove(&key);
    }
}
