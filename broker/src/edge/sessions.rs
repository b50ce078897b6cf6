//! Sessions of a shard: the machine, and the ways of bytes to it and from it.
//!
//! The rule of the interface is kept here: after each input the machine's outputs are drained. Handling an output only
//! marks the connection: its effect on the socket happens once a turn, when touched connections are flushed. So no
//! output is ever handled in the middle of another one's work.
//!
//! In reading order: this page; `intake.rs` (received bytes), `flush.rs` (sent ones), `end.rs` (the end of a connection
//! here), `departed.rs` (sessions whose owner is elsewhere), `front.rs` (their clients), `links.rs` (links),
//! `served.rs` (sessions of clients of other nodes).

mod departed;
mod end;
mod flush;
mod front;
mod intake;
mod links;
mod proxies;
mod served;

use crate::devices::Devices;
use crate::edge::connection::{Connection, Destination, Stage};
use crate::edge::limits::ORPHAN_BYTES;
use crate::edge::streams::Streams;
use crate::edge::{connections::Connections, io::Io, letters::Mail};
use broker_core::machine::{Input, Machine, Output, PassFailure, Peer};
use broker_core::time::Moment;
use broker_core::{address_shares::Origin, id::SessionKey};
use std::collections::VecDeque;
use std::sync::Arc;

/// The machine of one shard, and wherever a session of it may be: on a connection, on a link, or on its way to another
/// shard.
pub(crate) struct Sessions<M: Machine> {
    machine: M,
    connections: Connections,
    streams: Streams<M>,
    /// Unacknowledged bytes of the peers of sessions, for the machine that has asked: bytes, and the round trip.
    told: VecDeque<(SessionKey, u32, u32)>,
    /// Devices in force, by which certificates of open connections are checked.
    devices: Option<Arc<Devices>>,
    mail: Mail<M>,
}

impl<M: Machine> Sessions<M> {
    /// No sessions but those that the machine may begin with.
    pub(crate) fn new(machine: M, mail: Mail<M>, streams: Streams<M>) -> Self {
        Self {
            machine,
            connections: Connections::default(),
            streams,
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

    /// The machine, for calls that are not inputs. Outputs may follow: see [`Self::drain`].
    #[inline]
    pub(crate) fn machine_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    /// The connections of clients.
    #[inline]
    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Mutable version of [`Self::connections`].
    #[inline]
    pub(crate) fn connections_mut(&mut self) -> &mut Connections {
        &mut self.connections
    }

    /// Sets the devices by which certificates of open connections are checked.
    pub(crate) fn judge_by(&mut self, devices: Option<Arc<Devices>>) {
        self.devices = devices;
    }

    /// The links.
    #[inline]
    pub(crate) fn streams(&self) -> &Streams<M> {
        &self.streams
    }

    /// The shard's mail.
    #[inline]
    pub(crate) fn mail(&self) -> &Mail<M> {
        &self.mail
    }

    /// Opens a session for an accepted connection; where it is `full`, another one is evicted. `None` when there is
    /// none.
    pub(crate) fn open(&mut self, peer: Peer, full: bool, at: Moment) -> Option<SessionKey> {
        if full {
            self.machine.open_instead(peer, at)
        } else {
            self.machine.open(peer, at)
        }
    }

    /// Adds the connection of a session opened just now; `tls` if its handshake follows.
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

    /// Makes sure that a connection is read as it should be; see [`Connections::watch`].
    #[inline]
    pub(crate) fn watch(&mut self, session: SessionKey, io: &mut Io) {
        self.connections.watch(session, &self.machine, &mut io.ring);
    }

    /// Arms some of the listed receives again; see [`Connections::rearm_some`].
    pub(crate) fn rearm_some(&mut self, io: &mut Io) {
        self.connections.rearm_some(&self.machine, &mut io.ring);
    }

    /// Gives the machine an input and handles its outputs. Not for [`Input::Received`], whose bytes are borrowed from
    /// here: that one is handled in place and followed by [`Self::drain`].
    pub(crate) fn feed(&mut self, input: Input<'_, M::Letter>, io: &mut Io) {
        self.machine.handle(input, io.turn.at());
        self.drain(io);
    }

    /// Reports bytes that were passed to the kernel to the machine, with their number on the wire.
    fn report_sent(&mut self, session: SessionKey, (bytes, on_wire): (usize, usize), io: &mut Io) {
        io.turn.report();
        let sent = Input::Sent {
            session,
            bytes,
            on_wire,
        };
        self.feed(sent, io);
    }

    /// Handles every pending output.
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

    /// Queries the unacknowledged bytes of a session's peer, before anything else is done to its socket.
    fn look(&mut self, session: SessionKey, io: &mut Io) {
        let Some(connection) = self.connections.get(session) else {
            self.told.extend(self.streams.look(session));
            return;
        };
        let bytes = connection.unacknowledged();
        let round_trip_ms = match bytes {
            0 => 0,
            1.. => connection.round_trip_ms(),
        };
        self.told.push_back((session, bytes, round_trip_ms));
        if bytes <= ORPHAN_BYTES {
            self.has_read(session, io);
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
            Output::PassOn(session, to) => {
                self.restage(session, Stage::Leaving(Destination::Node(to)), io)
            }
            Output::Displace(place) => self.displace_client(place, io),
            Output::LoseOwner(place) => self.lose_client(place, PassFailure::Moved, io),
            Output::Leave(place) => self.leave_with_client(place, io),
            Output::Admin(session) => self.restage(session, Stage::Leaving(Destination::Admin), io),
            Output::Close(session) => self.restage(session, Stage::Closing, io),
            Output::Abort(session) => {
                if !self.abort_stream(session) {
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
            Output::Ask(session) => self.look(session, io),
            Output::Post(to, letter) => self.mail.post(to, *letter, &mut io.counts),
            Output::Drained => self.mail.report_drained(),
        }
    }

    /// A session ends, or leaves.
    fn restage(&mut self, session: SessionKey, to: Stage, io: &Io) {
        let is_stream = if to == Stage::Closing {
            self.close_stream(session)
        } else {
            self.abort_stream(session) // a link ends at the shard of its channels
        };
        if !is_stream {
            self.connections.restage(session, to, io);
        }
    }
}
