//! Connections to other nodes that wait for an upgrade, so that it finds one whose handshake is over: opened ahead, or
//! come back from an earlier client.
//!
//! ```text
//!                    greeting              a client
//!  Connecting ──► Greeting ──────► Ready ──────────► a tunnel
//!      │              │   frame sent │
//!      └──────────────┴──────────────┴► closed: the owner fails, ends it or speaks; nobody took it; room is needed
//! ```
//! Those ahead are opened at the end of a turn, never on the way of a request. The number of each is that of the tunnel
//! that it becomes, so that what is armed on it stays armed. How many there are is for `stock` to say.

use crate::edge::io::{Io, Shaking};
use crate::edge::limits::{AHEAD_IDLE_MS, KEPT_IDLE_MS, LINK_HELD_BYTES, TUNNEL_CONNECT_MS};
use crate::edge::links::{LinkEnd, link_key};
use crate::edge::tls::{Held, Read};
use crate::edge::tunnels::stock::{Pool, Stock};
use crate::edge::tunnels::{
    Departed, Ending, Half, Kept, Passes, Rested, Settled, Side, Stage, Taken, Tunnel, TunnelEvent,
    Tunnels,
};
use broker_core::{address_shares::Origin, id::NodeId, machine::Machine, time::Now};
use codec::proxy::{
    CHALLENGE_BYTES, FRAME_BYTES, Link, NotFrame, OwnerFrame, read_frame, read_greeting,
    write_ahead,
};
use codec::ws::{Follower, Place};
use ring::Received;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;

/// The connections of one shard that are opened ahead, and those that are kept and wait for a call.
#[derive(Default)]
pub(crate) struct Aheads {
    pub(crate) all: BTreeMap<u32, Box<Ahead>>,
    pub(crate) stock: Stock,
    pub(crate) pool: Pool,
}

/// A connection to a node that is of no client.
pub(crate) struct Ahead {
    pub(crate) node: NodeId,
    pub(crate) address: SocketAddr,
    pub(crate) owner: Half,
    pub(crate) stage: Opening,
    /// Its entry in [`Tunnels::due`].
    pub(crate) due: Now,
    /// It is to be closed, as soon as the kernel holds nothing of it.
    pub(crate) over: bool,
}

/// The stage of one, by the event that it awaits.
pub(crate) enum Opening {
    Connecting,
    /// The greeting, of which this much has come; before it the handshake, where links are encrypted.
    Greeting(Vec<u8>),
    /// A client, with whose header the challenge is answered.
    Ready(Rested),
    /// A call: the connection is kept.
    Resting(Rested),
}

impl Aheads {
    /// Whether one of them has this number.
    pub(crate) fn has(&self, place: u32) -> bool {
        self.all.contains_key(&place)
    }
}

impl<M: Machine> Tunnels<M> {
    /// The number of connections that are opened ahead, those under way included, and of those that wait for a call.
    pub(crate) fn ahead(&self) -> usize {
        self.aheads.all.len()
    }

    /// Counts both.
    pub(crate) fn count_aheads(&self, io: &mut Io) {
        let resting = self.aheads.pool.resting();
        io.counts.kept = resting as u64;
        io.counts.ahead = self.ahead().saturating_sub(resting) as u64;
    }

    /// Opens those that are missing, unless most places for connections are taken.
    pub(crate) fn restock(&mut self, io: &mut Io) {
        if io.stopping {
            return;
        }
        for node in self.aheads.stock.missing(io.turn.at().now) {
            // The last places are for clients.
            if io.descriptors.count() >= io.settings.connections / 8 * 7 {
                return;
            }
            let Some(address) = self.address(node) else {
                continue;
            };
            io.count_descriptor();
            let Ok((place, owner)) = self.connect(node, address, io) else {
                return;
            };
            io.counts.ahead_opened += 1;
            self.aheads.stock.opens(node);
            let due = io.turn.at().now.after(TUNNEL_CONNECT_MS);
            self.due.insert((due, place));
            let ahead = Ahead {
                node,
                address,
                owner,
                stage: Opening::Connecting,
                due,
                over: false,
            };
            self.aheads.all.insert(place, Box::new(ahead));
            self.count_aheads(io);
        }
    }

    /// One that waits for a client of a node. Those to an address that the node had before are closed.
    fn take_ahead(&mut self, node: NodeId, io: &mut Io) -> Option<Taken> {
        while let Some(place) = self.aheads.stock.take(node) {
            let Some(mut ahead) = self.aheads.all.remove(&place) else {
                debug_assert!(false, "what is ready is there");
                continue;
            };
            self.due.remove(&(ahead.due, place));
            let links = self.links.as_ref();
            let is_there = links.is_some_and(|links| links.is_at(node, ahead.address));
            if let (&Opening::Ready(rested), true) = (&ahead.stage, is_there) {
                io.counts.ahead_used += 1;
                self.count_aheads(io);
                let Ahead { owner, address, .. } = *ahead;
                return Some(Taken {
                    place,
                    owner,
                    address,
                    rested,
                });
            }
            ahead.over = true;
            self.settle_ahead(place, ahead, false, io);
        }
        None
    }

    /// A connection to a node that waits for an upgrade, or for a call.
    pub(crate) fn take_waiting(
        &mut self,
        node: NodeId,
        departed: &Departed<M>,
        io: &mut Io,
    ) -> Option<Taken> {
        if departed.repeats() {
            self.take_ahead(node, io)
        } else {
            self.take_kept(node, io)
        }
    }

    /// Begins a tunnel for an upgrade, or for a call, on a connection that waited for one.
    pub(crate) fn open_waiting(
        &mut self,
        taken: Taken,
        node: NodeId,
        departed: Departed<M>,
        machine: &mut M,
        io: &mut Io,
    ) -> Settled<M> {
        let Taken {
            place,
            mut owner,
            address,
            rested: Rested { challenge, next },
        } = taken;
        if let Some(tls) = &mut owner.tls {
            tls.comes_from(Origin::of(departed.remote().ip()));
        }
        let (stage, now) = (Stage::Greeting(Vec::new()), io.turn.at().now);
        let mut tunnel = Box::new(Tunnel::new(Some(node), owner, departed, stage, now));
        let address = Some(address);
        if tunnel.repeats {
            tunnel.ahead = true;
            tunnel.upgrade = Some(Box::new(Upgrade::new(challenge, next, address)));
        } else {
            tunnel.kept = Some(Box::new(Kept::new(challenge, next, address)));
        }
        self.request_bytes += tunnel.request.len();
        self.introduce(place, &mut tunnel, &challenge, machine, io);
        Settled {
            outputs: true,
            ..self.settle(place, tunnel, machine, io)
        }
    }

    /// Has a connection that its client has left wait for the next one.
    pub(crate) fn wait(
        &mut self,
        place: u32,
        (node, address): (NodeId, SocketAddr),
        mut owner: Half,
        stage: Opening,
        io: &mut Io,
    ) {
        if let Some(tls) = &mut owner.tls {
            tls.comes_from(Origin::of(address.ip()));
        }
        let idle = match stage {
            Opening::Resting(_) => KEPT_IDLE_MS,
            Opening::Connecting | Opening::Greeting(_) | Opening::Ready(_) => AHEAD_IDLE_MS,
        };
        let due = io.turn.at().now.after(idle);
        let ahead = Ahead {
            node,
            address,
            owner,
            stage,
            due,
            over: false,
        };
        self.due.insert((due, place));
        self.settle_ahead(place, Box::new(ahead), true, io);
        self.count_aheads(io);
    }

    /// Something happens to one of them.
    pub(crate) fn on_ahead(&mut self, place: u32, event: TunnelEvent<'_>, io: &mut Io) {
        let Some(mut ahead) = self.aheads.all.remove(&place) else {
            return;
        };
        let goes_on = match event {
            TunnelEvent::Connected(result) => {
                ahead.owner.armed = false;
                result.is_ok() && {
                    ahead.stage = Opening::Greeting(Vec::new());
                    let Ahead { node, address, .. } = *ahead;
                    let origin = Origin::of(address.ip());
                    self.secure((place, &mut ahead.owner), node, origin, io)
                }
            }
            TunnelEvent::Received(_, received) => {
                self.take_from_ahead(place, &mut ahead, received, io)
            }
            // A step that is not awaited was for another one that had its number.
            TunnelEvent::Step => {
                !std::mem::take(&mut ahead.owner.queued)
                    || self.read_ahead(place, &mut ahead, None, io)
            }
            TunnelEvent::Late
            | TunnelEvent::Sent(..)
            | TunnelEvent::Displaced
            | TunnelEvent::OwnerLost
            | TunnelEvent::Leave
            | TunnelEvent::Ended(_) => false,
        };
        self.settle_ahead(place, ahead, goes_on, io);
    }

    /// Goes on with one, or ends it.
    pub(crate) fn settle_ahead(
        &mut self,
        place: u32,
        mut ahead: Box<Ahead>,
        goes_on: bool,
        io: &mut Io,
    ) {
        let half = &mut ahead.owner;
        if goes_on && !ahead.over {
            if !half.armed && !half.queued {
                half.armed = true;
                let key = link_key(LinkEnd::Owner(place));
                io.ring.receive_once(half.socket.as_fd(), key);
            }
            self.aheads.all.insert(place, ahead);
            return;
        }
        if !ahead.over {
            ahead.over = true;
            self.due.remove(&(ahead.due, place));
            match ahead.stage {
                Opening::Resting(_) => self.aheads.pool.is_gone(ahead.node, place),
                Opening::Ready(_) => self.aheads.stock.is_gone(ahead.node, place),
                Opening::Connecting | Opening::Greeting(_) => {
                    self.aheads.stock.is_gone(ahead.node, place);
                    if matches!(ahead.stage, Opening::Connecting) {
                        self.turns.failed(ahead.node);
                    }
                    self.distrust(ahead.node, io);
                }
            }
        }
        let half = &mut ahead.owner;
        if half.armed {
            if matches!(ahead.stage, Opening::Connecting) {
                io.ring.cancel_connect(link_key(LinkEnd::Owner(place)));
            }
            let _ = SockRef::from(&half.socket).shutdown(Shutdown::Both);
            self.aheads.all.insert(place, ahead);
            return;
        }
        self.all.release(place);
        ahead.owner.close(io);
        self.count_aheads(io);
    }

    /// A receive is over.
    fn take_from_ahead(
        &mut self,
        place: u32,
        ahead: &mut Ahead,
        received: Received,
        io: &mut Io,
    ) -> bool {
        ahead.owner.armed = false;
        let mut lent = match received {
            Received::Bytes(lent) => lent,
            Received::NoBuffers => {
                io.counts.no_buffers += 1;
                return true;
            }
            Received::End | Received::Failed(_) | Received::Cancelled => return false,
        };
        io.count_received(lent.len());
        let bytes = io.ring.bytes(&mut lent).to_vec();
        io.ring.give_back(lent);
        let wait = io.handshakes.wait();
        match &mut ahead.owner.tls {
            Some(tls) if wait && tls.handshaking() => {
                tls.hold(&bytes);
                ahead.owner.queued = true;
                let waiting = Shaking::Link(LinkEnd::Owner(place));
                io.handshakes.push(waiting);
                true
            }
            Some(_) | None => self.read_ahead(place, ahead, Some(bytes), io),
        }
    }

    /// Takes bytes in, or goes on with what was held. False when it is of no use any more.
    fn read_ahead(
        &mut self,
        place: u32,
        ahead: &mut Ahead,
        bytes: Option<Vec<u8>>,
        io: &mut Io,
    ) -> bool {
        if ahead.over {
            return false;
        }
        let mut bytes = bytes.unwrap_or_default();
        let Some(tls) = &mut ahead.owner.tls else {
            return self.ahead_greeted(place, ahead, &bytes, io);
        };
        let mut plain = Vec::new();
        let read = tls.read(&mut bytes, &mut plain, io.turn.at().now);
        let (mut before, mut after) = <(Held, Held)>::default();
        if tls.handshaking() {
            let kind = tls.just_secured();
            io.count_handshake(kind);
        } else {
            (before, after) = tls.recharge();
        }
        io.counts.count_held(before, after);
        let too_much = tls.held_bytes() > LINK_HELD_BYTES as u64;
        let has_out = tls.has_out();
        if read != Read::More || too_much || (has_out && !ahead.say(&[], io)) {
            return false;
        }
        plain.is_empty() || self.ahead_greeted(place, ahead, &plain, io)
    }

    /// Bytes of the owner: its greeting and nothing else.
    fn ahead_greeted(&mut self, place: u32, ahead: &mut Ahead, bytes: &[u8], io: &mut Io) -> bool {
        let Opening::Greeting(greeting) = &mut ahead.stage else {
            return false; // nothing is said before a header
        };
        greeting.extend_from_slice(bytes);
        let challenge = match read_greeting(greeting) {
            Ok(Some(challenge)) => challenge,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let Some(links) = self.links.as_deref() else {
            return false;
        };
        let Some(name) = links.name(ahead.node) else {
            return false;
        };
        let mut frame = Vec::new();
        let link = Link {
            key: &links.key,
            challenge: &challenge,
            node: &name,
        };
        write_ahead(&mut frame, &link);
        if !ahead.say(&frame, io) {
            return false;
        }
        ahead.stage = Opening::Ready(Rested { challenge, next: 0 });
        self.due.remove(&(ahead.due, place));
        ahead.due = io.turn.at().now.after(AHEAD_IDLE_MS);
        self.due.insert((ahead.due, place));
        self.aheads.stock.is_ready(ahead.node, place);
        true
    }

    /// A node is not reached: what waits for it is closed.
    pub(crate) fn distrust(&mut self, node: NodeId, io: &mut Io) {
        let mut places = self.aheads.stock.distrust(node);
        places.append(&mut self.aheads.pool.distrust(node));
        for place in places {
            self.end_ahead(place, io);
        }
    }

    /// Closes one that makes room for another connection. False when none waits.
    pub(crate) fn spare_ahead(&mut self, io: &mut Io) -> bool {
        let spare = self.aheads.stock.spare();
        let spare = spare.or_else(|| self.aheads.pool.spare());
        spare.inspect(|place| self.end_ahead(*place, io)).is_some()
    }

    /// Closes all, since the shard ends.
    pub(crate) fn end_aheads(&mut self, io: &mut Io) {
        let places: Vec<u32> = self.aheads.all.keys().copied().collect();
        for place in places {
            self.end_ahead(place, io);
        }
    }

    fn end_ahead(&mut self, place: u32, io: &mut Io) {
        if let Some(ahead) = self.aheads.all.remove(&place) {
            self.settle_ahead(place, ahead, false, io);
        }
    }
}

impl Ahead {
    /// Sends a few bytes, behind what the engine has to say. False when the socket, which is empty, does not take them.
    fn say(&mut self, bytes: &[u8], io: &mut Io) -> bool {
        io.counts.sends += 1;
        let sent = self.owner.send(bytes, &mut io.cipher);
        let Some((sent, rest)) = sent else {
            return false;
        };
        io.counts.sent_bytes += sent as u64;
        rest.is_empty()
    }
}

// Upgrades on connections that come back when both sides have closed the WebSocket: the next client needs no connect,
// no greeting and no handshake.
//
// ```text
//  client                this node                                   owner
//    │ close frame ────────► passed on, and nothing behind it ─────────► │
//    │ ◄──────── passed on; the end follows ◄──────── close frame, Free  │
//    │ end ────────────────► the connection waits for the next client    │
// ```
// Both sides' frames are followed, so that this node knows as well as the owner where the client's bytes end. Where it
// does not, where either side says more, or where the end comes in another way, the connection ends with the tunnel.
// An owner that does not know `Free` never says it.

/// An upgrade on a connection that may come back.
pub(crate) struct Upgrade {
    /// The owner's, of the connection.
    challenge: [u8; CHALLENGE_BYTES],
    /// The number of the upgrade on it.
    pub(crate) number: u64,
    /// The address that the connection goes to, once it has waited.
    address: Option<SocketAddr>,
    /// The client's frames, as far as the owner was given them; `None` where they are not followed.
    client: Option<Follower>,
    /// The client goes on behind its close frame.
    goes_on: bool,
    /// The owner's bytes behind its close frame: one frame at most, and a byte that is too many.
    behind: Vec<u8>,
    /// The connection waits for its next client when this one has ended.
    free: bool,
}

impl Upgrade {
    pub(crate) fn new(
        challenge: [u8; CHALLENGE_BYTES],
        number: u64,
        address: Option<SocketAddr>,
    ) -> Self {
        Self {
            challenge,
            number,
            address,
            client: None,
            goes_on: false,
            behind: Vec::new(),
            free: false,
        }
    }

    /// The request is on its way: the client's frames follow, unless there is something behind its head already.
    pub(crate) fn follows(&mut self, request: &[u8]) {
        let end = request.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if end.is_some_and(|end| end + 4 == request.len()) {
            self.client = Some(Follower::of_client());
        }
    }

    /// Whether the owner has all that its client will send.
    fn has_all(&self) -> bool {
        let client = self.client.as_ref();
        !self.goes_on && client.is_some_and(|client| client.place() == Place::Closed)
    }
}

impl<M: Machine> Tunnel<M> {
    /// Bytes of one side that are to be passed on: the number of those that the other side is to get.
    #[inline]
    pub(crate) fn follow(&mut self, side: Side, bytes: &[u8]) -> usize {
        match (side, &mut self.upgrade) {
            (Side::Owner, None) => {
                self.frames.follow(bytes);
                bytes.len()
            }
            (Side::Owner, Some(upgrade)) => {
                let its = self.frames.follow(bytes);
                let behind = bytes.iter().skip(its);
                let room = (FRAME_BYTES + 1).saturating_sub(upgrade.behind.len());
                upgrade.behind.extend(behind.take(room));
                its
            }
            (Side::Client, Some(upgrade)) => {
                let Some(client) = &mut upgrade.client else {
                    return bytes.len();
                };
                let its = client.follow(bytes);
                upgrade.goes_on |= its < bytes.len();
                its
            }
            (Side::Client, None) => bytes.len(),
        }
    }

    /// Whether the owner says in place of an answer that it has not taken the upgrade, which a connection waited for.
    pub(crate) fn is_declined(&self, bytes: &[u8]) -> bool {
        let waited = self.upgrade.as_ref().filter(|it| it.number > 0);
        // Bytes that a TLS record is made of may be none of the owner's yet.
        let is_first = self.parcel.is_some() && !bytes.is_empty();
        is_first && waited.is_some_and(|it| read_frame(bytes, it.number) != Err(NotFrame))
    }

    /// Whether the end of the client is not to be passed on, since its close frame was, and the owner is to answer it.
    pub(crate) fn awaits_free(&self) -> bool {
        let upgrade = self.upgrade.as_ref();
        self.owner.ended.is_none() && upgrade.is_some_and(|it| it.has_all() && !it.free)
    }

    /// Looks at what the owner has said behind its close frame. Nothing follows that.
    pub(crate) fn look_behind(&mut self, now: Now) {
        let Some(upgrade) = &mut self.upgrade else {
            return;
        };
        let read = read_frame(&upgrade.behind, upgrade.number);
        match read {
            Ok(None) => return,
            Ok(Some((OwnerFrame::Free, FRAME_BYTES)))
                if upgrade.behind.len() == FRAME_BYTES
                    && upgrade.has_all()
                    && self.passes == Passes::Both
                    && self.owner.taken() =>
            {
                upgrade.free = true;
                self.passes = Passes::Nothing;
                self.owner.shut = true;
            }
            Ok(Some(_)) | Err(NotFrame) => self.passes = Passes::Nothing,
        }
        self.owner.ended.get_or_insert(now);
    }

    /// Takes the connection out of a tunnel that has ended, if it waits for the next client.
    pub(crate) fn take_free(&mut self, ending: Ending) -> Option<Box<Upgrade>> {
        let is_over = !matches!(ending, Ending::Bounce(_));
        self.upgrade.take_if(|upgrade| is_over && upgrade.free)
    }
}

impl<M: Machine> Tunnels<M> {
    /// Has the connection of a tunnel that has ended wait for its next client, if there is room.
    pub(crate) fn await_next(
        &mut self,
        place: u32,
        (node, mut owner): (NodeId, Half),
        upgrade: Upgrade,
        io: &mut Io,
    ) {
        let address = upgrade.address.or_else(|| owner.remote());
        let next = upgrade.number.checked_add(1).filter(|_| !io.stopping);
        let (Some(address), Some(next), true) =
            (address, next, self.aheads.stock.returns(node, place))
        else {
            self.all.release(place);
            return owner.close(io);
        };
        owner.discharge(&mut io.counts);
        let half = Half::new(owner.socket, owner.tls);
        let challenge = upgrade.challenge;
        let stage = Opening::Ready(Rested { challenge, next });
        io.counts.ahead_returned += 1;
        self.wait(place, (node, address), half, stage, io);
    }
}
