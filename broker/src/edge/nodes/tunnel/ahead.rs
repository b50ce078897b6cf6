//! Connections to other nodes that are opened ahead, so that an upgrade finds one whose handshake is over.
//!
//! ```text
//!                    greeting              a client
//!  Connecting ──► Greeting ──────► Ready ──────────► a tunnel
//!      │              │   frame sent │
//!      └──────────────┴──────────────┴► closed: the owner fails, ends it or speaks; nobody took it; room is needed
//! ```
//! They are opened at the end of a turn, never on the way of a request. The number of each is that of the tunnel that
//! it becomes, so that what is armed on it stays armed. How many there are is for `stock` to say.

use crate::edge::handshakes::Shaking;
use crate::edge::io::Io;
use crate::edge::limits::{AHEAD_IDLE_MS, KEPT_IDLE_MS, LINK_HELD_BYTES, TUNNEL_CONNECT_MS};
use crate::edge::nodes::links::{LinkEnd, link_key};
use crate::edge::nodes::tunnel::call::{Kept, Rested, Taken};
use crate::edge::nodes::tunnel::half::Half;
use crate::edge::nodes::tunnel::pool::Pool;
use crate::edge::nodes::tunnel::stock::Stock;
use crate::edge::nodes::tunnel::upgrade::Upgrade;
use crate::edge::nodes::tunnel::{Departed, Settled, Stage, Tunnel, TunnelEvent, Tunnels};
use crate::edge::tls::{Held, Read};
use broker_core::address_shares::Origin;
use broker_core::id::NodeId;
use broker_core::machine::Machine;
use broker_core::time::Now;
use codec::proxy::{Link, read_greeting, write_ahead};
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
    pub(crate) fn take_ahead(&mut self, node: NodeId, io: &mut Io) -> Option<Taken> {
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
