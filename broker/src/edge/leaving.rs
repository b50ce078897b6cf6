//! The end of a turn: touched connections are flushed, and those that leave go where they are to go.

use crate::edge::connections::connection::{Destination, Stage};
use crate::edge::nodes::tunnel::half::Half;
use crate::edge::sessions::returning::Returning;
use crate::edge::shard::Edge;
use broker_core::address_shares::Origin;
use broker_core::id::{NodeId, SessionKey};
use broker_core::machine::{Machine, TunnelFailure};

impl<M: Machine> Edge<M> {
    /// Flushes every connection that this turn has touched, and does what its stage asks for. What that touches is
    /// flushed in the next turn.
    pub(crate) fn flush_touched(&mut self) {
        self.answer_calls();
        let mut touched = self.sessions.connections_mut().take_touched();
        for session in touched.drain(..) {
            self.flush_one(session);
        }
        self.sessions.connections_mut().keep_touched(touched);
    }

    /// Sends the answers to calls of other nodes that are over, and says of those that are late that they are here.
    pub(crate) fn answer_calls(&mut self) {
        while let Some((session, place, answer)) = self.sessions.next_answer(&mut self.io) {
            match answer {
                Some(answer) => self
                    .inners
                    .answer(place, Some(session), &answer, &mut self.io),
                None => self.inners.fail(place, session, &mut self.io),
            }
        }
        let now = self.io.turn.at().now;
        self.sessions.schedule_calls(now);
        while let Some((session, place)) = self.sessions.next_slow_call(now) {
            self.inners.say_taken(place, session, &mut self.io);
        }
    }

    fn flush_one(&mut self, session: SessionKey) {
        let Some(stage) = self.sessions.connections_mut().untouch(session) else {
            return;
        };
        let io = &mut self.io;
        match stage {
            Stage::Open => {
                self.sessions.flush(session, io);
                self.sessions.watch(session, io);
            }
            Stage::Leaving(Destination::Shard(to)) => self.sessions.leave(session, to, io),
            Stage::Leaving(Destination::Node(to)) => self.pass_on(session, to),
            Stage::Leaving(Destination::Admin) => self.pass_to_admin(session),
            Stage::Closing => match self.sessions.give_back(session, io) {
                Returning::No => self.sessions.close(session, io),
                Returning::Waiting => {}
                Returning::Now(connection, lease) => self.inners.take_back(*connection, &lease, io),
            },
            Stage::Lingering => self.sessions.watch(session, io),
            Stage::Shut => self.sessions.close_descriptor(session, io),
        }
    }

    /// Passes a connection on to another node as soon as the kernel holds nothing of it.
    fn pass_on(&mut self, session: SessionKey, node: NodeId) {
        let Some(departed) = self.sessions.depart(session, &mut self.io) else {
            return;
        };
        let (origin, bytes) = (Origin::of(departed.remote().ip()), departed.bytes());
        let io = &mut self.io;
        if (departed.repeats() || departed.is_call())
            && self.sessions.tunnel_room(origin, bytes, io)
            && let Some(taken) = (self.sessions.tunnels_mut()).take_waiting(node, &departed, io)
        {
            io.counts.tunnels_opened += 1;
            return self.sessions.begin_waiting(taken, node, departed, io);
        }
        let connected = self.connect(node, origin, bytes);
        let (node, io) = (Some(node), &mut self.io);
        match connected {
            Ok(owner) => {
                io.counts.tunnels_opened += 1;
                self.sessions.begin_tunnel(owner, node, departed, io);
            }
            Err(why) => self.sessions.return_client(departed.back(node, why), io),
        }
    }

    /// Passes a connection to the side thread as soon as the kernel holds nothing of it.
    fn pass_to_admin(&mut self, session: SessionKey) {
        let Some(departed) = self.sessions.depart(session, &mut self.io) else {
            return;
        };
        let remote = departed.remote();
        let has_place =
            self.sessions.tunnels().has_admin() && self.open_for(Origin::of(remote.ip()));
        let io = &mut self.io;
        let joined = has_place.then(|| self.sessions.tunnels_mut().join_admin(remote, io));
        let Some(owner) = joined.flatten() else {
            let returned = departed.back(None, TunnelFailure::NoRoom);
            return self.sessions.return_client(returned, &mut self.io);
        };
        self.sessions
            .begin_tunnel(owner, None, departed, &mut self.io);
    }

    /// Counts a descriptor for a client from `origin`. False, and it is not counted, when there is none and nobody
    /// makes room.
    fn open_for(&mut self, origin: Origin) -> bool {
        let crowded = self.io.count_descriptor();
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
        if !self.sessions.tunnel_room(origin, bytes, &mut self.io) {
            return Err(TunnelFailure::NoRoom);
        }
        let address = self.sessions.tunnels_mut().address(node);
        let address = address.ok_or(TunnelFailure::Connect)?;
        if !self.open_for(origin) {
            return Err(TunnelFailure::NoRoom);
        }
        let tunnels = self.sessions.tunnels_mut();
        tunnels.connect(node, address, &mut self.io)
    }
}
