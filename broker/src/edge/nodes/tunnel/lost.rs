//! The end of a tunnel whose channel another node has: the client comes back and meets its peers there.
//!
//! Nothing is passed on any more, and the owner's connection is reset: an owner that wakes is not to find messages that
//! its client has sent again elsewhere. A WebSocket is closed by a frame of ours behind the last whole one of the
//! owner's, and the client's end is awaited for [`TUNNEL_LINGER_MS`](crate::edge::limits::TUNNEL_LINGER_MS).

use super::end::stop;
use super::{Ending, Settled, Side, Tunnel, Tunnels};
use crate::edge::io::Io;
use broker_core::machine::{Machine, TunnelFailure};
use codec::ws::close::GOING_AWAY;
use codec::ws::{Place, close_frame};
use ring::Received;

impl<M: Machine> Tunnels<M> {
    /// Another node has the channel of a tunnel.
    pub(super) fn lose_owner(&mut self, place: u32, machine: &mut M, io: &mut Io) -> Settled<M> {
        let Some(mut tunnel) = self.all.borrow(place) else {
            return Settled::done();
        };
        if tunnel.parcel.is_some() {
            tunnel.owner_fails(TunnelFailure::Moved, Ending::Close);
        } else if tunnel.ending.is_none() && !tunnel.is_lost {
            self.close_web_socket(place, &mut tunnel, io);
        }
        self.settle(place, tunnel, machine, io)
    }

    fn close_web_socket(&mut self, place: u32, tunnel: &mut Tunnel<M>, io: &mut Io) {
        match tunnel.frames.place() {
            Place::Between => {
                let mut frame = Vec::new();
                close_frame(&mut frame, GOING_AWAY, "Going away");
                io.counts.tunnel_bytes_to_client += frame.len() as u64;
                self.pass(place, tunnel, Side::Client, &frame, io);
            }
            Place::Closed => {}
            Place::Within | Place::Unknown => return tunnel.end(Ending::Reset),
        }
        tunnel.is_lost = true;
        tunnel.owner.ended.get_or_insert_with(|| io.turn.at().now);
        tunnel.owner.waiting = Vec::new();
        stop(&tunnel.owner, Ending::Reset);
    }
}

impl<M: Machine> Tunnel<M> {
    /// A receive of one side is over, and what it brought is for nobody.
    pub(super) fn discard(&mut self, side: Side, received: Received, io: &mut Io) {
        match received {
            Received::Bytes(lent) => {
                io.count_received(lent.len());
                io.ring.give_back(lent);
            }
            Received::End | Received::Failed(_) if side == Side::Client => self.end(Ending::Close),
            Received::End | Received::Failed(_) | Received::Cancelled => {}
            Received::NoBuffers => io.counts.no_buffers += 1,
        }
    }
}
