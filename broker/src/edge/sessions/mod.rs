//! The sessions of a shard: the machine, and what brings bytes to it and away.
//!
//! The rule of the seam is kept here: after each input the machine's outputs are drained. Obeying an output only marks
//! the connection: what it means for the socket happens once a turn, when touched connections are flushed. So no output
//! is ever obeyed in the middle of another one's work.
//!
//! In reading order: this page; `intake.rs` (received bytes), `flush.rs` (sent ones), `farewell.rs` (the end of a
//! connection here), `returning.rs` (connections between nodes that outlive their session), `tunnels.rs` (sessions
//! whose owner is elsewhere), `calls.rs` (sessions without a connection).

mod calls;
mod farewell;
mod flush;
mod intake;
pub(crate) mod returning;
mod tunnels;

use crate::edge::connections::Connections;
use crate::edge::connections::connection::{Connection, Destination, Stage};
use crate::edge::io::Io;
use crate::edge::letters::mail::Mail;
use crate::edge::nodes::tunnel::{TunnelEvent, Tunnels};
use broker_core::address_shares::Origin;
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Machine, Output, Peer};
use broker_core::time::Moment;
use calls::{Calls, Over};

/// The machine of one shard, and wherever a session of it may be: on a connection, in a tunnel, or on its way to
/// another shard.
pub(crate) struct Sessions<M: Machine> {
    machine: M,
    connections: Connections,
    tunnels: Tunnels<M>,
    calls: Calls,
    mail: Mail<M>,
}

impl<M: Machine> Sessions<M> {
    /// No sessions but those that the machine may begin with.
    pub(crate) fn new(machine: M, mail: Mail<M>, tunnels: Tunnels<M>) -> Self {
        Self {
            machine,
            connections: Connections::default(),
            tunnels,
            calls: Calls::default(),
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

    /// Reports to the machine that this many bytes were handed to the kernel.
    pub(crate) fn report_sent(&mut self, session: SessionKey, bytes: usize, io: &mut Io) {
        io.turn.report();
        self.feed(Input::Sent { session, bytes }, io);
    }

    /// Obeys every output that waits.
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

    fn obey(&mut self, output: Output<M::Letter>, io: &mut Io) {
        match output {
            Output::Send(session) => self.connections.touch(session),
            Output::HandOver(session, to) => {
                self.restage(session, Stage::Leaving(Destination::Shard(to)), io)
            }
            Output::Tunnel(session, to) => {
                self.restage(session, Stage::Leaving(Destination::Node(to)), io)
            }
            Output::EndTunnel(place) => {
                self.tunnel(place, TunnelEvent::Displaced, io);
            }
            Output::LoseOwner(place) => self.tunnel(place, TunnelEvent::OwnerLost, io),
            Output::LeaveTunnel(place) => self.tunnel(place, TunnelEvent::Leave, io),
            Output::Admin(session) => self.restage(session, Stage::Leaving(Destination::Admin), io),
            Output::Close(session) => self.restage(session, Stage::Closing, io),
            Output::Abort(session) => {
                if !self.calls.note(session, Over::Failed) {
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
            Output::Post(to, letter) => self.mail.post(to, letter, &mut io.counts),
            Output::Drained => self.mail.report_drained(),
        }
    }

    /// A session ends, or leaves. That of a call has nothing but its answer.
    fn restage(&mut self, session: SessionKey, to: Stage, io: &Io) {
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
