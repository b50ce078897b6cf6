//! A shard's sessions, which exchange inputs and outputs with the state machine.
//!
//! The state machine's contract requires that all outputs are drained after each input. This module ensures that.
//! Handling an output only marks the connection. Its socket is used once per loop iteration, when marked connections
//! are flushed. Outputs are therefore never handled recursively.
//!
//! In reading order: this module (outputs, sending); `intake.rs` (receiving), `end.rs` (how a connection leaves this
//! shard or closes), `front.rs` (clients whose channels are on other nodes), `links.rs` (links), `stream.rs` (sessions
//! on streams of links).

mod end;
mod front;
mod intake;
mod links;
mod stream;

use crate::devices::Devices;
use crate::edge::connection::{Destination, Receive, Stage, Written, ring_key, widen};
use crate::edge::limits::{ENCRYPT_BYTES, ENCRYPTS_PER_TURN, ORPHAN_BYTES};
use crate::edge::{connections::Connections, io::Io, letters::Mail};
use crate::edge::{streams::Streams, table::Transport, tls::Piece};
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Machine, Output, PassFailure, Peer};
use broker_core::time::Moment;
use socket2::SockRef;
use std::net::Shutdown;
use std::sync::Arc;

/// A shard's state machine and its sessions. A session may be on a connection, on a link, or in transit to another
/// shard.
pub(crate) struct Sessions<M: Machine> {
    /// The state machine. [`Self::drain`] must handle its outputs after every call that may produce any.
    pub(crate) machine: M,
    pub(crate) connections: Connections,
    pub(crate) streams: Streams<M>,
    /// The devices that the certificates on open connections are currently checked against.
    pub(crate) devices: Option<Arc<Devices>>,
    pub(crate) mail: Mail<M>,
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

    /// Opens a session for an accepted connection. If `full` is set, evicts another session first. Returns `None` if no
    /// session can be evicted.
    pub(crate) fn open(&mut self, peer: Peer, full: bool, at: Moment) -> Option<SessionKey> {
        if full {
            self.machine.open_instead(peer, at)
        } else {
            self.machine.open(peer, at)
        }
    }

    /// Ensures that a connection's receive is armed or paused as required. See [`Connections::watch`].
    #[inline]
    pub(crate) fn watch(&mut self, session: SessionKey, io: &mut Io) {
        self.connections.watch(session, &self.machine, &mut io.ring);
    }

    /// Passes an input to the state machine and handles the resulting outputs. Does not accept [`Input::Received`],
    /// whose bytes are borrowed from this struct. Callers pass that input to the state machine themselves, and then
    /// call [`Self::drain`].
    pub(crate) fn feed(&mut self, input: Input<'_, M::Letter>, io: &mut Io) {
        self.machine.handle(input, io.turn.at());
        self.drain(io);
    }

    /// Tells the state machine how many of a session's bytes the kernel has accepted, and their size on the wire.
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
                    Output::Admin(session) => {
                        self.restage(session, Stage::Leaving(Destination::Admin), io)
                    }
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
            let Some(letter) = self.mail.refused.pop_front() else {
                return;
            };
            self.machine.handle(Input::Refused(letter), io.turn.at());
        }
    }

    /// Tells the state machine how many bytes a session's peer has not acknowledged. If the connection lingers only to
    /// wait for acknowledgements, closes it once almost no unacknowledged bytes are left. For a session on a stream,
    /// reports what this node knows, and asks the client's node for the current number.
    fn look(&mut self, session: SessionKey, io: &mut Io) {
        match self.connections.table.transport(session) {
            None => {}
            Some(Transport::Socket(connection)) => {
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
            Some(&mut Transport::Stream(stream)) => {
                if let Some(link) = self.streams.link(stream.link) {
                    link.streams.ask(stream.id);
                    let bytes = link.streams.unconfirmed(stream.id);
                    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                    self.tell_unacknowledged(session, bytes, stream.round_trip_ms, io);
                }
                self.streams.wires.touch(stream.link);
            }
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

    /// Advances the stage of a session that is closing or leaving.
    fn restage(&mut self, session: SessionKey, to: Stage, io: &Io) {
        match self.connections.table.stream(session) {
            None => self.connections.restage(session, to, io),
            Some(stream) if to == Stage::Closing => {
                stream.is_closing = true;
                self.connections.touch(session);
            }
            Some(_) => self.abort_stream(session), // a stream already ends on the shard that serves its channel
        }
    }
}

// Sends the sessions' output. Each connection that has bytes to send is flushed once per loop iteration.
//
// Usually, a single send(2) transfers everything. If the socket's buffer is full, the rest is copied, at most 256 KiB
// at a time, into a buffer that the ring sends. The edge reports to the state machine that those bytes are in flight.
// It reports `Sent` once the kernel has accepted the last byte. With TLS, this is the last byte of ciphertext.

/// The outcome of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing is left unsent or in flight.
    All,
    /// The remaining bytes are in flight, or will be sent in the next loop iteration.
    Waiting,
    /// The connection is broken, so nothing more can be sent.
    Broken,
}

impl<M: Machine> Sessions<M> {
    /// Sends all unsent bytes. With TLS, they are encrypted and sent piece by piece. Without TLS, they are sent at
    /// once.
    pub(crate) fn flush(&mut self, session: SessionKey, io: &mut Io) -> Flushed {
        for _ in 0..ENCRYPTS_PER_TURN {
            let Some(connection) = self.connections.get_mut(session) else {
                return Flushed::Broken;
            };
            if connection.broken {
                return Flushed::Broken;
            }
            if connection.sending {
                return Flushed::Waiting;
            }
            let handshaking = connection.handshaking();
            let is_plain = connection.tls.is_none();
            let bytes = match connection.tls {
                None => self.machine.unsent(session),
                Some(_) if handshaking => &[],
                Some(_) => self.machine.unsent_record(session),
            };
            let most = if is_plain { usize::MAX } else { ENCRYPT_BYTES };
            let bytes = &bytes[..bytes.len().min(most)];
            let is_last = || handshaking || bytes.len() == self.machine.unsent(session).len();
            let piece = Piece {
                bytes,
                record_bytes: usize::MAX,
                is_last: connection.stage == Stage::Closing && is_last(),
            };
            let Some(Written { plain, on_wire }) = connection.write(ring_key(session), piece, io)
            else {
                return self.sunk(session, io);
            };
            let is_waiting = connection.sending;
            if is_waiting && connection.launched > 0 {
                let taken = plain + connection.launched as usize;
                if self.machine.launched(session, taken) {
                    widen(&connection.socket);
                }
            }
            if plain > 0 || (is_waiting && on_wire > 0) {
                self.report_sent(session, (plain, on_wire), io);
            }
            match (is_waiting, on_wire) {
                (true, _) => return Flushed::Waiting,
                (false, 0) => return Flushed::All,
                (false, 1..) if is_plain => break,
                (false, 1..) => {}
            }
        }
        if self.machine.unsent(session).is_empty() {
            return Flushed::All;
        }
        self.connections.touch(session); // the rest is sent in the next turn
        Flushed::Waiting
    }

    /// Handles the completion of a send.
    pub(crate) fn sent(&mut self, key: SessionKey, flight: Vec<u8>, on_wire: usize, io: &mut Io) {
        let Some(connection) = self.connections.get_mut(key) else {
            return debug_assert!(false, "a connection outlives its send");
        };
        let (plain, is_whole) = connection.landed(flight, on_wire, io);
        if plain > 0 {
            self.report_sent(key, (plain, on_wire), io);
        }
        if !is_whole {
            self.sunk(key, io);
        }
        self.connections.touch(key);
    }

    /// Handles a broken connection. Reads any bytes that the peer sent earlier, and then tells the state machine that
    /// the connection has ended.
    pub(crate) fn sunk(&mut self, session: SessionKey, io: &mut Io) -> Flushed {
        let Some(connection) = self.connections.get_mut(session) else {
            return Flushed::Broken;
        };
        connection.broken = true;
        let _ = SockRef::from(&connection.socket).shutdown(Shutdown::Both);
        if connection.stage != Stage::Open {
            self.connections.touch(session);
        } else if connection.receive == Receive::Idle {
            // The end must be reported here, since a paused connection has no armed receive whose completion could
            // report it.
            self.ended(session, io);
        }
        Flushed::Broken
    }
}
