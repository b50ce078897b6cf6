//! Connections with messages that are written and not confirmed: which of them is asked next, and how many bytes they
//! keep.
//!
//! A connection is listed once, from its first such message on. It is asked a second later for the first time, and then
//! each second while the answer is that some are not confirmed; sooner, when much was written since the last question.

use crate::channel::Towards;
use crate::event::Outcome;
use crate::id::{ChannelKey, SessionKey};
use crate::limits::{
    ASK_AFTER_MS, ASK_STEP_MS, GONE_STEADY_MS, GONE_TIMES_MAX, GONE_WINDOW_MS, UNREAD_BYTES_FREE,
};
use crate::session::Session;
use crate::session::outbox::{DeliveryMark, Offers, Outbox, Spares, Unsent};
use crate::session::web_socket::{Role, WebSocket, viewer_of};
use crate::settings::Proof;
use crate::shard::Sockets;
use crate::shard::context::Context;
use crate::shard::flight_recorder::{NotedMessage, Passage};
use crate::{machine::Output, time::Now};
use codec::signal::Action;
use codec::ws::{self, Opcode};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The connections of a shard with messages that are not confirmed.
#[derive(Debug, Default)]
pub(crate) struct Unconfirmed {
    /// Connections that were not queried yet, with the moment of their first message.
    pub(crate) fresh: VecDeque<(Now, SessionKey)>,
    /// Connections that are queried again, with the moment.
    again: BTreeSet<(Now, SessionKey)>,
    /// Masters that were pinged, and when they are looked at.
    pinged: VecDeque<(Now, SessionKey)>,
    /// Bytes of their messages.
    pub(crate) bytes: usize,
    /// How many of them are doubtful.
    pub(crate) doubtful: usize,
    /// Connections of which the kernel holds more than any may cost, as it said last.
    unread: BTreeMap<SessionKey, UnreadBytes>,
    /// Masters that were reported gone.
    gone: BTreeMap<SessionKey, Gone>,
    /// Offers that were confirmed, and their candidates; empty between two inputs.
    offers: Offers,
}

/// Bytes on the wire that the kernel holds of a connection, since its peer has not acknowledged them.
#[derive(Clone, Copy, Debug)]
struct UnreadBytes {
    bytes: usize,
    /// The part of `bytes` that no kept message accounts for: answers, control frames, messages that made room or went
    /// back.
    unproved: usize,
}

/// Notes an offer of a viewer that was confirmed, or a candidate of one without an answer, where that is asked for.
fn note_offer(offers: &mut Option<Offers>, launch: &DeliveryMark, frame: &[u8]) {
    let is_meant = launch.action == Action::SdpOffer || launch.follows;
    let is_viewers = is_meant && launch.from.is_some() && launch.counted;
    if let Some(offers) = offers.as_mut().filter(|_| is_viewers) {
        offers.push((*launch, ws::whole(frame)));
    }
}

/// Notes for the trace that an offer or an answer was confirmed; candidates would fill it.
fn note_confirmed(
    cx: &mut Context,
    key: SessionKey,
    member: &Option<(ChannelKey, Role)>,
    launch: &DeliveryMark,
    frame: &[u8],
) {
    let is_noted = launch.counted && launch.action != Action::IceCandidate;
    let Some((channel, role)) = member.as_ref().filter(|_| is_noted) else {
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
    (cx.telemetry.note()).went(cx.at, *channel, passed, viewer, Some(key));
}

/// A master that was reported gone while it was connected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    /// Since when, if it is.
    since: Option<Now>,
    /// How often it was within [`GONE_WINDOW_MS`] of the first time.
    times: u32,
    first: Now,
    /// Since when it confirms, while it is reported gone all the same.
    confirms: Option<Now>,
}

/// When a connection is asked for the first time whose first message was written then: several at once.
fn first_ask(since: Now) -> Now {
    let due = since.after(ASK_AFTER_MS);
    Now(due.0.next_multiple_of(ASK_STEP_MS))
}

impl Sockets {
    /// Whether the kernel says what the peer of a connection has: its own, or that of the node in front of a client.
    pub(crate) fn proves_by_tcp(&self) -> bool {
        self.settings.signaling.proof == Proof::Tcp
    }

    /// When the next connection is to be asked.
    #[inline]
    pub(crate) fn next_ask(&self) -> Option<Now> {
        let list = &self.unconfirmed;
        let fresh = list.fresh.front().map(|(since, _)| first_ask(*since));
        let again = list.again.first().map(|(due, _)| *due);
        let pinged = list.pinged.front().map(|(due, _)| *due);
        fresh.into_iter().chain(again).chain(pinged).min()
    }

    /// The next connection that is to be asked by `now`: it is listed no longer.
    pub(crate) fn next_to_ask(&mut self, now: Now) -> Option<SessionKey> {
        loop {
            let list = &mut self.unconfirmed;
            let fresh = list
                .fresh
                .pop_front_if(|(since, _)| first_ask(*since) <= now);
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

    /// A connection is asked once more at `due`, unless it is listed.
    pub(crate) fn ask_again(&mut self, key: SessionKey, due: Now) {
        if let Some(session) = self.sessions.get_mut(key)
            && !session.asking.list(true)
        {
            self.unconfirmed.again.insert((due, key));
        }
    }

    /// Has the edge ask how much of what was written to a connection its peer has, if anything is not confirmed. Where
    /// a pong is the proof, nothing is to be asked: false.
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

    /// Notes the bytes that the kernel holds of a connection. The part that no kept message accounts for is charged to
    /// the connection. While there are more than [`UNREAD_BYTES_FREE`], the kernel is asked again.
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

    /// Bytes that the kernel holds of a connection, as it said last; 0 where they are few.
    #[inline]
    pub(crate) fn unread_of(&self, key: SessionKey) -> usize {
        let unread = &self.unconfirmed.unread;
        if unread.is_empty() {
            return 0; // the usual case
        }
        unread.get(&key).map_or(0, |unread| unread.bytes)
    }

    /// The part of these bytes that no kept message accounts for.
    pub(crate) fn unproved_of(&self, key: SessionKey) -> usize {
        let unread = self.unconfirmed.unread.get(&key);
        unread.map_or(0, |unread| unread.unproved)
    }

    /// Does something to the outbox of a connection, and follows what that changes: bytes not confirmed, and doubt.
    /// True when the connection was doubtful, and is no longer.
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

    /// The kernel holds this many bytes that the peer of a connection has not acknowledged. True when that ends a
    /// doubt.
    pub(crate) fn confirm(
        &mut self,
        cx: &mut Context,
        key: SessionKey,
        unacknowledged: u64,
    ) -> bool {
        let mut offers = self.offers_to_repeat(key);
        let member = self.session(key).and_then(Session::membership);
        let ends = self.follow(key, |outbox, spares| {
            let repeated = outbox.returned().1;
            outbox.confirm(spares, unacknowledged, |mark, frame| {
                cx.telemetry.count_confirmed(&mark.launch);
                note_confirmed(cx, key, &member, &mark.launch, frame);
                note_offer(&mut offers, &mark.launch, frame);
            });
            cx.telemetry
                .count_repeated(outbox.returned().1.saturating_sub(repeated));
        });
        self.unconfirmed.offers.extend(offers.unwrap_or_default());
        ends
    }

    /// A pong came: whether it is the answer to the ping that proves, and all before that is confirmed; and whether
    /// that ends a doubt.
    pub(crate) fn proved(
        &mut self,
        cx: &mut Context,
        key: SessionKey,
        payload: &[u8],
        now: Now,
    ) -> (bool, bool) {
        let mut proved = false;
        let mut offers = self.offers_to_repeat(key);
        let member = self.session(key).and_then(Session::membership);
        let ends = self.follow(key, |outbox, spares| {
            proved = outbox.proved(spares, payload, now, |mark, frame| {
                cx.telemetry.count_confirmed(&mark.launch);
                note_confirmed(cx, key, &member, &mark.launch, frame);
                note_offer(&mut offers, &mark.launch, frame);
            });
        });
        self.unconfirmed.offers.extend(offers.unwrap_or_default());
        if proved {
            self.note_unread(key, 0, now); // but what is behind its ping
        }
        (proved, ends)
    }

    /// A list for the offers that a connection confirms, if its next one may get them once more.
    fn offers_to_repeat(&self, key: SessionKey) -> Option<Offers> {
        let repeats = self.settings.signaling.repeat_offers_ms > 0;
        let session = self.session(key).filter(|_| repeats)?;
        (session.role() == Some(&Role::Master)).then(Vec::new)
    }

    /// The offers that were confirmed since the last call, and their candidates.
    pub(crate) fn take_offers(&mut self) -> Offers {
        std::mem::take(&mut self.unconfirmed.offers)
    }

    /// Where a pong is the proof, a ping follows what was queued for an open connection, unless one is under way.
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

    /// Has the messages of a connection that are not confirmed make room, if they are to. True when that ends a doubt.
    pub(crate) fn take_room(&mut self, cx: &mut Context, key: SessionKey) -> bool {
        self.follow(key, |outbox, spares| {
            outbox.take_room(spares, |mark| {
                cx.telemetry
                    .count_proved(&mark.launch, Outcome::DeliveredUnproved);
            });
        })
    }

    /// Begins to doubt that the peer of a connection is there. True when it was not doubtful before.
    pub(crate) fn doubt(&mut self, key: SessionKey, now: Now, expires: Now) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let begins = session.outbox.doubtful_since().is_none();
        session.outbox.doubt(now, expires);
        self.unconfirmed.doubtful += usize::from(begins);
        begins
    }

    /// Connections of which it is doubtful that their peers are there.
    pub(crate) fn doubtful(&self) -> usize {
        self.unconfirmed.doubtful
    }

    /// Bytes of messages that are written and not confirmed.
    pub(crate) fn unconfirmed_bytes(&self) -> usize {
        self.unconfirmed.bytes
    }

    /// Whether more bytes are not confirmed than may be.
    #[inline]
    pub(crate) fn too_much_unconfirmed(&self) -> bool {
        self.unconfirmed.bytes > self.rules.unconfirmed_bytes
    }

    /// Every connection with messages that are not confirmed: since when, its bytes, and its channel.
    pub(crate) fn all_unconfirmed(
        &self,
    ) -> impl Iterator<Item = (Now, SessionKey, usize, ChannelKey)> {
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

    /// Takes the messages back that a connection's peer has not confirmed, of those that were written by then.
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
    /// A master was pinged: it is looked at when it is gone without an answer.
    pub(crate) fn await_pong_of_master(&mut self, key: SessionKey, now: Now) {
        let due = now.after(self.settings.presence.gone_ms);
        self.unconfirmed.pinged.push_back((due, key));
    }

    /// A connection has the master's slot again: the answer to its ping may have been due while it had none.
    pub(crate) fn judge_silence(&mut self, key: SessionKey, now: Now) {
        let session = self.session(key);
        if session.is_some_and(|session| self.is_silent(session, now)) {
            self.unconfirmed.pinged.push_front((now, key));
        }
    }

    /// The next master whose answer to a ping is due by `now`.
    pub(crate) fn next_pinged(&mut self, now: Now) -> Option<SessionKey> {
        let pinged = &mut self.unconfirmed.pinged;
        pinged
            .pop_front_if(|(due, _)| *due <= now)
            .map(|(_, key)| key)
    }

    /// Whether a ping of a connection has had no answer for as long as a doubt lasts before a master is reported gone.
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

    /// Whether a master is reported gone, and has neither confirmed anything since nor sent a frame.
    pub(crate) fn has_shown_nothing(&self, key: SessionKey) -> bool {
        let gone = self.unconfirmed.gone.get(&key);
        let gone = gone.filter(|gone| gone.confirms.is_none());
        let web_socket = self.session(key).and_then(Session::open);
        gone.and_then(|gone| gone.since)
            .is_some_and(|since| web_socket.is_some_and(|it| it.last_frame() < since))
    }

    /// A master is reported gone from here on; false when it is.
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

    /// A master that is reported gone has confirmed something. Since when it was gone, if it is no longer: one that
    /// comes and goes has to confirm for a while.
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

    /// A connection ends: nothing is known of it.
    pub(crate) fn forget_doubt(&mut self, session: &Session, key: SessionKey) {
        self.unconfirmed.bytes -= session.outbox.unconfirmed_bytes();
        self.unconfirmed.doubtful -= usize::from(session.outbox.doubtful_since().is_some());
        self.unconfirmed.gone.remove(&key);
        self.unconfirmed.unread.remove(&key);
    }
}
