//! A shard's links: connections to other nodes that carry many clients, with one stream per client.
//!
//! ```text
//!  client ──► connection ──► splice.rs ──► Link ══ TLS ══ Link ──► sessions/stream.rs ──► machine
//!             that has left the table      front            owner     a session without a socket
//! ```
//! The node that a client is connected to is called the front. The owner is the node that owns the client's channel. A
//! link connects a shard of the front to the owner's shard for that channel. The hello, the first message on a link,
//! names the owner's shard. The connection is handed over to that shard once, before any frames are exchanged. A
//! stream's messages are therefore never passed between shards, on either node. The front opens a link when a client
//! needs it, and closes it after a minute without streams. For the protocol, see [`broker_core::cluster::link`].
//!
//! ```text
//!  front: connect ──► Hello ──────────────────────► Open ──► Over: what is armed or in flight completes
//!  owner: accept ───► Hello ──► other shard ──► Open ──┘
//! ```
//! A peer on an inner listener is called a stranger until its handshake has proved that it is a node. The number of
//! strangers is limited. At the limit, the oldest stranger is evicted. Strangers get no response, since only nodes
//! should be able to reach that port.
//!
//! At the end of a loop iteration, sessions and clients exchange their bytes with links. Then each link that was
//! touched, or whose deadline has passed, is ticked and flushed once.

pub(crate) mod splice;
pub(crate) mod wire;

use crate::edge::connection::{Connection, Receive};
use crate::edge::limits::{LINKS_PER_SHARD_MAX, STRANGER_PATIENCE_MS, STRANGERS_MAX};
use crate::edge::links::{LinkEnd, Links, OwnNode, Turns, link_key};
use crate::edge::places::Places;
use crate::edge::{io::Io, letters::Travelling, tls::Tls};
use broker_core::cluster::limits::INNER_VERSION;
use broker_core::cluster::link::{Link, LinkTable, Refused, check_hello};
use broker_core::id::{NodeId, ShardId, Slot};
use broker_core::machine::{Machine, PassFailure};
use broker_core::{
    address_shares::{Crowd, Origin},
    time::Now,
};
use codec::link::{ANY_SHARD, Hello, NodeName, NotHello};
use socket2::SockRef;
use splice::Splice;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use wire::{Local, Stage, Wire, connecting, keep_alive};

/// A shard's links, and the local ends of their streams.
pub(crate) struct Streams<M: Machine> {
    pub(crate) shard: ShardId,
    pub(crate) links: Option<Arc<Links>>,
    pub(crate) wires: Places<Wire>,
    /// Connections to the inner listener that have not completed their handshake, oldest first.
    strangers: BTreeSet<(Now, u32)>,
    /// Links to other nodes, keyed by node and remote shard.
    routes: BTreeMap<(NodeId, u16), u32>,
    /// Each node's number of shards, according to its most recent hello.
    shards: BTreeMap<NodeId, u16>,
    turns: Turns,
    pub(crate) clients: Places<Splice<M>>,
    /// Clients waiting for a link, grouped by address, with the sizes of their requests.
    pub(crate) waiting: Crowd<u32>,
    pub(crate) waiting_bytes: usize,
    /// Scratch buffer for frames on their way to a link's TLS engine.
    frames: Vec<u8>,
}

/// Whether a new stream can use a link.
pub(crate) enum Route {
    Ready(u32),
    /// The link is still being opened.
    Awaited,
    None(PassFailure),
}

impl<M: Machine> Streams<M> {
    pub(crate) fn new(shard: ShardId, links: Option<Arc<Links>>) -> Self {
        Self {
            shard,
            links,
            wires: Places::default(),
            strangers: BTreeSet::new(),
            routes: BTreeMap::new(),
            shards: BTreeMap::new(),
            turns: Turns::default(),
            clients: Places::default(),
            waiting: Crowd::default(),
            waiting_bytes: 0,
            frames: Vec::new(),
        }
    }

    /// Returns whether there are no links and no clients, including closing ones.
    pub(crate) fn is_empty(&self) -> bool {
        let is_empty = self.wires.len() == 0 && self.clients.len() == 0;
        debug_assert!(
            !is_empty
                || (self.waiting.is_empty()
                    && self.waiting_bytes == 0
                    && self.routes.is_empty()
                    && self.strangers.is_empty()),
            "of links that are gone nothing is kept"
        );
        is_empty
    }

    /// Returns whether any link or client must be served at the end of the loop iteration.
    pub(crate) fn has_work(&self) -> bool {
        self.wires.has_work() || self.clients.has_work()
    }

    /// Returns the earliest deadline of a link or a client.
    pub(crate) fn next_due(&self) -> Option<Now> {
        let both = [self.wires.next_due(), self.clients.next_due()];
        both.into_iter().flatten().min()
    }

    /// Returns the link with this number, if it is open.
    pub(crate) fn link(&mut self, place: u32) -> Option<&mut Link> {
        self.wires.get_mut(place)?.link()
    }

    /// Returns the open links, for display to operators.
    pub(crate) fn table(&self) -> LinkTable {
        let mut table = LinkTable::new();
        let places = self.wires.all().into_iter();
        for wire in places.filter_map(|place| self.wires.get(place)) {
            if let Stage::Open(link) = &wire.stage {
                let links = table.entry(Arc::clone(&wire.peer)).or_default();
                links.add_link(link);
            }
        }
        table
    }

    /// Returns the local end of a stream.
    pub(crate) fn local(&self, place: u32, id: u32) -> Option<Local> {
        self.wires.get(place)?.locals.get(&id).copied()
    }

    // Links to other nodes.

    /// Returns the link to the node's shard that owns the channels in `slot`. Opens a link if there is none.
    pub(crate) fn route(&mut self, node: NodeId, slot: Slot, io: &mut Io) -> Route {
        let shards = self.shards.get(&node);
        let shard = shards.map_or(ANY_SHARD, |shards| slot.shard(*shards).0);
        let wire = self.routes.get(&(node, shard)).copied();
        let verdict = match wire.and_then(|place| Some((place, self.wires.get(place)?))) {
            Some((place, wire)) => match &wire.stage {
                Stage::Open(link) => link.accepts().map(|()| Route::Ready(place)),
                Stage::Connecting | Stage::Hello(_) => Ok(Route::Awaited),
                Stage::Over => Err(Refused::Dead),
            },
            None => Err(Refused::Away),
        };
        match verdict {
            Ok(route) => route,
            Err(Refused::Doubtful) => Route::None(PassFailure::Timeout),
            Err(Refused::Full) => Route::None(PassFailure::NoRoom),
            Err(Refused::Dead | Refused::Away) => match self.connect(node, shard, io) {
                Ok(()) => Route::Awaited,
                Err(why) => Route::None(why),
            },
        }
    }

    /// Starts connecting a link.
    fn connect(&mut self, node: NodeId, shard: u16, io: &mut Io) -> Result<(), PassFailure> {
        let links = self.links.as_ref().ok_or(PassFailure::Connect)?;
        let address = links.address(node, self.shard, &mut self.turns);
        let address = address.ok_or(PassFailure::Connect)?;
        if !self.has_room() {
            return Err(PassFailure::NoRoom);
        }
        let socket = connecting(address, &io.settings).map_err(|error| {
            match error.raw_os_error() {
                // The machine does not support this address family.
                Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => {
                    self.turns.failed(node);
                    PassFailure::Connect
                }
                Some(_) | None => PassFailure::NoRoom,
            }
        })?;
        let place = self.wires.claim().ok_or(PassFailure::NoRoom)?;
        io.count_descriptor();
        io.ring
            .connect(socket.as_fd(), link_key(LinkEnd::Link(place)), address);
        let mut wire = Wire::new(socket, None, Stage::Connecting, io.turn.at().now);
        (wire.to, wire.connection.receive) = (Some((node, shard)), Receive::Once);
        self.wires.put(place, wire);
        self.count(io);
        self.routes.insert((node, shard), place);
        self.wires.touch(place);
        Ok(())
    }

    /// Returns whether another link may be opened.
    fn has_room(&self) -> bool {
        self.wires.len() - self.strangers.len() < LINKS_PER_SHARD_MAX
    }

    /// Accepts a connection from `origin` on the inner listener. If too many connections are unauthenticated, closes
    /// the oldest of them.
    pub(crate) fn accept(&mut self, socket: OwnedFd, origin: Origin, io: &mut Io) {
        if self.strangers.len() >= STRANGERS_MAX
            && let Some(&(_, oldest)) = self.strangers.first()
        {
            io.counts.inner_refused.limit += 1;
            self.drop_wire(oldest, false, io);
        }
        let tls = self
            .links
            .as_ref()
            .map(|links| Tls::new(&links.server, origin));
        let tls = tls.and_then(Result::ok);
        let arrived = tls.map(|tls| Travelling {
            socket,
            tls: Some(tls),
            unread: Vec::new(),
        });
        let Some(place) = arrived.and_then(|arrived| self.put(arrived, io)) else {
            io.counts.inner_refused.limit += 1;
            return io.descriptors.closed();
        };
        self.strangers.insert((io.turn.at().now, place));
        self.count(io);
    }

    /// Takes over a connection whose peer has authenticated as a node. If there are too many links, or the shard is
    /// stopping, closes the connection and returns `None`.
    pub(crate) fn enter(&mut self, arrived: Travelling, io: &mut Io) -> Option<u32> {
        let has_room = self.has_room() && !io.stopping;
        let place = Some(arrived)
            .filter(|_| has_room)
            .and_then(|it| self.put(it, io));
        if place.is_none() {
            io.counts.inner_refused.limit += 1;
            io.descriptors.closed();
        }
        self.count(io);
        place
    }

    fn put(&mut self, arrived: Travelling, io: &Io) -> Option<u32> {
        let place = self.wires.claim()?;
        let _ = keep_alive(&SockRef::from(&arrived.socket)); // if its host fails, nothing arrives on an idle link
        let stage = Stage::Hello(arrived.unread);
        let wire = Wire::new(arrived.socket, arrived.tls, stage, io.turn.at().now);
        self.wires.put(place, wire);
        self.wires.touch(place);
        Some(place)
    }

    /// Records that a connection's peer has authenticated as a node. Returns `false` if there are too many links. Links
    /// that this shard opens itself are counted even before they are authenticated.
    pub(crate) fn is_node(&mut self, place: u32, io: &mut Io) -> bool {
        let has_room = self.has_room();
        let was_stranger = self.forget_stranger(place);
        self.count(io);
        has_room || !was_stranger
    }

    fn forget_stranger(&mut self, place: u32) -> bool {
        let wire = self.wires.get(place);
        wire.is_some_and(|wire| self.strangers.remove(&(wire.began, place)))
    }

    /// Closes a connection that has had enough time to authenticate but has not done so. Returns `false` if there is
    /// none.
    pub(crate) fn make_room(&mut self, io: &mut Io) -> bool {
        let now = io.turn.at().now;
        let late = |began: Now| began.after(STRANGER_PATIENCE_MS) <= now;
        let Some(&(_, place)) = self.strangers.first().filter(|(began, _)| late(*began)) else {
            return false;
        };
        io.counts.inner_refused.limit += 1;
        self.drop_wire(place, false, io);
        true
    }

    fn count(&self, io: &mut Io) {
        io.counts.links = (self.wires.len() - self.strangers.len()) as u64;
    }

    /// Removes a link that is about to be handed over to another shard. Returns `None` while an operation on the link
    /// is armed.
    pub(crate) fn take_out(&mut self, place: u32, io: &mut Io) -> Option<Travelling> {
        let wire = self.wires.get(place);
        wire.filter(|wire| wire.connection.at_rest())?;
        let Wire {
            connection, stage, ..
        } = self.wires.remove(place)?;
        let Connection { socket, tls, .. } = connection;
        io.ring.release(socket.as_fd());
        self.count(io);
        let Stage::Hello(unread) = stage else {
            return None;
        };
        Some(Travelling {
            socket,
            tls,
            unread,
        })
    }

    /// Records how many shards a link's node has, and which of them the link leads to. Returns the clients that are
    /// waiting for a link to that node.
    pub(crate) fn greeted(&mut self, place: u32, shard: u16, shards: u16) -> Vec<u32> {
        let Some(to) = self.wires.get_mut(place).and_then(|wire| wire.to.as_mut()) else {
            return Vec::new();
        };
        let (node, asked) = *to;
        to.1 = shard;
        self.shards.insert(node, shards);
        self.routes.remove(&(node, asked));
        self.routes.entry((node, shard)).or_insert(place);
        self.waiting_for(node)
    }

    fn waiting_for(&self, node: NodeId) -> Vec<u32> {
        let is_for = |place| self.clients.get(place).is_some_and(|it| it.node == node);
        let all = self.waiting.members().map(|(place, _)| place);
        all.filter(|place| is_for(*place)).collect()
    }

    /// Removes a stream from its link.
    pub(crate) fn leave_link(&mut self, place: u32, id: u32) {
        if let Some(wire) = self.wires.get_mut(place) {
            wire.locals.remove(&id);
        }
    }

    /// Removes a link from the routes, so that it gets no new streams.
    pub(crate) fn forget_route(&mut self, place: u32) {
        let to = self.wires.get(place).and_then(|wire| wire.to);
        if let Some(to) = to.filter(|to| self.routes.get(to) == Some(&place)) {
            self.routes.remove(&to);
        }
    }

    /// Handles a link that closed before it was open. Returns the clients that were waiting for a link to its node.
    pub(crate) fn failed(&mut self, place: u32) -> Vec<u32> {
        let wire = self.wires.get(place);
        let Some((node, _)) = wire.filter(|wire| wire.begins()).and_then(|wire| wire.to) else {
            return Vec::new();
        };
        if wire.is_some_and(|wire| matches!(wire.stage, Stage::Connecting)) {
            self.turns.failed(node);
        }
        self.waiting_for(node)
    }

    /// Counts an incoming connection that closed before its link was open.
    pub(crate) fn count_refusal(&self, place: u32, why: PassFailure, io: &mut Io) {
        let wire = self.wires.get(place);
        let Some(wire) = wire.filter(|wire| wire.begins() && wire.to.is_none()) else {
            return;
        };
        let (refused, tls) = (&mut io.counts.inner_refused, &wire.connection.tls);
        let tls = tls.as_deref();
        match why {
            PassFailure::Foreign if tls.is_some_and(|tls| tls.is_foreign()) => refused.forged += 1,
            PassFailure::Foreign => refused.malformed += 1,
            _ if io.stopping => {}
            PassFailure::NoRoom => refused.limit += 1,
            PassFailure::Connect
            | PassFailure::Timeout
            | PassFailure::Closed
            | PassFailure::Moved
            | PassFailure::Drain => refused.incomplete += 1,
        }
    }

    // Closing a link.

    /// Shuts down a link's connection for reading and writing. If `reset` is set, the peer receives an RST.
    pub(crate) fn drop_wire(&mut self, place: u32, reset: bool, io: &mut Io) {
        self.forget_route(place);
        self.forget_stranger(place);
        let Some(wire) = self.wires.get_mut(place) else {
            return;
        };
        let connection = &mut wire.connection;
        if connection.receive.armed() && matches!(wire.stage, Stage::Connecting) {
            let key = link_key(LinkEnd::Link(place));
            io.ring.cancel_connect(connection.socket.as_fd(), key);
        }
        connection.shut(reset);
        if connection.receive == Receive::Queued {
            connection.receive = Receive::Idle;
        }
        wire.stage = Stage::Over;
        wire.locals.clear();
        self.wires.touch(place);
    }

    /// Arms the operations that a link needs and sets its deadline. Closes the link if it has ended and no operation on
    /// it is armed.
    pub(crate) fn settle(&mut self, place: u32, io: &mut Io) {
        let Some(wire) = self.wires.get_mut(place) else {
            return;
        };
        if matches!(wire.stage, Stage::Over) && wire.connection.at_rest() {
            if let Some(wire) = self.wires.remove(place) {
                wire.connection.close(io);
            }
            return self.count(io);
        }
        wire.arm(place, io);
        let due = wire.limit(io.turn.at().now);
        self.wires.serve_by(place, due);
    }

    /// Writes the frames of a loop iteration. Returns `false` if the connection is broken.
    pub(crate) fn write(&mut self, place: u32, io: &mut Io) -> bool {
        let wire = self.wires.get_mut(place);
        let Some(wire) = wire.filter(|wire| !wire.connection.sending) else {
            return true;
        };
        let mut frames = std::mem::take(&mut self.frames);
        if let Some(link) = wire.link().filter(|link| link.has_output()) {
            link.write(&mut frames, io.turn.at().now);
        }
        let is_whole = wire.send(place, &frames, io);
        frames.clear();
        self.frames = frames;
        is_whole
    }

    /// Returns the link with the most buffered bytes if all links together buffer more than `most` bytes. Called after
    /// the buffer of link `place` has grown.
    pub(crate) fn fullest(&self, place: u32, most: usize) -> Option<u32> {
        let held = |place: &u32| self.wires.get(*place).map_or(0, Wire::held);
        if held(&place) == 0 {
            return None;
        }
        let places = self.wires.all();
        let total: usize = places.iter().map(held).sum();
        let fullest = places.into_iter().max_by_key(held);
        fullest.filter(|_| total > most)
    }
}

/// Returns this node's hello for a link to the node `to`.
fn hello<'a>(own: &'a OwnNode, to: NodeName<'a>, shard: u16) -> Hello<'a> {
    Hello {
        version: INNER_VERSION,
        cluster: &own.cluster,
        from: NodeName {
            name: &own.name,
            directory: 0,
            start: own.start,
        },
        to,
        shard,
        shards: own.shards,
    }
}

impl<M: Machine> Streams<M> {
    /// Returns the hello with which the connecting side starts a link.
    pub(crate) fn own_hello(&self, place: u32) -> Option<Vec<u8>> {
        let links = self.links.as_deref()?;
        let (node, shard) = self.wires.get(place)?.to?;
        let name = links.name(node)?;
        let to = NodeName {
            name: &name,
            directory: 0, // any process with this name
            start: 0,
        };
        let mut bytes = Vec::new();
        hello(&links.own, to, shard).write(&mut bytes);
        Some(bytes)
    }

    /// Parses the peer's hello once it has arrived completely. On the owner's side, the result includes the reply.
    /// Returns `None` if the hello is incomplete, or if the link does not expect one.
    ///
    /// # Errors
    /// Fails if the hello is malformed or addressed to another node.
    pub(crate) fn read_hello(&self, place: u32) -> Result<Option<Greeting>, NotHello> {
        let wire = self.wires.get(place);
        let (Some(wire), Some(links)) = (wire, self.links.as_deref()) else {
            return Ok(None);
        };
        let Stage::Hello(bytes) = &wire.stage else {
            return Ok(None);
        };
        let Some((theirs, length)) = Hello::read(bytes)? else {
            return Ok(None);
        };
        let name = wire.to.map(|(node, _)| links.name(node));
        let is_meant = name.is_none_or(|name| name.as_deref() == Some(theirs.from.name));
        let own = hello(&links.own, theirs.from, self.shard.0);
        if !is_meant || theirs.shards == 0 || check_hello(&own, &theirs).is_err() {
            return Err(NotHello);
        }
        let mut answer = Vec::new();
        if wire.to.is_none() {
            own.write(&mut answer);
        }
        Ok(Some(Greeting {
            length,
            peer: theirs.from.name.into(),
            shard: theirs.shard,
            shards: theirs.shards,
            own_shards: links.own.shards,
            answer,
        }))
    }
}

/// A parsed hello.
pub(crate) struct Greeting {
    pub(crate) length: usize,
    pub(crate) peer: Arc<str>,
    /// See [`Hello::shard`].
    pub(crate) shard: u16,
    pub(crate) shards: u16,
    pub(crate) own_shards: u16,
    /// The owner's reply.
    pub(crate) answer: Vec<u8>,
}
