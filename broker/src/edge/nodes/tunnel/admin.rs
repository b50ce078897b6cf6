//! The beginning of a tunnel to the side thread: one of a pair of sockets takes the owner's place.

use super::{Half, Side, Stage, Tunnel};
use crate::edge::shard::Edge;
use broker_core::crowd::Origin;
use broker_core::id::SessionKey;
use broker_core::machine::{Machine, TunnelFailure, Tunnelled};
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;

impl<M: Machine> Edge<M> {
    /// Passes a connection to the side thread as soon as the kernel holds nothing of it.
    pub(in crate::edge) fn pass_to_admin(&mut self, session: SessionKey) {
        let Some((client, parcel, tunnelled)) = self.take_leaving(session) else {
            return;
        };
        let Tunnelled { peer, bytes, .. } = tunnelled;
        let Some((place, owner)) = self.join_admin(peer.remote) else {
            let failed = (None, TunnelFailure::NoRoom);
            return self.return_client(client, parcel, failed, bytes);
        };
        let mut tunnel = Box::new(Tunnel {
            node: None,
            peer,
            stage: Stage::Open,
            parcel: Some(parcel),
            repeats: false,
            request: Vec::new(),
            unsent: Vec::new(),
            client,
            owner,
            ending: None,
            began: self.io.turn.at().now,
            due: super::end::NEVER,
            stalled: 0,
        });
        self.tunnels.of_admin += 1;
        self.pass(place, &mut tunnel, Side::Owner, &bytes);
        self.settle(place, tunnel);
    }

    /// A place for a tunnel and its end of a pair of sockets, whose other end the side thread has taken.
    fn join_admin(&mut self, remote: SocketAddr) -> Option<(u32, Half)> {
        let take = self.admin.clone()?;
        if !self.open_for(Origin::of(remote.ip())) {
            return None;
        }
        let joined = Socket::pair(Domain::UNIX, Type::STREAM, None);
        let joined = joined.ok().and_then(|(ours, theirs)| {
            let place = self.tunnels.all.claim()?;
            if take(theirs.into(), remote) {
                return Some((place, Half::new(ours.into(), None)));
            }
            self.tunnels.all.release(place);
            None
        });
        if joined.is_none() {
            self.io.descriptors.closed();
        }
        joined
    }
}
