//! One shard's edge: its state, and the interface to the machine.
//!
//! The rule of the seam is kept here: after each input the machine's outputs are drained. Obeying an output only marks
//! the connection: what it means for the socket happens once a turn, when touched connections are flushed. So no output
//! is ever obeyed in the middle of another one's work.

use super::accept::Accepting;
use super::connections::connection::{Connection, Destination, Receive, Stage, Standing};
use super::connections::table::Table;
use super::io::Io;
use super::letters::post::Post;
use super::nodes::inner::Inners;
use super::nodes::links::Links;
use super::nodes::tunnel::Tunnels;
use super::start::{ShardConfig, ShardEvent, TakeAdmin};
use broker_core::crowd::Crowd;
use broker_core::id::{SessionKey, ShardId};
use broker_core::machine::{Input, Intake, Machine, Output};
use broker_core::time::{Moment, Now};
use crossbeam_channel::Sender;
use mailbox::Mailbox;
use ring::Ring;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Everything one shard owns. Lives on its thread, from spawn to stop.
pub(super) struct Edge<M: Machine> {
    pub(super) io: Io,
    pub(super) machine: M,
    pub(super) table: Table,
    pub(super) id: ShardId,
    pub(super) mailboxes: Arc<[Mailbox<Post<M>>]>,
    pub(super) listeners: Vec<Accepting>,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) links: Option<Arc<Links>>,
    pub(super) admin: Option<TakeAdmin>,
    pub(super) tunnels: Tunnels<M>,
    pub(super) inners: Inners,
    pub(super) events: Sender<ShardEvent>,
    /// Connections to flush at the end of this turn, each once.
    pub(super) dirty: Vec<SessionKey>,
    /// Connections whose receive is to be armed again, in turn.
    pub(super) rearm: VecDeque<SessionKey>,
    /// Connections that the machine has not let in, by address.
    pub(super) guests: Crowd<SessionKey>,
    /// Handshakes under way by address.
    pub(super) shaking: Crowd<SessionKey>,
    /// Bytes as they came from the sockets of connections that were already leaving: they travel with them.
    /// Nearly always empty.
    pub(super) unread: BTreeMap<SessionKey, Vec<u8>>,
    /// The edge's own deadlines, one a connection at most.
    pub(super) overdue: BTreeSet<(Now, SessionKey)>,
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
            table: Table::default(),
            id,
            mailboxes: config.mailboxes,
            listeners,
            tls: config.tls,
            links: config.links,
            admin: config.admin,
            tunnels: Tunnels::default(),
            inners: Inners::default(),
            events: config.events,
            dirty: Vec::new(),
            rearm: VecDeque::new(),
            guests: Crowd::default(),
            shaking: Crowd::default(),
            unread: BTreeMap::new(),
            overdue: BTreeSet::new(),
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
            Output::Send(session) => self.touch(session),
            Output::HandOver(session, to) => {
                self.restage(session, Stage::Leaving(Destination::Shard(to)))
            }
            Output::Tunnel(session, to) => {
                self.restage(session, Stage::Leaving(Destination::Node(to)))
            }
            Output::EndTunnel(place) => self.displace_tunnel(place),
            Output::Admin(session) => self.restage(session, Stage::Leaving(Destination::Admin)),
            Output::Close(session) => self.restage(session, Stage::Closing),
            Output::Abort(session) => self.abort(session),
            Output::Reset(session) => self.reset(session),
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

    /// Puts a connection on the list of those to flush in this turn.
    pub(super) fn touch(&mut self, session: SessionKey) {
        if let Some(connection) = self.table.get_mut(session)
            && !std::mem::replace(&mut connection.dirty, true)
        {
            self.dirty.push(session);
        }
    }

    /// Moves a connection on. Never back: one that is closing does not leave, one that is shut stays shut.
    fn restage(&mut self, session: SessionKey, to: Stage) {
        let Some(connection) = self.table.get_mut(session) else {
            return;
        };
        let onward = match (connection.stage, to) {
            (Stage::Open, Stage::Leaving(_) | Stage::Closing)
            | (Stage::Leaving(_), Stage::Closing) => true,
            (
                Stage::Open | Stage::Leaving(_) | Stage::Closing | Stage::Lingering | Stage::Shut,
                _,
            ) => false,
        };
        if onward {
            connection.stage = to;
            if let Stage::Leaving(_) = to {
                self.limit_leaving(session);
            }
            self.touch(session);
        }
    }

    /// Sees to it that a connection is read as it should be: armed, listed, paused, or awaited at its end.
    ///
    /// Called after everything that may change the answer; an open connection that is neither armed nor listed nor
    /// paused after it would be forgotten.
    pub(super) fn watch(&mut self, session: SessionKey) {
        let Some(connection) = self.table.get_mut(session) else {
            return;
        };
        let wanted = match connection.stage {
            Stage::Open if connection.ended => return,
            Stage::Open if connection.handshaking() => Intake::Once,
            Stage::Open => self.machine.intake(session),
            Stage::Lingering if !connection.ended => Intake::Once,
            Stage::Leaving(_) => Intake::Paused,
            Stage::Closing | Stage::Lingering | Stage::Shut => return,
        };
        if wanted == Intake::Paused
            && let Some(tls) = &mut connection.tls
        {
            tls.pause();
        }
        let socket = std::os::fd::AsFd::as_fd(&connection.socket);
        let key = super::connections::connection::ring_key(session);
        match (wanted, connection.receive) {
            (Intake::Once, Receive::Idle) => {
                self.io.ring.receive_once(socket, key);
                connection.receive = Receive::Once;
            }
            (Intake::Many, Receive::Idle) => {
                // What a peer sends first after it was let in may be its close frame: with nothing armed behind that,
                // the descriptor is closed without another step.
                let is_first = connection.standing != Standing::Admitted;
                if connection.floods() || (is_first && connection.tls.is_none()) {
                    self.io.ring.receive_once(socket, key);
                    connection.receive = Receive::Once;
                } else {
                    self.io.ring.receive_many(socket, key);
                    connection.receive = Receive::Many;
                }
                self.settle_guest(session);
            }
            (Intake::Paused, Receive::Once | Receive::Many) => {
                self.io.ring.cancel_receive(key);
                connection.receive = Receive::Cancelling;
            }
            (Intake::Paused, Receive::Idle)
            | (Intake::Once | Intake::Many, Receive::Once | Receive::Many)
            | (_, Receive::Listed | Receive::Queued | Receive::Cancelling) => {}
        }
    }

    /// Lists a connection whose receive is over but should go on, behind all others.
    pub(super) fn list(&mut self, session: SessionKey) {
        if let Some(connection) = self.table.get_mut(session)
            && connection.receive == Receive::Idle
        {
            connection.receive = Receive::Listed;
            self.rearm.push_back(session);
        }
    }

    /// Takes a connection in under the machine's key.
    pub(super) fn insert(&mut self, session: SessionKey, connection: Connection) {
        if let Some(tls) = &connection.tls {
            self.io.counts.handshaking += u64::from(tls.handshaking());
        }
        self.table.insert(session, connection);
        self.recharge(session);
        self.limit_record(session);
        self.io.counts.connections = self.table.len() as u64;
    }

    /// Takes a connection out; nothing may be armed on it.
    pub(super) fn remove(&mut self, session: SessionKey) -> Option<Connection> {
        self.look_away(session);
        self.settle_guest(session);
        self.unread.remove(&session);
        let mut connection = self.table.remove(session)?;
        debug_assert!(
            connection.at_rest(),
            "the kernel still holds something of it"
        );
        if let Some(tls) = &mut connection.tls {
            let before = tls.discharge();
            self.count_held(before, super::tls::Held::default());
            self.io.counts.handshaking -= u64::from(connection.handshaking());
        }
        self.shaking.leave(session);
        self.io.counts.connections = self.table.len() as u64;
        debug_assert!(
            self.table.len() > 0
                || (self.guests.is_empty()
                    && self.shaking.is_empty()
                    && self.unread.is_empty()
                    && self.overdue.is_empty()),
            "of who is gone nothing is kept"
        );
        Some(connection)
    }
}
