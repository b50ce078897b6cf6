//! A shard's sessions, which exchange inputs and outputs with the state machine.
//!
//! The state machine's contract requires that all outputs are drained after each input. This module ensures that.
//! Handling an output only marks the connection. Its socket is used once per loop iteration, when marked connections
//! are flushed. Outputs are therefore never handled recursively.
//!
//! In reading order: this module; `intake.rs` (receiving), `flush.rs` (sending), `end.rs` (how a connection leaves this
//! shard or closes), `front.rs` (clients whose channels are on other nodes), `links.rs` (links), `stream.rs` (sessions
//! on streams of links).

mod end;
mod flush;
mod front;
mod intake;
mod links;
mod proxies;
mod stream;

use crate::devices::Devices;
use crate::edge::connection::{Connection, Destination, Stage};
use crate::edge::limits::ORPHAN_BYTES;
use crate::edge::streams::Streams;
use crate::edge::{connections::Connections, io::Io, letters::Mail};
use broker_core::machine::{Input, Machine, Output, PassFailure, Peer};
use broker_core::time::Moment;
use broker_core::{address_shares::Origin, id::SessionKey};
use std::sync::Arc;

/// A shard's state machine and its sessions. A session may be on a connection, on a link, or in transit to another
/// shard.
pub(crate) struct Sessions<M: Machine> {
    machine: M,
    connections: Connections,
    streams: Streams<M>,
    /// The devices that the certificates on open connections are currently checked against.
    devices: Option<Arc<Devices>>,
    mail: Mail<M>,
}

impl<M: Machine> Sessions<M> {
    /// Creates the sessions of a state machine. Initially, only the sessions that the machine starts with exist.
    pub(crate) fn new(machine: M, mail: Mail<M>, streams: Streams<M>) -> Self {
        Self {
            machine,
            connections: Connections::default(),
            streams,
            devices: None,
            mail,
        }
    }

    #[inline]
    pub(crate) fn machine(&self) -> &M {
        &self.machine
    }

    /// Returns the state machine, for calls that are not inputs. If such a call may produce outputs, the caller must
    /// handle them with [`Self::drain`].
    #[inline]
    pub(crate) fn machine_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    #[inline]
    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    #[inline]
    pub(crate) fn connections_mut(&mut self) -> &mut Connections {
        &mut self.connections
    }

    /// Sets the devices that the certificates on open connections are checked against.
    pub(crate) fn judge_by(&mut self, devices: Option<Arc<Devices>>) {
        self.devices = devices;
    }

    /// Returns the shard's links and the streams on them.
    #[inline]
    pub(crate) fn streams(&self) -> &Streams<M> {
        &self.streams
    }

    #[inline]
    pub(crate) fn mail(&self) -> &Mail<M> {
        &self.mail
    }

    /// Opens a session for an accepted connection. If `full` is set, evicts another session first. Returns `None` if no
    /// session can be evicted.
    pub(crate) fn open(&mut self, peer: Peer, full: bool, at: Moment) -> Option<SessionKey> {
        if full {
            self.machine.open_instead(peer, at)
        } else {
            self.machine.open(peer, at)
        }
    }

    /// Adds a newly opened session's connection. `tls` specifies whether a TLS handshake follows.
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

    /// Ensures that a connection's receive is armed or paused as required. See [`Connections::watch`].
    #[inline]
    pub(crate) fn watch(&mut self, session: SessionKey, io: &mut Io) {
        self.connections.watch(session, &self.machine, &mut io.ring);
    }

    /// Rearms some of the queued receives. See [`Connections::rearm_some`].
    pub(crate) fn rearm_some(&mut self, io: &mut Io) {
        self.connections.rearm_some(&self.machine, &mut io.ring);
    }

    /// Passes an input to the state machine and handles the resulting outputs. Does not accept [`Input::Received`],
    /// whose bytes are borrowed from this struct. Callers pass that input to the state machine themselves, and then
    /// call [`Self::drain`].
    pub(crate) fn feed(&mut self, input: Input<'_, M::Letter>, io: &mut Io) {
        self.machine.handle(input, io.turn.at());
        self.drain(io);
    }

    /// Tells the state machine how many bytes of a session the kernel has accepted, and their size on the wire.
    fn report_sent(&mut self, session: SessionKey, (bytes, on_wire): (usize, usize), io: &mut Io) {
        io.turn.report();
        let sent = Input::Sent {
            session,
            bytes,
            on_wire,
        };
        self.feed(sent, io);
    }

    /// Handles all pending outputs.
    pub(crate) fn drain(&mut self, io: &mut Io) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.obey(output, io);
            }
            let Some(letter) = self.mail.next_refused() else {
                return;
            };
            self.machine.handle(Input::Refused(letter), io.turn.at());
        }
    }

    /// Tells the state machine how many bytes a session's peer has not acknowledged. If the connection lingers only to
    /// wait for acknowledgements, closes it once almost no unacknowledged bytes are left.
    fn look(&mut self, session: SessionKey, io: &mut Io) {
        let Some(connection) = self.connections.get(session) else {
            return self.look_at_stream(session, io);
        };
        let bytes = connection.unacknowledged();
        let round_trip_ms = match bytes {
            0 => 0,
            1.. => connection.round_trip_ms(),
        };
        let lingers = connection.stage == Stage::Lingering && connection.ended;
        self.tell_unacknowledged(session, bytes, round_trip_ms, io);
        if lingers && bytes <= ORPHAN_BYTES {
            self.connections.cut(session, &mut io.counts);
        }
    }

    /// Tells the state machine how many bytes a session's peer has not acknowledged, and the connection's round-trip
    /// time.
    fn tell_unacknowledged(
        &mut self,
        session: SessionKey,
        bytes: u32,
        round_trip_ms: u32,
        io: &Io,
    ) {
        let input = Input::Unacknowledged {
            session,
            bytes,
            round_trip_ms,
        };
        self.machine.handle(input, io.turn.at());
    }

    fn obey(&mut self, output: Output<M::Letter>, io: &mut Io) {
        match output {
            Output::Send(session) => self.connections.touch(session),
            Output::HandOver(session, to) => {
                self.restage(session, Stage::Leaving(Destination::Shard(to)), io)
            }
            Output::PassOn(session, to) => {
                self.restage(session, Stage::Leaving(Destination::Node(to)), io)
            }
            Output::Displace(place) => self.displace_client(place, io),
            Output::LoseOwner(place) => self.lose_client(place, PassFailure::Moved, io),
            Output::Leave(place) => self.leave_with_client(place, io),
            Output::Admin(session) => self.restage(session, Stage::Leaving(Destination::Admin), io),
            Output::Close(session) => self.restage(session, Stage::Closing, io),
            Output::Abort(session) => match self.connections.table.stream(session) {
                Some(_) => self.abort_stream(session),
                None => self.connections.abort(session, &mut io.counts),
            },
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
            Output::Ask(session) => self.look(session, io),
            Output::Post(to, letter) => self.mail.post(to, *letter, &mut io.counts),
            Output::Drained => self.mail.report_drained(),
        }
    }

    /// Advances the stage of a session that is closing or leaving.
    fn restage(&mut self, session: SessionKey, to: Stage, io: &Io) {
        match self.connections.table.stream(session) {
            None => self.connections.restage(session, to, io),
            Some(stream) if to == Stage::Closing => {
                stream.is_closing = true;
                self.connections.touch(session);
            }
            Some(_) => self.abort_stream(session), // // a stream already ends at the shard of its channel
        }
    }
}
