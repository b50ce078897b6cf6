//! Calls that came over connections between nodes which are kept: sessions without a connection in the table.
//!
//! The bytes of a call go to its session as they come. When the machine has the session closed, all that it has to say
//! is the answer: the end of the turn takes that, for the connection to carry, and lets the machine forget the session.

use super::Sessions;
use crate::edge::io::Io;
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Machine};
use std::collections::{BTreeMap, VecDeque};

/// The calls of one shard that are under way. As many as there are connections of other nodes at most.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// The numbers of their connections.
    places: BTreeMap<SessionKey, u32>,
    /// Those that are over, in order.
    over: VecDeque<(SessionKey, Over)>,
    /// Those that have come whole in this turn.
    whole: Vec<SessionKey>,
}

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge) enum Over {
    /// Its answer is whole.
    Answered,
    /// It has none.
    Failed,
}

impl Calls {
    /// The machine ends a session, or sends it elsewhere. False when that is no call.
    pub(super) fn note(&mut self, session: SessionKey, over: Over) -> bool {
        let is_call = !self.places.is_empty() && self.places.contains_key(&session);
        if is_call {
            self.over.push_back((session, over));
        }
        is_call
    }
}

impl<M: Machine> Sessions<M> {
    /// Gives the machine a session that was opened for a call, on the connection of this number; `tls`: its client has
    /// that.
    pub(in crate::edge) fn begin_call(
        &mut self,
        (session, place): (SessionKey, u32),
        tls: bool,
        io: &mut Io,
    ) {
        self.calls.places.insert(session, place);
        self.machine.brings_one_call(session);
        self.drain(io);
        if tls {
            self.feed(Input::Secured { session }, io);
        }
    }

    /// Gives the machine bytes of a call; `whole`: the last ones.
    pub(in crate::edge) fn call_came(
        &mut self,
        session: SessionKey,
        mut bytes: Vec<u8>,
        whole: bool,
        io: &mut Io,
    ) {
        if !self.calls.places.contains_key(&session) {
            return; // answered before it was whole
        }
        if whole {
            self.calls.whole.push(session);
        }
        if !bytes.is_empty() {
            let bytes = &mut bytes[..];
            self.feed(Input::Received { session, bytes }, io);
        }
    }

    /// The connection of a call is gone.
    pub(in crate::edge) fn lose_call(&mut self, session: SessionKey, io: &mut Io) {
        if self.calls.places.remove(&session).is_some() {
            self.feed(Input::Gone { session }, io);
        }
    }

    /// Ends all, since the shard ends.
    pub(in crate::edge) fn end_calls(&mut self, io: &mut Io) {
        while let Some((session, _)) = self.calls.places.pop_first() {
            self.feed(Input::Gone { session }, io);
        }
    }

    /// Whether calls are to be answered at the end of the turn.
    pub(in crate::edge) fn has_answers(&self) -> bool {
        !self.calls.over.is_empty()
    }

    /// A call that is over, with the number of its connection and its answer: the machine forgets its session.
    pub(in crate::edge) fn next_answer(
        &mut self,
        io: &mut Io,
    ) -> Option<(SessionKey, u32, Option<Vec<u8>>)> {
        while let Some((session, over)) = self.calls.over.pop_front() {
            let Some(place) = self.calls.places.get(&session).copied() else {
                continue; // its connection is gone, or it was said twice
            };
            let answer = (over == Over::Answered).then(|| self.take_answer(session, io));
            self.lose_call(session, io);
            return Some((session, place, answer));
        }
        None
    }

    fn take_answer(&mut self, session: SessionKey, io: &mut Io) -> Vec<u8> {
        let mut answer = Vec::new();
        for _ in 0..PIECES_MAX {
            let unsent = self.machine.unsent(session);
            if unsent.is_empty() {
                break;
            }
            let bytes = unsent.len();
            answer.extend_from_slice(unsent);
            self.report_sent(session, bytes, io);
        }
        answer
    }

    /// The calls that have come whole in this turn and are not over, with the numbers of their connections.
    pub(in crate::edge) fn take_whole(&mut self) -> Vec<(SessionKey, u32)> {
        let whole = std::mem::take(&mut self.calls.whole).into_iter();
        let place = |session| Some((session, *self.calls.places.get(&session)?));
        whole.filter_map(place).collect()
    }
}

/// Times that a session is asked for more of its answer: it has all of it at once.
const PIECES_MAX: usize = 4;
