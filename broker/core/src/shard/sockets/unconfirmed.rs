//! Connections with messages that are written and not confirmed: which of them is asked next, and how many bytes they
//! keep.
//!
//! A connection is listed once, from its first such message on. It is asked a second later for the first time, and then
//! each second while the answer is that some are not confirmed; sooner, when much was written since the last question.

use crate::event::Outcome;
use crate::id::{ChannelKey, SessionKey};
use crate::limits::{ASK_AFTER_MS, ASK_STEP_MS};
use crate::session::Session;
use crate::session::outbox::Unsent;
use crate::settings::Proof;
use crate::shard::{Books, Sockets};
use crate::{machine::Output, time::Now};
use codec::ws::{self, Opcode};
use std::collections::{BTreeSet, VecDeque};

/// The connections of a shard with messages that are not confirmed.
#[derive(Debug, Default)]
pub(crate) struct Unconfirmed {
    /// Those that were not asked yet, with the moment of their first message.
    pub(crate) fresh: VecDeque<(Now, SessionKey)>,
    /// Those that are asked again, with the moment.
    again: BTreeSet<(Now, SessionKey)>,
    /// Bytes of their messages.
    pub(crate) bytes: usize,
}

impl Unconfirmed {
    /// When the next connection is to be asked.
    fn next(&self) -> Option<Now> {
        let fresh = self.fresh.front().map(|(since, _)| first_ask(*since));
        let again = self.again.first().map(|(due, _)| *due);
        fresh.into_iter().chain(again).min()
    }
}

/// When a connection is asked for the first time whose first message was written then: several at once.
fn first_ask(since: Now) -> Now {
    let due = since.after(ASK_AFTER_MS);
    Now(due.0.next_multiple_of(ASK_STEP_MS))
}

impl Sockets {
    /// How it is known what a connection's peer has. Of a client that another node passes on by a pong, since that node
    /// acknowledges; but a client that has closed its WebSocket was there, and its node hands over what is under way.
    pub(crate) fn proof_of(&self, session: &Session) -> Proof {
        match self.settings.signaling.proof {
            Proof::Tcp if session.is_inner() && session.outbox.over() != Some(true) => Proof::Pong,
            proof => proof,
        }
    }

    /// When the next connection is to be asked.
    #[inline]
    pub(crate) fn next_ask(&self) -> Option<Now> {
        self.unconfirmed.next()
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
                session.listed = false;
                if session.outbox.unconfirmed_since().is_some() {
                    return Some(key);
                }
            }
        }
    }

    /// A connection is asked once more at `due`, unless it is listed.
    pub(crate) fn ask_again(&mut self, key: SessionKey, due: Now) {
        if let Some(session) = self.sessions.get_mut(key)
            && !std::mem::replace(&mut session.listed, true)
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
        let asks =
            session.outbox.unconfirmed_since().is_some() && self.proof_of(session) == Proof::Tcp;
        if asks {
            self.output(Output::Ask(key));
        }
        asks
    }

    /// The kernel holds this many bytes that the peer of a connection has not acknowledged.
    pub(crate) fn confirm(&mut self, books: &mut Books, key: SessionKey, unacknowledged: u64) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let (before, repeated) = (
            session.outbox.unconfirmed_bytes(),
            session.outbox.returned().1,
        );
        session
            .outbox
            .confirm(&mut self.scratch.spares, unacknowledged, |mark| {
                books.count_confirmed(&mark.launch);
            });
        self.unconfirmed.bytes -= before - session.outbox.unconfirmed_bytes();
        books.count_repeated(session.outbox.returned().1 - repeated);
    }

    /// A pong came: whether it is the answer to the ping that proves, and all before that is confirmed.
    pub(crate) fn proved(
        &mut self,
        books: &mut Books,
        key: SessionKey,
        payload: &[u8],
        now: Now,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let before = session.outbox.unconfirmed_bytes();
        let spares = &mut self.scratch.spares;
        let proved = session.outbox.proved(spares, payload, now, |mark| {
            books.count_confirmed(&mark.launch);
        });
        self.unconfirmed.bytes -= before - session.outbox.unconfirmed_bytes();
        proved
    }

    /// Where a pong is the proof, a ping follows what was queued for an open connection, unless one is under way.
    pub(crate) fn prove(&mut self, books: &mut Books, key: SessionKey, now: Now) {
        let Some(session) = self.session(key) else {
            return;
        };
        if session.open().is_none() || self.proof_of(session) != Proof::Pong {
            return;
        }
        let Some(counter) = self
            .session_mut(key)
            .and_then(|it| it.outbox.begin_proof(now))
        else {
            return;
        };
        self.push_control(books, key, |out| ws::frame(out, Opcode::Ping, &counter));
    }

    /// Has the messages of a connection that are not confirmed make room, if they are to.
    pub(crate) fn take_room(&mut self, books: &mut Books, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let before = session.outbox.unconfirmed_bytes();
        session.outbox.take_room(&mut self.scratch.spares, |mark| {
            books.count_proved(&mark.launch, Outcome::DeliveredUnproved);
        });
        self.unconfirmed.bytes -= before - session.outbox.unconfirmed_bytes();
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
        let Some(session) = self.sessions.get_mut(key) else {
            return Vec::new();
        };
        let before = session.outbox.unconfirmed_bytes();
        let taken = session
            .outbox
            .take_unconfirmed(&mut self.scratch.spares, by);
        self.unconfirmed.bytes -= before - session.outbox.unconfirmed_bytes();
        taken
    }
}
