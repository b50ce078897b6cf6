//! One shard's edge: its state, and the interface to the machine.
//!
//! The rule of the seam is kept here: after each input the machine's outputs are drained. Obeying an output only marks
//! the connection: what it means for the socket happens once a turn, when touched connections are flushed. So no output
//! is ever obeyed in the middle of another one's work.

use super::connections::Connections;
use super::connections::connection::{Destination, Stage};
use super::io::Io;
use super::letters::mail::Mail;
use super::listeners::Listeners;
use super::nodes::inner::Inners;
use super::nodes::tunnel::Tunnels;
use super::start::ShardConfig;
use broker_core::id::{SessionKey, ShardId};
use broker_core::machine::{Input, Machine, Output};
use broker_core::time::Moment;
use crossbeam_channel::Sender;
use ring::Ring;

/// Everything one shard owns. Lives on its thread, from spawn to stop.
pub(super) struct Edge<M: Machine> {
    pub(super) io: Io,
    pub(super) machine: M,
    pub(super) connections: Connections,
    pub(super) mail: Mail<M>,
    pub(super) listeners: Listeners,
    pub(super) tunnels: Tunnels<M>,
    pub(super) inners: Inners,
    /// Who waits until all is done that is due since the clocks were moved.
    pub(super) shifted: Option<Sender<(ShardId, Moment)>>,
}

impl<M: Machine> Edge<M> {
    /// An edge with nothing armed. Call it on the shard's own thread.
    pub(super) fn new(id: ShardId, ring: Ring, config: ShardConfig<M>, machine: M) -> Self {
        Self {
            io: Io::new(ring, config.settings, config.descriptors),
            machine,
            connections: Connections::default(),
            mail: Mail::new(id, config.mailboxes, config.events),
            listeners: Listeners::new(config.listeners, config.tls),
            inners: Inners::new(config.links.clone()),
            tunnels: Tunnels::new(id, config.links, config.admin),
            shifted: None,
        }
    }

    /// Gives the machine an input and obeys its outputs. Not for [`Input::Received`], whose bytes are borrowed from
    /// here: that one is handled in place and followed by [`Self::drain`].
    pub(super) fn feed(&mut self, input: Input<'_, M::Letter>) {
        self.machine.handle(input, self.io.turn.at());
        self.drain();
    }

    /// Reports to the machine that this many bytes were handed to the kernel.
    pub(super) fn report_sent(&mut self, session: SessionKey, bytes: usize) {
        self.io.turn.report();
        self.feed(Input::Sent { session, bytes });
    }

    /// Obeys every output that waits.
    pub(super) fn drain(&mut self) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.obey(output);
            }
            let Some(letter) = self.mail.next_refused() else {
                return;
            };
            self.machine
                .handle(Input::Refused(letter), self.io.turn.at());
        }
    }

    fn obey(&mut self, output: Output<M::Letter>) {
        match output {
            Output::Send(session) => self.connections.touch(session),
            Output::HandOver(session, to) => {
                self.connections
                    .restage(session, Stage::Leaving(Destination::Shard(to)), &self.io)
            }
            Output::Tunnel(session, to) => {
                self.connections
                    .restage(session, Stage::Leaving(Destination::Node(to)), &self.io)
            }
            Output::EndTunnel(place) => {
                let settled = self
                    .tunnels
                    .displace(place, &mut self.machine, &mut self.io);
                self.settled(settled);
            }
            Output::Admin(session) => {
                self.connections
                    .restage(session, Stage::Leaving(Destination::Admin), &self.io)
            }
            Output::Close(session) => self.connections.restage(session, Stage::Closing, &self.io),
            Output::Abort(session) => self.connections.abort(session, &mut self.io.counts),
            Output::Reset(session) => self.connections.reset(session),
            Output::Post(to, letter) => self.mail.post(to, letter, &mut self.io.counts),
            Output::Drained => self.mail.report_drained(),
        }
    }
}
