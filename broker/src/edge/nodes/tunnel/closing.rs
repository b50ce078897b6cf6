//! The end of a tunnel whose channel another node has, or whose node ends: the client comes back and meets its peers
//! elsewhere.
//!
//! ```text
//!                        owner                                  client
//!  another node has it   reset; nothing is passed any more      a close frame of ours behind the owner's last one, FIN
//!  this node ends        FIN: it closes behind all that it      all of that, and its close frame; FIN
//!                        accepted; its end is awaited
//! ```
//! An owner that lost the channel and wakes is not to find messages that its client has sent again elsewhere, so it is
//! reset. One that has it is to lose none of the messages that it accepted for this client: it puts its close frame
//! behind those, and keeps what follows. Where it does not end in time
//! ([`TUNNEL_LEAVE_MS`](crate::edge::limits::TUNNEL_LEAVE_MS)) or has failed, the close frame is ours.
//!
//! Bytes of the client are read meanwhile and dropped, since unread ones would make the end a reset. Its own end is
//! awaited for [`TUNNEL_LINGER_MS`](crate::edge::limits::TUNNEL_LINGER_MS).

use crate::edge::io::Io;
use crate::edge::nodes::tunnel::end::stop;
use crate::edge::nodes::tunnel::{Ending, Passes, Settled, Side, Tunnel, Tunnels};
use broker_core::machine::{Machine, TunnelFailure};
use codec::ws::close::GOING_AWAY;
use codec::ws::{Place, close_frame};
use ring::Received;

impl<M: Machine> Tunnels<M> {
    /// Another node has the channel of a tunnel. A call that is being answered is answered to its end.
    pub(crate) fn lose_owner(&mut self, place: u32, machine: &mut M, io: &mut Io) -> Settled<M> {
        let Some(mut tunnel) = self.all.borrow(place) else {
            return Settled::done();
        };
        if tunnel.parcel.is_some() {
            tunnel.owner_fails(TunnelFailure::Moved, Ending::Close);
        } else if tunnel.repeats && tunnel.ending.is_none() && tunnel.passes != Passes::Nothing {
            self.end_for_client(place, &mut tunnel, io);
        }
        self.settle(place, tunnel, machine, io)
    }

    /// This node ends. A call is awaited, and so is the rest of what the owner has for a WebSocket.
    pub(crate) fn leave(&mut self, place: u32, machine: &mut M, io: &mut Io) -> Settled<M> {
        let Some(mut tunnel) = self.all.borrow(place) else {
            return Settled::done();
        };
        if tunnel.parcel.is_some() && tunnel.repeats {
            tunnel.owner_fails(TunnelFailure::Drain, Ending::Close);
        } else if tunnel.ending.is_none() && tunnel.passes == Passes::Both {
            tunnel.passes = Passes::ToClient(io.turn.at().now);
        }
        self.settle(place, tunnel, machine, io)
    }

    /// Nothing more comes of the owner: a WebSocket is closed behind its last frame, or reset within one.
    pub(crate) fn end_for_client(&mut self, place: u32, tunnel: &mut Tunnel<M>, io: &mut Io) {
        match tunnel.frames.place() {
            Place::Between => {
                let mut frame = Vec::new();
                close_frame(&mut frame, GOING_AWAY, "Going away");
                io.counts.tunnel_bytes_to_client += frame.len() as u64;
                self.pass(place, tunnel, Side::Client, &frame, io);
            }
            Place::Closed => {}
            // The answer to a call, which may be cut.
            Place::Within | Place::Unknown if !tunnel.repeats => {}
            Place::Within | Place::Unknown => return tunnel.end(Ending::Reset),
        }
        tunnel.passes = Passes::Nothing;
        tunnel.owner.ended.get_or_insert_with(|| io.turn.at().now);
        tunnel.owner.waiting = Vec::new();
        stop(&tunnel.owner, Ending::Reset);
    }
}

impl<M: Machine> Tunnel<M> {
    /// Whether this node ends, and the end of an owner that has answered is awaited.
    pub(crate) fn leaves(&self) -> bool {
        matches!(self.passes, Passes::ToClient(_)) && self.parcel.is_none()
    }

    /// A receive of one side is over, and what it brought is for nobody.
    pub(crate) fn discard(&mut self, side: Side, received: Received, io: &mut Io) {
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
