//! The sessions of a shard: the machine, and what brings bytes to it and away.
//!
//! The rule of the seam is kept here: after each input the machine's outputs are drained. Obeying an output only marks
//! the connection: what it means for the socket happens once a turn, when touched connections are flushed. So no output
//! is ever obeyed in the middle of another one's work.
//!
//! In reading order: this page, with the sessions that have no connection of their own (calls between nodes);
//! `intake.rs` (received bytes), `flush.rs` (sent ones), `end.rs` (the end of a connection here, and connections
//! between nodes that outlive their session), `tunnelled.rs` (sessions whose owner is elsewhere).

pub(crate) mod end;
mod flush;
mod front;
mod intake;
mod links;
mod served;
mod tunnelled;

use crate::devices::Devices;
use crate::edge::connection::{Connection, Destination, Stage};
use crate::edge::streams::Streams;
use crate::edge::tunnels::{TunnelEvent, Tunnels};
use crate::edge::{connections::Connections, io::Io, letters::Mail, limits::KEPT_SLOW_MS};
use broker_core::machine::{Input, Machine, Output, Peer, TunnelFailure};
use broker_core::time::{Moment, Now};
use broker_core::{address_shares::Origin, id::SessionKey};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The machine of one shard, and wherever a session of it may be: on a connection, in a tunnel, or on its way to
/// another shard.
pub(crate) struct Sessions<M: Machine> {
    machine: M,
    connections: Connections,
    tunnels: Tunnels<M>,
    streams: Streams<M>,
    calls: Calls,
    /// What the peers of sessions have not acknowledged, for the machine that has asked: bytes, and the time of a round
    /// trip.
    told: VecDeque<(SessionKey, u32, u32)>,
    /// Devices in force, by which certificates of open connections are judged.
    devices: Option<Arc<Devices>>,
    mail: Mail<M>,
}

impl<M: Machine> Sessions<M> {
    /// No sessions but those that the machine may begin with.
    pub(crate) fn new(machine: M, mail: Mail<M>, tunnels: Tunnels<M>, streams: Streams<M>) -> Self {
        Self {
            machine,
            connections: Connections::default(),
            tunnels,
            streams,
            calls: Calls::default(),
            told: VecDeque::new(),
            devices: None,
            mail,
        }
    }

    /// The machine, to be asked.
    #[inline]
    pub(crate) fn machine(&self) -> &M {
        &self.machine
    }

    /// The machine, for what is no input. Outputs may follow: see [`Self::drain`].
    #[inline]
    pub(crate) fn machine_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    /// The connections of clients.
    #[inline]
    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// As [`Self::connections`], to be changed.
    #[inline]
    pub(crate) fn connections_mut(&mut self) -> &mut Connections {
        &mut self.connections
    }

    /// Certificates of open connections are judged by these devices from here on.
    pub(crate) fn judge_by(&mut self, devices: Option<Arc<Devices>>) {
        self.devices = devices;
    }

    /// The tunnels.
    #[inline]
    pub(crate) fn tunnels(&self) -> &Tunnels<M> {
        &self.tunnels
    }

    /// As [`Self::tunnels`], to be changed.
    #[inline]
    pub(crate) fn tunnels_mut(&mut self) -> &mut Tunnels<M> {
        &mut self.tunnels
    }

    /// The links.
    #[inline]
    pub(crate) fn streams(&self) -> &Streams<M> {
        &self.streams
    }

    /// Whether clients of other nodes are streams of links.
    pub(crate) fn carries_streams(&self) -> bool {
        self.streams.is_on()
    }

    /// Whether this is the number of a client that is a stream, or awaits one.
    pub(crate) fn has_client(&self, place: u32) -> bool {
        self.streams.clients.contains_key(&place)
    }

    /// The shard's mail.
    #[inline]
    pub(crate) fn mail(&self) -> &Mail<M> {
        &self.mail
    }

    /// Opens a session for a connection that was accepted; where it is `full`, another one makes room. `None` when
    /// there is none.
    pub(crate) fn open(&mut self, peer: Peer, full: bool, at: Moment) -> Option<SessionKey> {
        if full {
            self.machine.open_instead(peer, at)
        } else {
            self.machine.open(peer, at)
        }
    }

    /// Takes in the connection of a session that was opened just now; `tls` when its handshake is to come.
    pub(crate) fn enter(
        &mut self,
        session: SessionKey,
        connection: Connection,
        (origin, tls): (Origin, bool),
        io: &mut Io,
    ) {
        self.connections.insert(session, connection, io);
        let now = io.turn.at().now;
        self.connections.welcome(session, origin, tls, now);
        self.drain(io);
    }

    /// Sees to it that a connection is read as it should be; see [`Connections::watch`].
    #[inline]
    pub(crate) fn watch(&mut self, session: SessionKey, io: &mut Io) {
        self.connections.watch(session, &self.machine, &mut io.ring);
    }

    /// Arms some of the listed receives again; see [`Connections::rearm_some`].
    pub(crate) fn rearm_some(&mut self, io: &mut Io) {
        self.connections.rearm_some(&self.machine, &mut io.ring);
    }

    /// Gives the machine an input and obeys its outputs. Not for [`Input::Received`], whose bytes are borrowed from
    /// here: that one is handled in place and followed by [`Self::drain`].
    pub(crate) fn feed(&mut self, input: Input<'_, M::Letter>, io: &mut Io) {
        self.machine.handle(input, io.turn.at());
        self.drain(io);
    }

    /// Reports to the machine that this many bytes were handed to the kernel, by so many on the wire.
    fn report_sent(&mut self, session: SessionKey, (bytes, on_wire): (usize, usize), io: &mut Io) {
        io.turn.report();
        let sent = Input::Sent {
            session,
            bytes,
            on_wire,
        };
        self.feed(sent, io);
    }

    /// Obeys every output that waits.
    pub(crate) fn drain(&mut self, io: &mut Io) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.obey(output, io);
            }
            if let Some((session, bytes, round_trip_ms)) = self.told.pop_front() {
                let told = Input::Unacknowledged {
                    session,
                    bytes,
                    round_trip_ms,
                };
                self.machine.handle(told, io.turn.at());
                continue;
            }
            let Some(letter) = self.mail.next_refused() else {
                return;
            };
            self.machine.handle(Input::Refused(letter), io.turn.at());
        }
    }

    /// Looks what the peer of a session has of what was sent, before anything else is done to its socket.
    fn look(&mut self, session: SessionKey) {
        if let Some(connection) = self.connections.get(session) {
            let bytes = connection.unacknowledged();
            let round_trip_ms = match bytes {
                0 => 0,
                1.. => connection.round_trip_ms(),
            };
            self.told.push_back((session, bytes, round_trip_ms));
        } else {
            self.look_at_stream(session);
        }
    }

    fn obey(&mut self, output: Output<M::Letter>, io: &mut Io) {
        match output {
            Output::Send(session) => {
                if !self.connections.touch(session) {
                    self.streams.touch_session(session);
                }
            }
            Output::HandOver(session, to) => {
                self.restage(session, Stage::Leaving(Destination::Shard(to)), io)
            }
            Output::Tunnel(session, to) => {
                self.restage(session, Stage::Leaving(Destination::Node(to)), io)
            }
            Output::EndTunnel(place) if self.has_client(place) => self.displace_client(place, io),
            Output::LoseOwner(place) if self.has_client(place) => {
                self.lose_client(place, TunnelFailure::Moved, io);
            }
            Output::LeaveTunnel(place) if self.has_client(place) => {
                self.leave_with_client(place, io);
            }
            Output::EndTunnel(place) => {
                self.tunnel(place, TunnelEvent::Displaced, io);
            }
            Output::LoseOwner(place) => self.tunnel(place, TunnelEvent::OwnerLost, io),
            Output::LeaveTunnel(place) => self.tunnel(place, TunnelEvent::Leave, io),
            Output::Admin(session) => self.restage(session, Stage::Leaving(Destination::Admin), io),
            Output::Close(session) => self.restage(session, Stage::Closing, io),
            Output::Abort(session) => {
                if !self.abort_stream(session) && !self.calls.note(session, Over::Failed) {
                    self.connections.abort(session, &mut io.counts);
                }
            }
            Output::Reset(session) => {
                if let Some(connection) = self.connections.get(session) {
                    connection.reset();
                }
            }
            Output::KeepAlive(session) => {
                if let Some(connection) = self.connections.get(session) {
                    connection.keep_alive();
                }
            }
            Output::Ask(session) => self.look(session),
            Output::Post(to, letter) => self.mail.post(to, letter, &mut io.counts),
            Output::Drained => self.mail.report_drained(),
        }
    }

    /// A session ends, or leaves. That of a call has nothing but its answer.
    fn restage(&mut self, session: SessionKey, to: Stage, io: &Io) {
        let is_stream = if to == Stage::Closing {
            self.close_stream(session)
        } else {
            self.abort_stream(session) // a link ends at the shard of its channels
        };
        if is_stream {
            return;
        }
        let over = if to == Stage::Closing {
            Over::Answered
        } else {
            Over::Failed
        };
        if !self.calls.note(session, over) {
            self.connections.restage(session, to, io);
        }
    }
}

// Calls that came over connections between nodes which are kept: sessions without a connection in the table.
//
// The bytes of a call go to its session as they come. When the machine has the session closed, all that it has to say
// is the answer: the end of the turn takes that, for the connection to carry, and lets the machine forget the session.
// The sender of a call that is not answered soon ([`KEPT_SLOW_MS`]) gets word that it is here: an answer says so too,
// and one that comes from another shard, or from the disk, mostly comes before.

/// The calls of one shard that are under way. As many as there are connections of other nodes at most.
#[derive(Debug, Default)]
struct Calls {
    all: BTreeMap<SessionKey, Call>,
    /// Those that are over, in order.
    over: VecDeque<(SessionKey, Over)>,
    /// Those that have come whole in this turn.
    whole: Vec<SessionKey>,
    /// When the senders of those that came whole before get word of them.
    due: BTreeSet<(Now, SessionKey)>,
}

/// A call that is under way.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// The number of its connection.
    place: u32,
    /// Its entry in [`Calls::due`].
    due: Option<Now>,
}

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// Its answer is whole.
    Answered,
    /// It has none.
    Failed,
}

impl Calls {
    /// The machine ends a session, or sends it elsewhere. False when that is no call.
    pub(crate) fn note(&mut self, session: SessionKey, over: Over) -> bool {
        let is_call = !self.all.is_empty() && self.all.contains_key(&session);
        if is_call {
            self.over.push_back((session, over));
        }
        is_call
    }

    fn begin(&mut self, session: SessionKey, place: u32) {
        self.all.insert(session, Call { place, due: None });
    }

    /// Forgets a call, if it is one that is under way.
    fn end(&mut self, session: SessionKey) -> bool {
        let Some(call) = self.all.remove(&session) else {
            return false;
        };
        if let Some(due) = call.due {
            self.due.remove(&(due, session));
        }
        true
    }

    /// The senders of those that have come whole in this turn, and are under way at its end, get word later.
    fn schedule(&mut self, now: Now) {
        let due = now.after(KEPT_SLOW_MS);
        for session in self.whole.drain(..) {
            if let Some(call) = self.all.get_mut(&session) {
                call.due = Some(due);
                self.due.insert((due, session));
            }
        }
    }

    /// A call whose sender is to get word of it, with the number of its connection.
    fn next_slow(&mut self, now: Now) -> Option<(SessionKey, u32)> {
        let &(due, session) = self.due.first().filter(|(due, _)| *due <= now)?;
        self.due.remove(&(due, session));
        let call = self.all.get_mut(&session)?;
        call.due = None;
        Some((session, call.place))
    }
}

impl<M: Machine> Sessions<M> {
    /// Gives the machine a session that was opened for a call, on the connection of this number; `tls`: its client has
    /// that.
    pub(crate) fn begin_call(
        &mut self,
        (session, place): (SessionKey, u32),
        tls: bool,
        io: &mut Io,
    ) {
        self.calls.begin(session, place);
        self.machine.brings_one_call(session);
        self.drain(io);
        if tls {
            self.feed(Input::Secured { session }, io);
        }
    }

    /// Gives the machine bytes of a call; `whole`: the last ones.
    pub(crate) fn call_came(
        &mut self,
        session: SessionKey,
        mut bytes: Vec<u8>,
        whole: bool,
        io: &mut Io,
    ) {
        if !self.calls.all.contains_key(&session) {
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
    pub(crate) fn lose_call(&mut self, session: SessionKey, io: &mut Io) {
        if self.calls.end(session) {
            let gone = Input::Gone {
                session,
                unacknowledged: 0,
            };
            self.feed(gone, io);
        }
    }

    /// Ends all, since the shard ends.
    pub(crate) fn end_calls(&mut self, io: &mut Io) {
        while let Some((&session, _)) = self.calls.all.first_key_value() {
            self.lose_call(session, io);
        }
    }

    /// Whether calls are to be answered at the end of the turn.
    pub(crate) fn has_answers(&self) -> bool {
        !self.calls.over.is_empty()
    }

    /// A call that is over, with the number of its connection and its answer: the machine forgets its session.
    pub(crate) fn next_answer(
        &mut self,
        io: &mut Io,
    ) -> Option<(SessionKey, u32, Option<Vec<u8>>)> {
        while let Some((session, over)) = self.calls.over.pop_front() {
            let Some(&Call { place, .. }) = self.calls.all.get(&session) else {
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
            self.report_sent(session, (bytes, bytes), io);
        }
        answer
    }

    /// Those that have come whole in this turn and are not over are given their time.
    pub(crate) fn schedule_calls(&mut self, now: Now) {
        self.calls.schedule(now);
    }

    /// A call that is not over in its time, with the number of its connection.
    pub(crate) fn next_slow_call(&mut self, now: Now) -> Option<(SessionKey, u32)> {
        self.calls.next_slow(now)
    }

    /// When the first of them is not over in its time.
    pub(crate) fn next_slow_due(&self) -> Option<Now> {
        self.calls.due.first().map(|&(due, _)| due)
    }
}

/// Times that a session is asked for more of its answer: it has all of it at once.
const PIECES_MAX: usize = 4;

#[cfg(test)]
mod calls_tests {
    use super::*;

    const NOW: Now = Now(1_000);

    fn keys<const N: usize>() -> [SessionKey; N] {
        std::array::from_fn(|slot| SessionKey::new(u32::try_from(slot).unwrap(), 1))
    }

    #[test]
    fn only_a_call_that_is_not_over_in_its_time_is_slow_and_only_once() {
        let mut calls = Calls::default();
        let [at_once, soon, late, partial] = keys();
        for (session, place) in [at_once, soon, late, partial].into_iter().zip(7..) {
            calls.begin(session, place);
        }
        calls.whole.extend([at_once, soon, late]);
        assert!(calls.end(at_once));
        calls.schedule(NOW);
        assert!(calls.whole.is_empty());
        assert!(calls.end(soon) && !calls.end(soon));
        let due = NOW.after(KEPT_SLOW_MS);
        assert_eq!(calls.next_slow(Now(due.0 - 1)), None);
        assert_eq!(calls.next_slow(due), Some((late, 9)));
        assert_eq!(calls.next_slow(due), None);
        assert!(calls.end(late) && calls.end(partial) && calls.due.is_empty());
    }

    #[test]
    fn what_is_no_call_is_not_noted() {
        let mut calls = Calls::default();
        let [call, other] = keys();
        assert!(!calls.note(call, Over::Answered));
        calls.begin(call, 0);
        assert!(calls.note(call, Over::Answered) && !calls.note(other, Over::Failed));
        assert_eq!(calls.over, [(call, Over::Answered)]);
    }
}
