//! The beginning of a tunnel to the side thread: one of a pair of sockets takes the owner's place.

use crate::edge::io::Io;
use crate::edge::nodes::tunnel::half::Half;
use crate::edge::nodes::tunnel::{Departed, Settled, Side, Stage, Tunnel, Tunnels};
use broker_core::machine::Machine;
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;

impl<M: Machine> Tunnels<M> {
    /// Whether the side thread takes connections.
    pub(crate) fn has_admin(&self) -> bool {
        self.admin.is_some()
    }

    /// A place for a tunnel and its end of a pair of sockets, whose other end the side thread has taken. Its descriptor
    /// is counted already.
    pub(crate) fn join_admin(&mut self, remote: SocketAddr, io: &mut Io) -> Option<(u32, Half)> {
        let joined = self.join(remote);
        if joined.is_none() {
            io.descriptors.closed();
        }
        joined
    }

    fn join(&mut self, remote: SocketAddr) -> Option<(u32, Half)> {
        let take = self.admin.as_ref()?;
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None).ok()?;
        let place = self.all.claim()?;
        if take(theirs.into(), remote) {
            return Some((place, Half::new(ours.into(), None)));
        }
        self.all.release(place);
        None
    }

    /// Begins a tunnel to the side thread.
    pub(crate) fn open_admin(
        &mut self,
        (place, owner): (u32, Half),
        departed: Departed<M>,
        machine: &mut M,
        io: &mut Io,
    ) -> Settled<M> {
        let now = io.turn.at().now;
        let mut tunnel = Box::new(Tunnel::new(None, owner, departed, Stage::Open, now));
        self.of_admin += 1;
        let request = std::mem::take(&mut tunnel.request);
        self.pass(place, &mut tunnel, Side::Owner, &request, io);
        self.settle(place, tunnel, machine, io)
    }
}
