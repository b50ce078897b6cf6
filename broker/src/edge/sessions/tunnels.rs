//! Sessions of which another node, or the side thread, is the owner: into a tunnel and back.

use crate::edge::connections::connection::Connection;
use crate::edge::limits::OVERDUE_PER_TURN;
use crate::edge::nodes::tunnel::{Departed, Ending, Half, Returned, Room, Settled};
use crate::edge::sessions::flush::Flushed;
use crate::edge::shard::Edge;
use broker_core::crowd::Origin;
use broker_core::id::{NodeId, SessionKey};
use broker_core::machine::{Machine, TunnelFailure};

impl<M: Machine> Edge<M> {
    /// Passes a connection on to another node as soon as the kernel holds nothing of it.
    pub(in crate::edge) fn pass_on(&mut self, session: SessionKey, node: NodeId) {
        let Some(departed) = self.depart(session) else {
            return;
        };
        let origin = Origin::of(departed.remote().ip());
        match self.connect(node, origin, departed.bytes()) {
            Ok(owner) => {
                let settled =
                    self.tunnels
                        .open(owner, node, departed, &mut self.machine, &mut self.io);
                self.settled(settled);
            }
            Err(why) => self.return_client(departed.back(Some(node), why)),
        }
    }

    /// Passes a connection to the side thread as soon as the kernel holds nothing of it.
    pub(in crate::edge) fn pass_to_admin(&mut self, session: SessionKey) {
        let Some(departed) = self.depart(session) else {
            return;
        };
        let remote = departed.remote();
        let is_open = self.tunnels.has_admin() && self.open_for(Origin::of(remote.ip()));
        let joined = is_open.then(|| self.tunnels.join_admin(remote, &mut self.io));
        let Some(owner) = joined.flatten() else {
            return self.return_client(departed.back(None, TunnelFailure::NoRoom));
        };
        let settled = self
            .tunnels
            .open_admin(owner, departed, &mut self.machine, &mut self.io);
        self.settled(settled);
    }

    /// A connection that leaves, as soon as the kernel holds nothing of it: its socket, its session and what it has
    /// sent. A broken one ends here.
    fn depart(&mut self, session: SessionKey) -> Option<Departed<M>> {
        self.connections
            .watch(session, &self.machine, &mut self.io.ring);
        match self.flush(session) {
            Flushed::Waiting => return None,
            // A broken one ends at once, like any other.
            Flushed::Broken => {
                self.connections.cut(session, &mut self.io.counts);
                return None;
            }
            Flushed::All => {}
        }
        if !self
            .connections
            .get(session)
            .is_some_and(Connection::at_rest)
        {
            return None;
        }
        let unread = self.connections.take_unread(session);
        let connection = self.connections.remove(session, &mut self.io.counts)?;
        let parcel = self.machine.release(session);
        Departed::new(connection, parcel, unread, &mut self.io)
    }

    /// Counts a descriptor for a client from `origin`. False, and it is not counted, when there is none and nobody
    /// makes room.
    fn open_for(&mut self, origin: Origin) -> bool {
        let crowded = self.io.descriptors.opened() > self.io.settings.connections;
        let room = !crowded || self.make_room(origin);
        if !room {
            self.io.descriptors.closed();
        }
        room
    }

    /// A place for a tunnel and a connection to its owner under way.
    fn connect(
        &mut self,
        node: NodeId,
        origin: Origin,
        bytes: usize,
    ) -> Result<(u32, Half), TunnelFailure> {
        if !self.tunnel_room(origin, bytes) {
            return Err(TunnelFailure::NoRoom);
        }
        let address = self.tunnels.address(node).ok_or(TunnelFailure::Connect)?;
        if !self.open_for(origin) {
            return Err(TunnelFailure::NoRoom);
        }
        self.tunnels.connect(node, address, &mut self.io)
    }

    /// Whether one more may begin, perhaps at the cost of another one that the owner has not greeted.
    fn tunnel_room(&mut self, origin: Origin, bytes: usize) -> bool {
        loop {
            match self.tunnels.room(origin, bytes, &self.io) {
                Room::Free => return true,
                Room::After(victim) => {
                    self.end_tunnel(victim, Ending::Bounce(TunnelFailure::NoRoom));
                }
                Room::Full => return false,
            }
        }
    }

    /// Does what remains to be done after a step of a tunnel.
    pub(in crate::edge) fn settled(&mut self, settled: Settled<M>) {
        if let Some(returned) = settled.returned {
            self.return_client(returned);
        }
        if settled.outputs {
            self.drain();
        }
    }

    /// A client comes back into the table, for the machine to answer it.
    fn return_client(&mut self, returned: Returned<M>) {
        let Returned {
            mut client,
            parcel,
            failed: (node, why),
            unsent,
        } = returned;
        client.discharge(&mut self.io.counts);
        let at = self.io.turn.at();
        let origin = client.remote().map(|remote| Origin::of(remote.ip()));
        let session = match node {
            Some(node) => {
                self.io.counts.tunnel_failures[why as usize] += 1;
                self.machine.bounce_tunnel(parcel, (node, why), unsent, at)
            }
            None => self.machine.bounce(parcel, at),
        };
        let connection = client.into_connection(session);
        self.connections.insert(session, connection, &mut self.io);
        if let Some(origin) = origin {
            // It may wait: what it waits for is not admitted yet.
            self.connections.welcome(session, origin, false, at.now);
            self.connections.note_first_bytes(session);
        }
        self.drain();
        self.connections.touch(session);
        self.connections
            .watch(session, &self.machine, &mut self.io.ring);
    }

    fn end_tunnel(&mut self, place: u32, ending: Ending) {
        let settled = self
            .tunnels
            .end(place, ending, &mut self.machine, &mut self.io);
        self.settled(settled);
    }

    /// Ends tunnels whose time is over.
    pub(in crate::edge) fn end_overdue_tunnels(&mut self) {
        for _ in 0..OVERDUE_PER_TURN {
            let Some(place) = self.tunnels.overdue(self.io.turn.at().now) else {
                return;
            };
            let settled = self
                .tunnels
                .end_late(place, &mut self.machine, &mut self.io);
            self.settled(settled);
        }
    }

    /// Holds the budget of bytes that wait for sides without room.
    pub(in crate::edge) fn hold_stalled(&mut self) {
        for place in self.tunnels.payers(&self.io.settings) {
            self.io.counts.evicted += 1;
            self.end_tunnel(place, Ending::Reset);
        }
    }

    /// Ends all, since the shard ends.
    pub(in crate::edge) fn end_tunnels(&mut self) {
        for place in self.tunnels.places() {
            self.end_tunnel(place, Ending::Close);
        }
    }
}
