//! Sessions of which another node, or the side thread, is the owner: into a tunnel and back.

use crate::edge::sessions::flush::Flushed;
use crate::edge::tunnels::{
    Answered, Departed, Ending, Half, Returned, Room, Settled, Taken, TunnelEvent,
};
use crate::edge::{io::Io, limits::OVERDUE_PER_TURN, sessions::Sessions};
use broker_core::address_shares::Origin;
use broker_core::id::{NodeId, SessionKey};
use broker_core::machine::{Input, Machine, TunnelFailure};
use std::net::SocketAddr;

impl<M: Machine> Sessions<M> {
    /// A connection that leaves, as soon as the kernel holds nothing of it: its socket, its session and what it has
    /// sent. A broken one ends here.
    pub(crate) fn depart(&mut self, session: SessionKey, io: &mut Io) -> Option<Departed<M>> {
        self.watch(session, io);
        let flushed = if self.has_words_of_engine_alone(session) {
            Flushed::All // a ticket, say: it goes out with the answer
        } else {
            self.flush(session, io)
        };
        match flushed {
            Flushed::Waiting => return None,
            // A broken one ends at once, like any other.
            Flushed::Broken => {
                self.connections.cut(session, &mut io.counts);
                return None;
            }
            Flushed::All => {}
        }
        let (connection, unread, parcel) = self.release(session, io)?;
        Departed::new(connection, parcel, unread, io)
    }

    /// Whether all that is to be sent on a connection comes from its TLS engine, whose handshake is over.
    fn has_words_of_engine_alone(&self, session: SessionKey) -> bool {
        let Some(connection) = self.connections.get(session) else {
            return false;
        };
        let is_secured = connection.tls.is_some() && !connection.handshaking();
        let is_free = !connection.broken && !connection.sending;
        is_secured && is_free && self.machine.unsent(session).is_empty()
    }

    /// Begins a tunnel between a client and its owner.
    pub(crate) fn begin_tunnel(
        &mut self,
        owner: (u32, Half),
        node: NodeId,
        departed: Departed<M>,
        io: &mut Io,
    ) {
        let machine = &mut self.machine;
        let settled = self.tunnels.open(owner, node, departed, machine, io);
        self.settled(settled, io);
    }

    /// Begins a tunnel on a connection to its owner that waited for one.
    pub(crate) fn begin_waiting(
        &mut self,
        taken: Taken,
        node: NodeId,
        departed: Departed<M>,
        io: &mut Io,
    ) {
        let machine = &mut self.machine;
        let tunnels = &mut self.tunnels;
        let settled = tunnels.open_waiting(taken, node, departed, machine, io);
        self.settled(settled, io);
    }

    /// Begins a tunnel once more, on a connection of its own: the place of the one before has just become free.
    fn begin_again(&mut self, node: NodeId, departed: Departed<M>, io: &mut Io) {
        let connected = self.tunnels.address(node).map(|address| {
            io.count_descriptor();
            self.tunnels.connect(node, address, io)
        });
        match connected.unwrap_or(Err(TunnelFailure::Connect)) {
            Ok(owner) => self.begin_tunnel(owner, node, departed, io),
            Err(why) => self.return_client(departed.back(Some(node), why), io),
        }
    }

    /// Something happened to a tunnel.
    #[inline]
    pub(crate) fn tunnel(&mut self, place: u32, event: TunnelEvent<'_>, io: &mut Io) {
        let settled = self.tunnels.on(place, event, &mut self.machine, io);
        self.settled(settled, io);
    }

    /// Whether one more tunnel may begin, perhaps at the cost of another one that the owner has not greeted.
    pub(crate) fn tunnel_room(&mut self, origin: Origin, bytes: usize, io: &mut Io) -> bool {
        loop {
            match self.tunnels.room(origin, bytes, io) {
                Room::Free => return true,
                Room::After(victim) => {
                    let ending = Ending::Bounce(TunnelFailure::NoRoom);
                    self.tunnel(victim, TunnelEvent::Ended(ending), io);
                }
                Room::Full => return false,
            }
        }
    }

    /// Ends tunnels whose time is over.
    pub(crate) fn end_overdue_tunnels(&mut self, io: &mut Io) {
        for _ in 0..OVERDUE_PER_TURN {
            let Some(place) = self.tunnels.overdue(io.turn.at().now) else {
                return;
            };
            self.tunnel(place, TunnelEvent::Late, io);
        }
    }

    /// Holds the budget of bytes that wait for sides without room.
    pub(crate) fn hold_stalled(&mut self, io: &mut Io) {
        for place in self.tunnels.payers(&io.settings) {
            io.counts.evicted += 1;
            self.tunnel(place, TunnelEvent::Ended(Ending::Reset), io);
        }
    }

    /// Closes all tunnels and what was opened for more, since the shard ends.
    pub(crate) fn close_tunnels(&mut self, io: &mut Io) {
        self.tunnels.end_aheads(io);
        for place in self.tunnels.places() {
            self.tunnel(place, TunnelEvent::Ended(Ending::Close), io);
        }
    }

    /// Does what remains to be done after a step of a tunnel.
    fn settled(&mut self, settled: Settled<M>, io: &mut Io) {
        if let Some(returned) = settled.returned {
            self.return_client(*returned, io);
        }
        if let Some(answered) = settled.answered {
            self.return_answered(*answered, io);
        }
        if let Some(again) = settled.again {
            let (node, departed) = *again;
            self.begin_again(node, departed, io);
        }
        if settled.outputs {
            self.drain(io);
        }
    }

    /// A client comes back into the table, for the machine to answer it.
    pub(crate) fn return_client(&mut self, returned: Returned<M>, io: &mut Io) {
        let Returned {
            mut client,
            parcel,
            failed: (node, why),
            unsent,
        } = returned;
        client.discharge(&mut io.counts);
        let at = io.turn.at();
        let session = match node {
            Some(node) => {
                io.counts.tunnel_failures[why as usize] += 1;
                self.machine.bounce_tunnel(parcel, (node, why), unsent, at)
            }
            None => self.machine.bounce(parcel, at),
        };
        let remote = client.remote();
        self.take_back(session, (client, remote), io);
    }

    /// A client comes back into the table with the answer to its call.
    pub(crate) fn return_answered(&mut self, answered: Answered<M>, io: &mut Io) {
        let Answered {
            mut client,
            remote,
            parcel,
            answer,
            rest,
        } = answered;
        client.discharge(&mut io.counts);
        let at = io.turn.at();
        let session = self.machine.answered(parcel, &answer, rest, at);
        let has_ended = client.has_ended();
        self.take_back(session, (client, Some(remote)), io);
        if has_ended {
            self.feed(Input::Ended { session }, io);
        }
    }

    /// The connection of a client is that of this session from here on.
    fn take_back(
        &mut self,
        session: SessionKey,
        (client, remote): (Half, Option<SocketAddr>),
        io: &mut Io,
    ) {
        let origin = remote.map(|remote| Origin::of(remote.ip()));
        let connection = client.into_connection(session);
        self.connections.insert(session, connection, io);
        if let Some(origin) = origin {
            // It may wait: what it waits for is not admitted yet.
            let now = io.turn.at().now;
            self.connections.welcome(session, origin, false, now);
            self.connections.note_first_bytes(session);
        }
        self.drain(io);
        self.connections.touch(session);
        self.watch(session, io);
    }
}
