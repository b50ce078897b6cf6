//! The next step of a tunnel, its deadline, and its end; also where another node has its channel, or this node ends.
//!
//! Half-closes are passed on: when one side has ended and the other has all of its bytes, the other's end is shut. When
//! both are, the tunnel is over. A reset is passed on as one. The owner's end is also shut where this node ends.

use crate::edge::limits::{
    TUNNEL_ANSWER_MS, TUNNEL_CONNECT_MS, TUNNEL_LEAVE_MS, TUNNEL_LINGER_MS, TUNNEL_STALL_MS,
    TUNNEL_UPGRADE_MS,
};
use crate::edge::tunnels::copy::key;
use crate::edge::tunnels::{
    Departed, Ending, Half, Passes, Returned, Settled, Side, Stage, Tunnel, Tunnels,
};
use crate::edge::{
    connection::NEVER, counters::EdgeCounts, io::Io, start::EdgeSettings, tls::Held,
};
use broker_core::machine::{Machine, TunnelFailure, Tunnelled};
use broker_core::time::Now;
use codec::ws::close::GOING_AWAY;
use codec::ws::{Place, close_frame};
use ring::Received;
use rustix::net::connect_unspec;
use socket2::SockRef;
use std::net::Shutdown;
use std::os::fd::AsFd;

impl<M: Machine> Tunnels<M> {
    /// Goes on with a tunnel after anything happened to it, and puts it back into its place; or ends it.
    pub(crate) fn settle(
        &mut self,
        place: u32,
        mut tunnel: Box<Tunnel<M>>,
        machine: &mut M,
        io: &mut Io,
    ) -> Settled<M> {
        if tunnel.ending.is_none() {
            self.pass_ends_on(place, &mut tunnel, io);
        }
        if tunnel.ending.is_some() {
            return self.wind_up(place, tunnel, machine, io);
        }
        let (is_call, is_answered) = (tunnel.kept.is_some(), tunnel.is_answered());
        if is_answered && tunnel.owner.at_rest() {
            return self.deliver(place, tunnel, machine, io);
        }
        for side in Side::BOTH {
            let reads = match (&tunnel.stage, side) {
                (Stage::Connecting, _) | (Stage::Greeting(_), Side::Client) => false,
                (Stage::Open, Side::Client) => !is_call,
                (Stage::Open, Side::Owner) => !is_answered,
                (Stage::Greeting(_), Side::Owner) => true,
            };
            let other_takes = tunnel.half(side.other()).taken();
            let half = tunnel.half(side);
            let goes_on = reads && other_takes && half.ended.is_none() && !half.queued;
            if let Some(tls) = half.tls.as_mut().filter(|_| !goes_on) {
                tls.pause();
            }
            if goes_on && !half.armed {
                half.armed = true;
                io.ring.receive_once(half.socket.as_fd(), key(place, side));
            }
        }
        self.schedule(place, &mut tunnel, &io.settings);
        self.all.put_back(place, tunnel);
        io.counts.tunnels = self.to_nodes();
        Settled::done()
    }

    /// Shuts the end of each side whose other has ended, once it has all its bytes.
    fn pass_ends_on(&mut self, place: u32, tunnel: &mut Tunnel<M>, io: &mut Io) {
        if !matches!(tunnel.stage, Stage::Open) || tunnel.kept.is_some() {
            return;
        }
        for side in Side::BOTH {
            let ended = tunnel.half(side.other()).ended.is_some() || tunnel.drops(side.other());
            let waits = side == Side::Owner && tunnel.awaits_free();
            let client_is_over = tunnel.client.shut && tunnel.client.ended.is_some();
            let half = tunnel.half(side);
            if !ended || half.shut || waits || !half.taken() {
                continue;
            }
            // The close that follows is all that an owner which has ended is to learn.
            if client_is_over && side == Side::Owner && half.ended.is_some() {
                half.shut = true;
                continue;
            }
            if let Some(tls) = &mut half.tls {
                tls.notify_close();
                self.pass(place, tunnel, side, &[], io);
            }
            let half = tunnel.half(side);
            if half.taken() {
                half.shut = true;
                let _ = SockRef::from(&half.socket).shutdown(Shutdown::Write);
            }
        }
        if tunnel.client.shut && tunnel.owner.shut && tunnel.client.ended.is_some() {
            tunnel.end(Ending::Close);
        }
    }

    /// Ends a tunnel, or goes on ending it until the kernel holds nothing of it.
    fn wind_up(
        &mut self,
        place: u32,
        mut tunnel: Box<Tunnel<M>>,
        machine: &mut M,
        io: &mut Io,
    ) -> Settled<M> {
        let Some(mut ending) = tunnel.ending else {
            self.all.put_back(place, tunnel);
            return Settled::done();
        };
        // A client that does not take what it was sent before would keep it from ending.
        if io.stopping || (tunnel.client.sending.is_some() && matches!(ending, Ending::Bounce(_))) {
            (ending, tunnel.ending) = (Ending::Close, Some(Ending::Close));
        }
        // From now on it takes no room of tunnels that begin: a search for room finds each victim once.
        self.beginning.leave(place);
        let mut unsent = self.take_unsent(place, &mut tunnel);
        tunnel.unsent.append(&mut unsent);
        let connecting = matches!(tunnel.stage, Stage::Connecting);
        for side in Side::BOTH {
            let half = tunnel.half(side);
            if half.at_rest() || half.cancelled {
                continue;
            }
            if connecting && half.armed {
                io.ring.cancel_connect(key(place, side));
            } else if half.armed {
                io.ring.cancel_receive(key(place, side));
            }
            half.cancelled = true;
            // Of a client that is still to be answered only the receive ends.
            if side == Side::Owner || !matches!(ending, Ending::Bounce(_)) {
                stop(half, ending);
            }
        }
        if !tunnel.client.at_rest() || !tunnel.owner.at_rest() {
            self.schedule(place, &mut tunnel, &io.settings);
            self.all.put_back(place, tunnel);
            return Settled::done();
        }
        self.finish(place, *tunnel, ending, machine, io)
    }

    fn finish(
        &mut self,
        place: u32,
        mut tunnel: Tunnel<M>,
        ending: Ending,
        machine: &mut M,
        io: &mut Io,
    ) -> Settled<M> {
        self.due.remove(&(tunnel.due, place));
        self.stalled_bytes -= tunnel.stalled;
        self.stalled.remove(&place);
        machine.tunnel_left(place);
        let free = tunnel.take_free(ending);
        let Tunnel {
            node,
            peer,
            ahead,
            repeats,
            call,
            parcel,
            client,
            owner,
            unsent,
            ..
        } = tunnel;
        match (free, node) {
            (Some(upgrade), Some(node)) => self.await_next(place, (node, owner), *upgrade, io),
            (_, _) => {
                self.all.release(place);
                stop(&owner, ending);
                owner.close(io);
            }
        }
        io.counts.tunnels = self.to_nodes();
        if let (Ending::Bounce(why), Some(node)) = (ending, node)
            && matches!(
                why,
                TunnelFailure::Connect | TunnelFailure::Timeout | TunnelFailure::Foreign
            )
        {
            self.distrust(node, io);
        }
        match (ending, parcel, node) {
            // It may have ended before the request went there, which had no answer.
            (Ending::Bounce(TunnelFailure::Closed), Some(parcel), Some(node))
                if ahead && !unsent.is_empty() =>
            {
                let departed = Departed {
                    client,
                    parcel,
                    sent: Tunnelled {
                        peer,
                        bytes: unsent,
                        repeats,
                        call,
                        waits: false,
                    },
                };
                Settled {
                    again: Some(Box::new((node, departed))),
                    ..Settled::done()
                }
            }
            (Ending::Bounce(why), Some(parcel), _) => Settled {
                returned: Some(Box::new(Returned {
                    client,
                    parcel,
                    failed: (node, why),
                    unsent,
                })),
                ..Settled::done()
            },
            (Ending::Bounce(_) | Ending::Close | Ending::Reset, _, _) => {
                stop(&client, ending);
                client.close(io);
                Settled::done()
            }
        }
    }

    /// Has a tunnel looked at when it is due.
    fn schedule(&mut self, place: u32, tunnel: &mut Tunnel<M>, settings: &EdgeSettings) {
        let engines = [&tunnel.client.tls, &tunnel.owner.tls]
            .into_iter()
            .flatten();
        let record = engines.filter_map(|tls| tls.begun()).min();
        let record = record.map_or(NEVER, |begun| begun.after(settings.record_ms));
        let due = if tunnel.ending.is_some() {
            NEVER // what is armed or in flight on a socket that was shut down completes at once
        } else {
            tunnel.limit().min(record)
        };
        if due != tunnel.due {
            self.due.remove(&(tunnel.due, place));
            tunnel.due = due;
            if due != NEVER {
                self.due.insert((due, place));
            }
        }
    }

    /// The next tunnel whose time is over.
    pub(crate) fn overdue(&self, now: Now) -> Option<u32> {
        let &(due, place) = self.due.first()?;
        (due <= now).then_some(place)
    }

    /// Ends a tunnel whose time is over.
    pub(crate) fn end_late(&mut self, place: u32, machine: &mut M, io: &mut Io) -> Settled<M> {
        io.counts.overdue += 1;
        let Some(mut tunnel) = self.all.borrow(place) else {
            self.due.pop_first();
            return Settled::done();
        };
        if tunnel.limit() <= io.turn.at().now {
            if let (Stage::Connecting, Some(node)) = (&tunnel.stage, tunnel.node) {
                self.turns.failed(node);
            }
            if tunnel.leaves() {
                self.end_for_client(place, &mut tunnel, io);
            } else {
                tunnel.owner_fails(TunnelFailure::Timeout, Ending::Close);
            }
        } else {
            tunnel.end(Ending::Close); // a TLS record that is not finished
        }
        self.settle(place, tunnel, machine, io)
    }

    /// Ends one that makes room for another connection.
    pub(crate) fn displace(&mut self, place: u32, machine: &mut M, io: &mut Io) -> Settled<M> {
        let Some(mut tunnel) = self.all.borrow(place) else {
            return Settled::done();
        };
        io.counts.evicted += 1;
        tunnel.owner_fails(TunnelFailure::NoRoom, Ending::Close);
        self.settle(place, tunnel, machine, io)
    }

    /// Ends one.
    pub(crate) fn end(
        &mut self,
        place: u32,
        ending: Ending,
        machine: &mut M,
        io: &mut Io,
    ) -> Settled<M> {
        let Some(mut tunnel) = self.all.borrow(place) else {
            return Settled::done();
        };
        tunnel.end(ending);
        self.settle(place, tunnel, machine, io)
    }

    /// The numbers of all.
    pub(crate) fn places(&self) -> Vec<u32> {
        self.all.all()
    }
}

impl Half {
    /// Closes a client's connection that is in no table.
    pub(crate) fn close(mut self, io: &mut Io) {
        self.discharge(&mut io.counts);
        drop(self);
        io.descriptors.closed();
    }

    /// The unfinished record of a side is no longer counted as a tunnel's.
    pub(crate) fn discharge(&mut self, counts: &mut EdgeCounts) {
        if let Some(tls) = &mut self.tls {
            let before = tls.discharge();
            counts.count_held(before, Held::default());
        }
    }
}

impl<M: Machine> Tunnel<M> {
    /// When it ends unless something happens.
    fn limit(&self) -> Now {
        if !matches!(self.stage, Stage::Open) {
            return self.began.after(TUNNEL_CONNECT_MS);
        }
        if let Passes::ToClient(since) = self.passes {
            return since.after(TUNNEL_LEAVE_MS).min(self.taken_due());
        }
        let sending = [self.client.sending, self.owner.sending];
        let stalled = sending.into_iter().flatten().min();
        let stalled = stalled.map_or(NEVER, |since| since.after(TUNNEL_STALL_MS));
        let silent = match (self.owner.ended, self.client.ended) {
            (Some(ended), _) => ended.after(TUNNEL_LINGER_MS),
            (None, Some(ended)) => ended.after(TUNNEL_ANSWER_MS),
            (None, None) if self.parcel.is_none() => NEVER,
            // It was greeted long ago: the answer is the first sign that the owner is there.
            (None, None) if self.ahead => self.began.after(TUNNEL_CONNECT_MS),
            (None, None) if self.repeats => self.began.after(TUNNEL_UPGRADE_MS),
            (None, None) => self.began.after(TUNNEL_ANSWER_MS),
        };
        stalled.min(silent).min(self.taken_due())
    }
}

/// Has the kernel end a connection: what is armed on it completes now.
pub(crate) fn stop(half: &Half, ending: Ending) {
    if ending == Ending::Reset {
        let _ = connect_unspec(&half.socket);
    }
    if !half.at_rest() {
        let _ = SockRef::from(&half.socket).shutdown(Shutdown::Both);
    }
}

// The end of a tunnel whose channel another node has, or whose node ends: the client comes back and meets its peers
// elsewhere.
//
// ```text
//                        owner                                  client
//  another node has it   reset; nothing is passed any more      a close frame of ours behind the owner's last one, FIN
//  this node ends        FIN: it closes behind all that it      all of that, and its close frame; FIN
//                        accepted; its end is awaited
// ```
// An owner that lost the channel and wakes is not to find messages that its client has sent again elsewhere, so it is
// reset. One that has it is to lose none of the messages that it accepted for this client: it puts its close frame
// behind those, and keeps what follows. Where it does not end in time
// ([`TUNNEL_LEAVE_MS`](crate::edge::limits::TUNNEL_LEAVE_MS)) or has failed, the close frame is ours.
//
// Bytes of the client are read meanwhile and dropped, since unread ones would make the end a reset. Its own end is
// awaited for [`TUNNEL_LINGER_MS`](crate::edge::limits::TUNNEL_LINGER_MS).

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
