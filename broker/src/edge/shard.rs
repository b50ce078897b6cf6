//! One shard's edge: its state, and the interface to the machine.
//!
//! The rule of the seam is kept here: after each input the machine's outputs are drained. Obeying an output only marks
//! the connection: what it means for the socket happens once a turn, when touched connections are flushed. So no output
//! is ever obeyed in the middle of another one's work.

use super::accept::Accepting;
use super::connections::Connections;
use super::connections::connection::{Destination, Stage};
use super::io::Io;
use super::letters::post::Post;
use super::nodes::inner::Inners;
use super::nodes::links::Links;
use super::nodes::tunnel::Tunnels;
use super::start::{ShardConfig, ShardEvent, TakeAdmin};
use broker_core::id::{SessionKey, ShardId};
use broker_core::machine::{Input, Machine, Output};
use broker_core::time::Moment;
use crossbeam_channel::Sender;
use mailbox::Mailbox;
use ring::Ring;
use std::collections::VecDeque;
use std::sync::Arc;

/// Everything one shard owns. Lives on its thread, from spawn to stop.
pub(super) struct Edge<M: Machine> {
    pub(super) io: Io,
    pub(super) machine: M,
    pub(super) connections: Connections,
    pub(super) id: ShardId,
    pub(super) mailboxes: Arc<[Mailbox<Post<M>>]>,
    pub(super) listeners: Vec<Accepting>,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) links: Option<Arc<Links>>,
    pub(super) admin: Option<TakeAdmin>,
    pub(super) tunnels: Tunnels<M>,
    pub(super) inners: Inners,
    pub(super) events: Sender<ShardEvent>,
    /// Letters of the machine that found no room, to be handed back.
    refused: VecDeque<M::Letter>,
    /// Who waits until all is done that is due since the clocks were moved.
    pub(super) shifted: Option<Sender<(ShardId, Moment)>>,
}

impl<M: Machine> Edge<M> {
    /// An edge with nothing armed. Call it on the shard's own thread.
    pub(super) fn new(id: ShardId, ring: Ring, config: ShardConfig<M>, machine: M) -> Self {
        let listeners = config.listeners.into_iter().map(Accepting::new).collect();
        Self {
            io: Io::new(ring, config.settings, config.descriptors),
            machine,
            connections: Connections::default(),
            id,
            mailboxes: config.mailboxes,
            listeners,
            tls: config.tls,
            links: config.links,
            admin: config.admin,
            tunnels: Tunnels::default(),
            inners: Inners::default(),
            events: config.events,
            refused: VecDeque::new(),
            shifted: None,
        }
    }

    /// The shard's own mailbox.
    pub(super) fn mailbox(&self) -> &Mailbox<Post<M>> {
        &self.mailboxes[self.id.index()]
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
            let Some(letter) = self.refused.pop_front() else {
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
            Output::EndTunnel(place) => self.displace_tunnel(place),
            Output::Admin(session) => {
                self.connections
                    .restage(session, Stage::Leaving(Destination::Admin), &self.io)
            }
            Output::Close(session) => self.connections.restage(session, Stage::Closing, &self.io),
            Output::Abort(session) => self.connections.abort(session, &mut self.io.counts),
            Output::Reset(session) => self.connections.reset(session),
            Output::Post(to, letter) => self.post(to, letter),
            // The receiver is the server's; when it is gone, the process is ending anyway.
            Output::Drained => drop(self.events.try_send(ShardEvent::Drained(self.id))),
        }
    }

    /// Posts a letter of the machine: a question may be refused, whatever must arrive uses the reserve.
    fn post(&mut self, to: ShardId, letter: M::Letter) {
        let mailbox = &self.mailboxes[to.index()];
        let posted = if M::refusable(&letter) {
            mailbox.post(Post::Letter(letter))
        } else {
            mailbox.post_always(Post::Letter(letter))
        };
        let Err(refused) = posted else { return };
        self.io.counts.mailbox_refused += 1;
        let Post::Letter(letter) = refused else {
            return debug_assert!(false, "a mailbox returns what it was given");
        };
        self.refused.push_back(letter);
    }
}
