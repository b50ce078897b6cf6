//! What a tunnel does next, by when, and its end.
//!
//! Half-closes are passed on: when one side has ended and the other has all of its bytes, the other's end is shut. When
//! both are, the tunnel is over. A reset is passed on as one.

use super::copy::key;
use super::{Ending, Half, Side, Stage, Tunnel};
use crate::edge::limits::{
    OVERDUE_PER_TURN, TUNNEL_ANSWER_MS, TUNNEL_CONNECT_MS, TUNNEL_LINGER_MS, TUNNEL_STALL_MS,
    TUNNEL_UPGRADE_MS,
};
use crate::edge::shard::Edge;
use crate::edge::tls::Held;
use broker_core::machine::{Machine, TunnelFailure};
use broker_core::time::Now;
use rustix::net::connect_unspec;
use socket2::SockRef;
use std::net::Shutdown;
use std::os::fd::AsFd;

impl<M: Machine> Edge<M> {
    /// Goes on with a tunnel after anything happened to it, and puts it back into its place; or ends it.
    pub(super) fn settle(&mut self, place: u32, mut tunnel: Box<Tunnel<M>>) {
        if tunnel.ending.is_none() {
            self.pass_ends_on(place, &mut tunnel);
        }
        if tunnel.ending.is_some() {
            return self.wind_up(place, tunnel);
        }
        for side in Side::BOTH {
            let reads = match (&tunnel.stage, side) {
                (Stage::Connecting, _) | (Stage::Greeting(_), Side::Client) => false,
                (Stage::Greeting(_), Side::Owner) | (Stage::Open, _) => true,
            };
            let other_takes = tunnel.half(side.other()).taken();
            let half = tunnel.half(side);
            let goes_on = reads && other_takes && half.ended.is_none() && !half.queued;
            if let Some(tls) = half.tls.as_mut().filter(|_| !goes_on) {
                tls.pause();
            }
            if goes_on && !half.armed {
                half.armed = true;
                self.io
                    .ring
                    .receive_once(half.socket.as_fd(), key(place, side));
            }
        }
        self.schedule(place, &mut tunnel);
        self.tunnels.all.put_back(place, tunnel);
        self.io.counts.tunnels = self.tunnels.to_nodes();
    }

    /// Shuts the end of each side whose other has ended, once it has all its bytes.
    fn pass_ends_on(&mut self, place: u32, tunnel: &mut Tunnel<M>) {
        if !matches!(tunnel.stage, Stage::Open) {
            return;
        }
        for side in Side::BOTH {
            let ended = tunnel.half(side.other()).ended.is_some();
            let half = tunnel.half(side);
            if !ended || half.shut || !half.taken() {
                continue;
            }
            if let Some(tls) = &mut half.tls {
                tls.notify_close();
                self.pass(place, tunnel, side, &[]);
            }
            let half = tunnel.half(side);
            if half.taken() {
                half.shut = true;
                let _ = SockRef::from(&half.socket).shutdown(Shutdown::Write);
            }
        }
        if tunnel.client.shut && tunnel.owner.shut {
            tunnel.end(Ending::Close);
        }
    }

    /// Ends a tunnel, or goes on ending it until the kernel holds nothing of it.
    fn wind_up(&mut self, place: u32, mut tunnel: Box<Tunnel<M>>) {
        let Some(mut ending) = tunnel.ending else {
            return self.tunnels.all.put_back(place, tunnel);
        };
        // A client that does not take what it was sent before would keep it from ending.
        if self.io.stopping
            || (tunnel.client.sending.is_some() && matches!(ending, Ending::Bounce(_)))
        {
            (ending, tunnel.ending) = (Ending::Close, Some(Ending::Close));
        }
        // From now on it takes no room of tunnels that begin: a search for room finds each victim once.
        self.tunnels.beginning.leave(place);
        let mut unsent = self.take_request(&mut tunnel);
        tunnel.unsent.append(&mut unsent);
        let connecting = matches!(tunnel.stage, Stage::Connecting);
        for side in Side::BOTH {
            let half = tunnel.half(side);
            if half.at_rest() || half.cancelled {
                continue;
            }
            if connecting && half.armed {
                self.io.ring.cancel_connect(key(place, side));
            } else if half.armed {
                self.io.ring.cancel_receive(key(place, side));
            }
            half.cancelled = true;
            // Of a client that is still to be answered only the receive ends.
            if side == Side::Owner || !matches!(ending, Ending::Bounce(_)) {
                stop(half, ending);
            }
        }
        if !tunnel.client.at_rest() || !tunnel.owner.at_rest() {
            self.schedule(place, &mut tunnel);
            return self.tunnels.all.put_back(place, tunnel);
        }
        self.finish(place, *tunnel, ending);
    }

    fn finish(&mut self, place: u32, tunnel: Tunnel<M>, ending: Ending) {
        self.tunnels.due.remove(&(tunnel.due, place));
        self.tunnels.stalled_bytes -= tunnel.stalled;
        self.tunnels.stalled.remove(&place);
        self.tunnels.all.release(place);
        self.machine.tunnel_left(place);
        self.tunnels.of_admin -= usize::from(tunnel.node.is_none());
        self.io.counts.tunnels = self.tunnels.to_nodes();
        let Tunnel {
            node,
            parcel,
            client,
            mut owner,
            unsent,
            ..
        } = tunnel;
        self.discharge(&mut owner);
        stop(&owner, ending);
        drop(owner);
        self.io.descriptors.closed();
        match (ending, parcel) {
            (Ending::Bounce(why), Some(parcel)) => {
                self.return_client(client, parcel, (node, why), unsent);
            }
            (Ending::Bounce(_) | Ending::Close | Ending::Reset, _) => {
                stop(&client, ending);
                self.close_client(client);
            }
        }
    }

    /// Closes a client's connection that is in no table.
    pub(super) fn close_client(&mut self, mut client: Half) {
        self.discharge(&mut client);
        drop(client);
        self.io.descriptors.closed();
    }

    /// The unfinished record of a side is no longer counted as a tunnel's.
    pub(super) fn discharge(&mut self, half: &mut Half) {
        if let Some(tls) = &mut half.tls {
            let before = tls.discharge();
            self.io.counts.count_held(before, Held::default());
        }
    }

    /// Has a tunnel looked at when it is due.
    fn schedule(&mut self, place: u32, tunnel: &mut Tunnel<M>) {
        let engines = [&tunnel.client.tls, &tunnel.owner.tls]
            .into_iter()
            .flatten();
        let record = engines.filter_map(|tls| tls.begun()).min();
        let record = record.map_or(NEVER, |begun| begun.after(self.io.settings.record_ms));
        let due = if tunnel.ending.is_some() {
            NEVER // what is armed or in flight on a socket that was shut down completes at once
        } else {
            tunnel.limit().min(record)
        };
        if due != tunnel.due {
            self.tunnels.due.remove(&(tunnel.due, place));
            tunnel.due = due;
            if due != NEVER {
                self.tunnels.due.insert((due, place));
            }
        }
    }

    /// Ends tunnels whose time is over.
    pub(in crate::edge) fn end_overdue_tunnels(&mut self) {
        for _ in 0..OVERDUE_PER_TURN {
            let Some(&(due, place)) = self.tunnels.due.first() else {
                return;
            };
            if due > self.io.turn.at().now {
                return;
            }
            self.io.counts.overdue += 1;
            let Some(mut tunnel) = self.tunnels.all.borrow(place) else {
                self.tunnels.due.remove(&(due, place));
                continue;
            };
            if tunnel.limit() <= self.io.turn.at().now {
                if let (Stage::Connecting, Some(node)) = (&tunnel.stage, tunnel.node) {
                    self.tunnels.turns.failed(node);
                }
                tunnel.owner_fails(TunnelFailure::Timeout, Ending::Close);
            } else {
                tunnel.end(Ending::Close); // a TLS record that is not finished
            }
            self.settle(place, tunnel);
        }
    }

    /// Ends one that makes room for another connection.
    pub(in crate::edge) fn displace_tunnel(&mut self, place: u32) {
        if let Some(mut tunnel) = self.tunnels.all.borrow(place) {
            self.io.counts.evicted += 1;
            tunnel.owner_fails(TunnelFailure::NoRoom, Ending::Close);
            self.settle(place, tunnel);
        }
    }

    /// Ends one.
    pub(super) fn end_tunnel(&mut self, place: u32, ending: Ending) {
        if let Some(mut tunnel) = self.tunnels.all.borrow(place) {
            tunnel.end(ending);
            self.settle(place, tunnel);
        }
    }

    /// Ends all, since the shard ends.
    pub(in crate::edge) fn end_tunnels(&mut self) {
        for place in self.tunnels.all.all() {
            self.end_tunnel(place, Ending::Close);
        }
    }
}

impl<M: Machine> Tunnel<M> {
    /// When it ends unless something happens.
    fn limit(&self) -> Now {
        if !matches!(self.stage, Stage::Open) {
            return self.began.after(TUNNEL_CONNECT_MS);
        }
        let sending = [self.client.sending, self.owner.sending];
        let stalled = sending.into_iter().flatten().min();
        let stalled = stalled.map_or(NEVER, |since| since.after(TUNNEL_STALL_MS));
        let silent = match (self.owner.ended, self.client.ended) {
            (Some(ended), _) => ended.after(TUNNEL_LINGER_MS),
            (None, Some(ended)) => ended.after(TUNNEL_ANSWER_MS),
            (None, None) if self.parcel.is_none() => NEVER,
            (None, None) if self.repeats => self.began.after(TUNNEL_UPGRADE_MS),
            (None, None) => self.began.after(TUNNEL_ANSWER_MS),
        };
        stalled.min(silent)
    }
}

/// Has the kernel end a connection: what is armed on it completes now.
fn stop(half: &Half, ending: Ending) {
    if ending == Ending::Reset {
        let _ = connect_unspec(&half.socket);
    }
    if !half.at_rest() {
        let _ = SockRef::from(&half.socket).shutdown(Shutdown::Both);
    }
}

/// No deadline.
pub(super) const NEVER: Now = Now(u64::MAX);
