//! Bytes through a tunnel, both ways: what one side sent goes to the other, which is to take it before more is read.

use crate::edge::eviction::{Holder, excess, payers};
use crate::edge::io::{Io, Shaking};
use crate::edge::limits::{LAUNCH_BYTES, LINK_HELD_BYTES};
use crate::edge::links::{LinkEnd, link_key};
use crate::edge::start::EdgeSettings;
use crate::edge::tls::{Held, Read};
use crate::edge::tunnels::{Ending, Passes, Settled, Side, Stage, Tunnel, Tunnels};
use broker_core::machine::{Machine, TunnelFailure};
use broker_core::{id::SessionKey, time::Now};
use ring::{Lent, Received};
use std::io;
use std::os::fd::AsFd;

/// One side of a tunnel.
#[derive(Clone, Copy)]
pub(crate) struct SideOf {
    /// The tunnel's place.
    pub(crate) place: u32,
    pub(crate) side: Side,
}

impl<M: Machine> Tunnels<M> {
    /// A receive of one side is over.
    pub(crate) fn received(
        &mut self,
        place: u32,
        side: Side,
        received: Received,
        machine: &mut M,
        io: &mut Io,
    ) -> Settled<M> {
        let Some(mut tunnel) = self.all.borrow(place) else {
            debug_assert!(false, "a tunnel outlives what is armed on it");
            if let Received::Bytes(lent) = received {
                io.ring.give_back(lent);
            }
            return Settled::done();
        };
        let begins = matches!(tunnel.stage, Stage::Greeting(_));
        let half = tunnel.half(side);
        (half.armed, half.cancelled) = (false, false);
        let now = io.turn.at().now;
        match received {
            received if tunnel.drops(side) => tunnel.discard(side, received, io),
            Received::Bytes(lent) => {
                let end = SideOf { place, side };
                self.take(end, &mut tunnel, lent, machine, io);
            }
            Received::End | Received::Failed(_) if tunnel.leaves() => {
                self.end_for_client(place, &mut tunnel, io);
            }
            Received::End => tunnel.side_ended(side, now),
            // The side thread closed without reading all: what it answered is to arrive all the same.
            Received::Failed(_) if side == Side::Owner && tunnel.node.is_none() => {
                tunnel.side_ended(side, now);
            }
            Received::Failed(error) if side == Side::Owner => {
                tunnel.was_cut(&error);
                tunnel.owner_fails(TunnelFailure::Closed, Ending::Reset);
            }
            Received::Failed(_) => tunnel.end(Ending::Reset),
            // Armed again when it is settled: all buffers of this turn are back by then.
            Received::NoBuffers => io.counts.no_buffers += 1,
            Received::Cancelled => {}
        }
        Settled {
            outputs: begins,
            ..self.settle(place, tunnel, machine, io)
        }
    }

    fn take(
        &mut self,
        end: SideOf,
        tunnel: &mut Tunnel<M>,
        mut lent: Lent,
        machine: &mut M,
        io: &mut Io,
    ) {
        let SideOf { place, side } = end;
        io.count_received(lent.len());
        if tunnel.ending.is_some() {
            return io.ring.give_back(lent);
        }
        if tunnel.half(side).tls.is_some() {
            return self.take_cipher(end, tunnel, lent, machine, io);
        }
        // The bytes are copied out of the lent buffer where another part of the ring is needed meanwhile.
        if side == Side::Owner && matches!(tunnel.stage, Stage::Greeting(_)) {
            let bytes = io.ring.bytes(&mut lent).to_vec();
            io.ring.give_back(lent);
            return self.greeted(place, tunnel, &bytes, machine, io);
        }
        if side == Side::Owner && tunnel.kept.is_some() {
            let bytes = io.ring.bytes(&mut lent).to_vec();
            io.ring.give_back(lent);
            return self.take_frames(place, tunnel, &bytes, io);
        }
        let bytes = io.ring.bytes(&mut lent);
        if side == Side::Owner && tunnel.is_declined(bytes) {
            io.ring.give_back(lent);
            return tunnel.owner_fails(TunnelFailure::Closed, Ending::Close);
        }
        let length = tunnel.follow(side, bytes);
        if side == Side::Owner {
            tunnel.look_behind(io.turn.at().now);
        }
        if length == 0 {
            return io.ring.give_back(lent);
        }
        self.count_passed(tunnel, side, length, io);
        let rest = write(tunnel, side.other(), Piece::Lent(&mut lent, length), io);
        io.ring.give_back(lent);
        self.launch_rest(place, tunnel, side.other(), rest, io);
    }

    /// Bytes of one side are on their way to the other; those of other nodes are counted.
    pub(crate) fn count_passed(
        &mut self,
        tunnel: &mut Tunnel<M>,
        from: Side,
        bytes: usize,
        io: &mut Io,
    ) {
        if !tunnel.request.is_empty() {
            self.take_request(tunnel); // it is answered, or more follows it
        }
        if from == Side::Owner {
            let was_answered = tunnel.parcel.take().is_none();
            // One on a connection that came back needs none that is opened ahead.
            let needs_one = tunnel.upgrade.as_ref().is_some_and(|it| it.number == 0);
            if let Some(node) = tunnel.node.filter(|_| !was_answered && needs_one) {
                self.aheads.stock.answered(node, io.turn.at().now);
            }
            if let Passes::ToClient(since) = &mut tunnel.passes {
                *since = io.turn.at().now;
            }
        }
        match from {
            Side::Owner | Side::Client if tunnel.node.is_none() => {}
            Side::Owner => io.counts.tunnel_bytes_to_client += bytes as u64,
            Side::Client => io.counts.tunnel_bytes_to_owner += bytes as u64,
        }
    }

    /// Ciphertext goes into the engine at once, unless it belongs to a handshake and this turn has had its share of
    /// those.
    fn take_cipher(
        &mut self,
        end: SideOf,
        tunnel: &mut Tunnel<M>,
        mut lent: Lent,
        machine: &mut M,
        io: &mut Io,
    ) {
        let SideOf { place, side } = end;
        let wait = io.handshakes.wait();
        let half = tunnel.half(side);
        let Some(tls) = &mut half.tls else {
            return io.ring.give_back(lent);
        };
        if wait && tls.handshaking() {
            tls.hold(io.ring.bytes(&mut lent));
            io.ring.give_back(lent);
            half.queued = true;
            let waiting = Shaking::Link(LinkEnd::Owner(place)); // a client's handshake is over before
            return io.handshakes.push(waiting);
        }
        let mut plain = std::mem::take(&mut io.plain);
        let read = tls.read(io.ring.bytes(&mut lent), &mut plain, io.turn.at().now);
        io.ring.give_back(lent);
        self.decrypted(end, tunnel, (plain, read), machine, io);
    }

    /// Passes decrypted bytes to the other side, unless they are the owner's greeting.
    pub(crate) fn decrypted(
        &mut self,
        SideOf { place, side }: SideOf,
        tunnel: &mut Tunnel<M>,
        (mut plain, read): (Vec<u8>, Read),
        machine: &mut M,
        io: &mut Io,
    ) {
        let Some(tls) = &mut tunnel.half(side).tls else {
            return debug_assert!(false, "it was decrypted");
        };
        let shook = tls.handshaking();
        let kind = if shook { tls.just_secured() } else { None };
        let too_much = tls.handshaking() && tls.held_bytes() > LINK_HELD_BYTES as u64;
        let has_out = tls.has_out();
        // Bytes of a handshake between nodes have a bound of their own.
        let (before, after) = if tls.handshaking() {
            <(Held, Held)>::default()
        } else {
            tls.recharge()
        };
        io.counts.count_held(before, after);
        if shook {
            io.count_handshake(kind);
        }
        if has_out {
            self.pass(place, tunnel, side, &[], io);
        }
        if side == Side::Owner && matches!(tunnel.stage, Stage::Greeting(_)) {
            if !plain.is_empty() {
                self.greeted(place, tunnel, &plain, machine, io);
            }
        } else if side == Side::Owner && tunnel.kept.is_some() {
            if !plain.is_empty() {
                self.take_frames(place, tunnel, &plain, io);
            }
        } else if side == Side::Owner && tunnel.is_declined(&plain) {
            tunnel.owner_fails(TunnelFailure::Closed, Ending::Close);
        } else if !plain.is_empty() {
            let last = matches!(read, Read::End) && !tunnel.leaves();
            self.pass_plain(SideOf { place, side }, tunnel, (&plain, last), io);
        }
        plain.clear();
        io.plain = plain;
        match (read, side) {
            (Read::More, _) if !too_much => {}
            (Read::End, _) if tunnel.leaves() => self.end_for_client(place, tunnel, io),
            (Read::End, _) => tunnel.side_ended(side, io.turn.at().now),
            (_, Side::Client) => tunnel.end(Ending::Close),
            (_, Side::Owner) => tunnel.owner_fails(TunnelFailure::Foreign, Ending::Reset),
        }
        let most = io.settings.partial_record_bytes as u64;
        if after.secured > before.secured && io.counts.partial_record_bytes > most {
            tunnel.end(Ending::Close); // who adds to what is too much already
        }
    }

    /// Passes bytes of one side on, the `last` ones perhaps.
    fn pass_plain(
        &mut self,
        SideOf { place, side }: SideOf,
        tunnel: &mut Tunnel<M>,
        (bytes, mut last): (&[u8], bool),
        io: &mut Io,
    ) {
        let length = tunnel.follow(side, bytes);
        if side == Side::Owner {
            tunnel.look_behind(io.turn.at().now);
            last |= tunnel.passes == Passes::Nothing;
        }
        let Some(bytes) = bytes.get(..length).filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        self.count_passed(tunnel, side, length, io);
        tunnel.half(side.other()).last = last && !tunnel.awaits_free();
        self.pass(place, tunnel, side.other(), bytes, io);
    }

    /// Sends bytes to one side, behind what waits for it.
    pub(crate) fn pass(
        &mut self,
        place: u32,
        tunnel: &mut Tunnel<M>,
        to: Side,
        bytes: &[u8],
        io: &mut Io,
    ) {
        let rest = write(tunnel, to, Piece::Own(bytes), io);
        self.launch_rest(place, tunnel, to, rest, io);
    }

    /// Gives the ring what a socket had no room for.
    fn launch_rest(
        &mut self,
        place: u32,
        tunnel: &mut Tunnel<M>,
        to: Side,
        rest: Option<Vec<u8>>,
        io: &mut Io,
    ) {
        let Some(flight) = rest else {
            return;
        };
        debug_assert!(
            flight.len() <= LAUNCH_BYTES,
            "a request, or a receive buffer's worth"
        );
        io.counts.queued_sends += 1;
        tunnel.stalled += flight.len();
        self.stalled_bytes += flight.len();
        self.stalled.insert(place);
        let half = tunnel.half(to);
        half.sending = Some(io.turn.at().now);
        io.ring.send(half.socket.as_fd(), key(place, to), flight, 0);
    }

    /// A send of the ring is over.
    pub(crate) fn sent(
        &mut self,
        SideOf { place, side }: SideOf,
        flight: Vec<u8>,
        result: &io::Result<usize>,
        machine: &mut M,
        io: &mut Io,
    ) -> Settled<M> {
        let Some(mut tunnel) = self.all.borrow(place) else {
            debug_assert!(false, "a tunnel outlives its send");
            return Settled::done();
        };
        let sent = result.as_ref().copied().unwrap_or(0);
        let whole = sent == flight.len();
        io.counts.sent_bytes += sent as u64;
        tunnel.stalled -= flight.len();
        self.stalled_bytes -= flight.len();
        if tunnel.stalled == 0 {
            self.stalled.remove(&place);
        }
        io.spares.recycle(flight);
        tunnel.half(side).sending = None;
        if whole {
            let waiting = std::mem::take(&mut tunnel.half(side).waiting);
            let tls = &tunnel.half(side).tls;
            if !waiting.is_empty() || tls.as_ref().is_some_and(|tls| tls.has_out()) {
                self.pass(place, &mut tunnel, side, &waiting, io);
            }
        } else {
            side_broke(&mut tunnel, side);
        }
        self.settle(place, tunnel, machine, io)
    }

    /// The tunnels that end so that the budget of bytes that wait for sides without room is held: those of the address
    /// that holds most of it.
    pub(crate) fn payers(&self, settings: &EdgeSettings) -> Vec<u32> {
        let held = self.stalled_bytes as u64;
        let Some(excess) = excess(held, settings.tunnel_stalled_bytes) else {
            return Vec::new();
        };
        let holder = |&place: &u32| {
            let tunnel = self.all.get(place)?;
            Some(Holder {
                session: SessionKey::new(place & 0xff_ffff, 0),
                origin: tunnel.origin(),
                guest: false,
                bytes: tunnel.stalled as u64,
                begun: tunnel.began,
            })
        };
        let holders = self.stalled.iter().filter_map(holder).collect();
        let payers = payers(holders, excess).into_iter();
        let place = |payer: Holder| u32::try_from(payer.session.slot()).unwrap_or(u32::MAX);
        payers.map(place).collect()
    }
}

impl<M: Machine> Tunnel<M> {
    /// One side sends no more. Before the owner has answered, its end is a failure.
    fn side_ended(&mut self, side: Side, now: Now) {
        self.half(side).ended.get_or_insert(now);
        if side == Side::Owner && self.parcel.is_some() {
            self.owner_fails(TunnelFailure::Closed, Ending::Close);
        }
    }
}

/// Sends what the socket has room for and returns the rest; what must wait behind a send in flight is kept.
fn write<M: Machine>(
    tunnel: &mut Tunnel<M>,
    to: Side,
    piece: Piece<'_>,
    io: &mut Io,
) -> Option<Vec<u8>> {
    let half = tunnel.half(to);
    let bytes = match piece {
        Piece::Lent(lent, length) => (io.ring.bytes(lent).get(..length)).unwrap_or_default(),
        Piece::Own(bytes) => bytes,
    };
    if half.shut {
        return None;
    }
    if half.sending.is_some() {
        half.waiting.extend_from_slice(bytes);
        return None;
    }
    io.counts.sends += 1;
    let Some((sent, rest)) = half.send(bytes, &mut io.cipher) else {
        side_broke(tunnel, to);
        return None;
    };
    io.counts.sent_bytes += sent as u64;
    if rest.is_empty() {
        return None;
    }
    let mut flight = io.spares.take();
    flight.extend_from_slice(rest);
    Some(flight)
}

/// Nothing can be sent to one side any more.
fn side_broke<M: Machine>(tunnel: &mut Tunnel<M>, side: Side) {
    match side {
        Side::Client => tunnel.end(Ending::Reset),
        Side::Owner if tunnel.passes != Passes::Both => {} // it gets nothing more
        // The side thread answered without reading all, and closed: its answer is read all the same.
        Side::Owner if tunnel.node.is_none() => tunnel.owner.shut = true,
        Side::Owner => tunnel.owner_fails(TunnelFailure::Closed, Ending::Reset),
    }
}

/// Bytes to be sent.
enum Piece<'a> {
    /// As they were received, as many as are to go.
    Lent(&'a mut Lent, usize),
    Own(&'a [u8]),
}

/// The ring's key of one side.
pub(crate) fn key(place: u32, side: Side) -> ring::Key {
    link_key(match side {
        Side::Client => LinkEnd::Client(place),
        Side::Owner => LinkEnd::Owner(place),
    })
}
