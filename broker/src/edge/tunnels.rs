//! Tunnels: connections of clients that another node serves, one connection to that node each.
//!
//! ```text
//!              greeting              header, request        first byte             both ends
//!  connect ──► Connecting ──► Greeting ──► Open, unanswered ──► Open, answered ──► gone
//!                  │              │              │                   │
//!                  └──────────────┴──────────────┴► 503 by the       └► closed, or reset as the other side was
//!                       the owner fails, or is late  machine, or another attempt
//! ```
//! Bytes are copied as they come: what one side sends is received into a lent buffer and sent to the other at once. If
//! that has no room, the rest is copied once and waits in the ring, and the first side is not read until it is gone:
//! so a tunnel holds at most one receive buffer for each direction, and the window of TCP stops who sends too fast. An
//! idle tunnel holds no buffer. The client's TLS ends here; between the nodes is TLS of their own, or none
//! ([`Links::tls`](crate::edge::links::Links::tls)).
//!
//! The owner counts messages, bounds and addresses; here are only bytes. From the greeting on a tunnel has two places
//! among the connections that the machine has admitted, and makes room by the same rule: the machine says which one
//! ends ([`Output::EndTunnel`](broker_core::machine::Output::EndTunnel)).
//!
//! In reading order: this page, with the two halves of a tunnel and the state of a kept call; `begin` (until the owner
//! has greeted, or the side thread is connected to); `ahead` (connections that are opened before they are needed, and
//! those that come back); `kept_calls` (connections that are kept for calls); `stock` (how many of all these wait);
//! `copy` (bytes); `end` (also where another node has the channel, or this one ends).

mod ahead;
mod begin;
mod copy;
mod end;
mod kept_calls;
mod stock;

use crate::edge::io::{Io, send_at_once};
use crate::edge::links::{Links, Places, Turns};
use crate::edge::{connection::NEVER, tls::Tls};
use ahead::{Aheads, Upgrade};
pub(crate) use begin::{connecting_socket, keep_alive};
use broker_core::address_shares::{Crowd, Origin};
use broker_core::id::{NodeId, ShardId};
use broker_core::machine::{Machine, Peer, TunnelFailure, Tunnelled};
use broker_core::time::Now;
use codec::proxy::{CHALLENGE_BYTES, CallEntry, FRAME_BYTES, NotFrame, OwnerFrame, read_frame};
use codec::ws::Follower;
use copy::SideOf;
use ring::Received;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The tunnels of one shard.
pub(crate) struct Tunnels<M: Machine> {
    all: Places<Tunnel<M>>,
    /// Connections that are of no tunnel, under numbers that no tunnel has.
    aheads: Aheads,
    /// When each is looked at, if nothing happens.
    due: BTreeSet<(Now, u32)>,
    /// Those that the owner has not greeted, by the client's address.
    beginning: Crowd<u32>,
    /// Bytes of requests that were not sent, or may be sent again.
    request_bytes: usize,
    /// Those of which bytes wait for a side that has no room.
    stalled: BTreeSet<u32>,
    /// Such bytes.
    stalled_bytes: usize,
    /// Which addresses of nodes are connected to next.
    turns: Turns,
    shard: ShardId,
    links: Option<Arc<Links>>,
}

impl<M: Machine> Tunnels<M> {
    /// The tunnels of the shard `shard`, none. `links` is there in a cluster.
    pub(crate) fn new(shard: ShardId, links: Option<Arc<Links>>) -> Self {
        Self {
            all: Places::default(),
            aheads: Aheads::default(),
            due: BTreeSet::new(),
            beginning: Crowd::default(),
            request_bytes: 0,
            stalled: BTreeSet::new(),
            stalled_bytes: 0,
            turns: Turns::default(),
            shard,
            links,
        }
    }

    /// Whether there is none, and nothing is left of any.
    pub(crate) fn is_empty(&self) -> bool {
        let empty = self.all.len() == 0;
        debug_assert!(
            !empty
                || (self.ahead() == 0
                    && self.aheads.pool.is_empty()
                    && self.due.is_empty()
                    && self.beginning.is_empty()
                    && self.request_bytes == 0
                    && self.stalled.is_empty()
                    && self.stalled_bytes == 0),
            "of tunnels that are gone nothing is kept"
        );
        empty
    }

    /// A number for a client that is a stream of a link: the machine knows both by their numbers.
    pub(crate) fn claim(&mut self) -> Option<u32> {
        self.all.claim()
    }

    /// That number is free.
    pub(crate) fn release(&mut self, place: u32) {
        self.all.release(place);
    }

    /// Those to other nodes, with clients that are streams.
    pub(crate) fn to_nodes(&self) -> u64 {
        (self.all.len() - self.ahead()) as u64
    }

    /// Something happens to a tunnel.
    #[inline]
    pub(crate) fn on(
        &mut self,
        place: u32,
        event: TunnelEvent<'_>,
        machine: &mut M,
        io: &mut Io,
    ) -> Settled<M> {
        if self.all.get(place).is_none() && self.aheads.has(place) {
            self.on_ahead(place, event, io);
            return Settled::done();
        }
        match event {
            TunnelEvent::Connected(result) => self.connected(place, result, machine, io),
            TunnelEvent::Received(side, received) => {
                self.received(place, side, received, machine, io)
            }
            TunnelEvent::Sent(side, flight, result) => {
                self.sent(SideOf { place, side }, flight, result, machine, io)
            }
            TunnelEvent::Step => self.step(place, machine, io),
            TunnelEvent::Late => self.end_late(place, machine, io),
            TunnelEvent::Displaced => self.displace(place, machine, io),
            TunnelEvent::OwnerLost => self.lose_owner(place, machine, io),
            TunnelEvent::Leave => self.leave(place, machine, io),
            TunnelEvent::Ended(ending) => self.end(place, ending, machine, io),
        }
    }

    /// When the first is to be looked at.
    pub(crate) fn next_due(&self) -> Option<Now> {
        self.due.first().map(|&(due, _)| due)
    }
}

/// One client whose channel is on another node, or that asks for a page of the admin listener.
pub(crate) struct Tunnel<M: Machine> {
    /// The owner; `None` for the side thread.
    node: Option<NodeId>,
    peer: Peer,
    stage: Stage,
    /// The session, until the owner has answered: it answers if the owner does not.
    parcel: Option<M::Parcel>,
    /// The request may be sent to another owner while this one has not answered.
    repeats: bool,
    /// The connection was there before the client: the owner may have closed it meanwhile.
    ahead: bool,
    /// Bytes of the request that are a call.
    call: Option<usize>,
    /// The call, on a connection that is kept for more.
    kept: Option<Box<Kept>>,
    /// The upgrade, on a connection that may come back.
    upgrade: Option<Box<Upgrade>>,
    /// The request, as it goes to the owner behind the header. Empty once it is not to be sent again.
    request: Vec<u8>,
    /// The same, when it ends before that.
    unsent: Vec<u8>,
    client: Half,
    owner: Half,
    /// The frames of its WebSocket, as far as the client was given them.
    frames: Follower,
    passes: Passes,
    /// Its end, which waits until the kernel holds nothing of it.
    ending: Option<Ending>,
    began: Now,
    /// Its entry in [`Tunnels::due`].
    due: Now,
    /// Bytes that are counted in [`Tunnels::stalled_bytes`].
    stalled: usize,
}

/// A client whose connection has left the table, on its way into a tunnel.
pub(crate) struct Departed<M: Machine> {
    pub(crate) client: Half,
    pub(crate) parcel: M::Parcel,
    /// The client's address and request, for the owner.
    pub(crate) sent: Tunnelled,
}

/// A client that comes back, for the machine to answer it.
pub(crate) struct Returned<M: Machine> {
    pub(crate) client: Half,
    pub(crate) parcel: M::Parcel,
    /// The owner and why it did not answer; `None` for the side thread.
    pub(crate) failed: (Option<NodeId>, TunnelFailure),
    /// The request and what followed it, if nothing of that went to the owner.
    pub(crate) unsent: Vec<u8>,
}

/// An event of a tunnel.
pub(crate) enum TunnelEvent<'a> {
    /// The connect is over, well or not.
    Connected(&'a io::Result<()>),
    /// A receive of one side is over.
    Received(Side, Received),
    /// A send of one side is over, with its buffer.
    Sent(Side, Vec<u8>, &'a io::Result<usize>),
    /// A handshake that waited may take a step.
    Step,
    /// Its time is over.
    Late,
    /// It makes room for another connection.
    Displaced,
    /// Another node has its channel.
    OwnerLost,
    /// This node ends.
    Leave,
    /// It is to end.
    Ended(Ending),
}

/// The remainder of a step of a tunnel, for the sessions to do.
#[must_use = "a client that comes back is to be answered"]
pub(crate) struct Settled<M: Machine> {
    /// A client that comes back from it: in a box, since it is rare and long, and every step returns this.
    pub(crate) returned: Option<Box<Returned<M>>>,
    /// A client whose call was answered.
    pub(crate) answered: Option<Box<Answered<M>>>,
    /// A client whose connection to this node had ended before it was used.
    pub(crate) again: Option<Box<(NodeId, Departed<M>)>>,
    /// The machine may have made others end.
    pub(crate) outputs: bool,
}

impl<M: Machine> Settled<M> {
    fn done() -> Self {
        Self {
            returned: None,
            answered: None,
            again: None,
            outputs: false,
        }
    }
}

/// Whether one more tunnel may begin.
pub(crate) enum Room {
    Free,
    /// After the end of this one, which the owner has not greeted.
    After(u32),
    Full,
}

/// The stage of a tunnel, by the event that it awaits.
enum Stage {
    /// The connection to the owner.
    Connecting,
    /// The owner's greeting, of which this much has come; before it the handshake, where links are encrypted.
    Greeting(Vec<u8>),
    /// Bytes of either side.
    Open,
}

/// The bytes that are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passes {
    /// The bytes of both sides.
    Both,
    /// Those of the owner alone, the last at this moment: this node ends, and awaits the owner's end.
    ToClient(Now),
    /// Nothing: the owner is done with, and the client's end is awaited.
    Nothing,
}

/// The end of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Both connections are closed.
    Close,
    /// Both are reset, since one of them was.
    Reset,
    /// The client gets 503: the owner did not answer.
    Bounce(TunnelFailure),
}

/// The sides of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Owner,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Client, Self::Owner];

    fn other(self) -> Self {
        match self {
            Self::Client => Self::Owner,
            Self::Owner => Self::Client,
        }
    }
}

impl<M: Machine> Tunnel<M> {
    /// A tunnel to `node` (`None` for the side thread), without a request that would be sent again.
    fn new(
        node: Option<NodeId>,
        owner: Half,
        Departed {
            client,
            parcel,
            sent,
        }: Departed<M>,
        stage: Stage,
        now: Now,
    ) -> Self {
        Self {
            node,
            peer: sent.peer,
            stage,
            parcel: Some(parcel),
            repeats: sent.repeats,
            ahead: false,
            call: sent.call.filter(|_| !sent.waits),
            kept: None,
            upgrade: None,
            request: sent.bytes,
            unsent: Vec::new(),
            client,
            owner,
            frames: Follower::new(),
            passes: Passes::Both,
            ending: None,
            began: now,
            due: NEVER,
            stalled: 0,
        }
    }

    /// Whether what a side sends is for nobody.
    fn drops(&self, side: Side) -> bool {
        match self.passes {
            Passes::Both => false,
            Passes::ToClient(_) => side == Side::Client,
            Passes::Nothing => true,
        }
    }

    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Owner => &mut self.owner,
        }
    }

    fn origin(&self) -> Origin {
        Origin::of(self.peer.remote.ip())
    }

    /// Ends it; the first reason counts.
    fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
    }

    /// The owner is of no use any more: the client gets 503 if nothing has come of it, else `otherwise`.
    fn owner_fails(&mut self, why: TunnelFailure, otherwise: Ending) {
        if self.spoil() {
            return;
        }
        // A client that has left is answered by nobody.
        let unanswered = self.parcel.is_some() && self.client.ended.is_none();
        self.end(if unanswered {
            Ending::Bounce(why)
        } else {
            otherwise
        });
    }
}

/// One of the two connections of a tunnel, as the kernel holds it.
pub(crate) struct Half {
    pub(crate) socket: OwnedFd,
    /// The engine of an encrypted side.
    pub(crate) tls: Option<Box<Tls>>,
    /// A receive, or the connect, is armed.
    pub(crate) armed: bool,
    /// Its handshake waits for a step; it is not read meanwhile.
    pub(crate) queued: bool,
    /// The receive is being cancelled.
    cancelled: bool,
    /// A send of the ring is in flight, since this moment.
    pub(crate) sending: Option<Now>,
    /// Bytes that wait behind that send.
    pub(crate) waiting: Vec<u8>,
    /// The next bytes are its last: of an encrypted side the alert that says so shares their send.
    pub(crate) last: bool,
    /// It sends no more, since this moment.
    pub(crate) ended: Option<Now>,
    /// Our end is shut: it gets no more.
    shut: bool,
}

impl Half {
    pub(crate) fn new(socket: OwnedFd, tls: Option<Box<Tls>>) -> Self {
        Self {
            socket,
            tls,
            armed: false,
            queued: false,
            cancelled: false,
            sending: None,
            waiting: Vec::new(),
            last: false,
            ended: None,
            shut: false,
        }
    }

    /// Whether the kernel holds nothing of it.
    pub(crate) fn at_rest(&self) -> bool {
        !self.armed && self.sending.is_none()
    }

    /// Whether all that it was given is with the kernel.
    pub(crate) fn taken(&self) -> bool {
        self.sending.is_none() && self.waiting.is_empty()
    }

    /// Sends `bytes` without waiting, encrypted if they are to be: what the kernel took and what is left; `None` when
    /// it is broken.
    pub(crate) fn send<'a>(
        &mut self,
        bytes: &'a [u8],
        cipher: &'a mut Vec<u8>,
    ) -> Option<(usize, &'a [u8])> {
        let bytes = match &mut self.tls {
            None => bytes,
            Some(tls) => {
                cipher.clear();
                tls.write(bytes, cipher).ok()?;
                if self.last {
                    tls.notify_close();
                    tls.write(&[], cipher).ok()?;
                }
                cipher
            }
        };
        if bytes.is_empty() {
            return Some((0, bytes));
        }
        let sent = send_at_once(&self.socket, bytes, 0)?;
        Some((sent, bytes.get(sent..).unwrap_or_default()))
    }
}

// A call on a connection to its owner that is kept: its state, and the frames of the owner.

/// A call on a connection that is kept, or is to be.
pub(crate) struct Kept {
    /// The owner's, of the connection.
    pub(crate) challenge: [u8; CHALLENGE_BYTES],
    /// The number of the call on it.
    pub(crate) number: u64,
    /// The address that the connection goes to, once it has waited.
    pub(crate) address: Option<SocketAddr>,
    /// The client's bytes behind the call.
    pub(crate) rest: Vec<u8>,
    pub(crate) progress: Progress,
    /// The owner's bytes, while no frame of them is whole; then the answer.
    pub(crate) bytes: Vec<u8>,
    /// The part of them that is counted in [`Tunnel::stalled`].
    pub(crate) counted: usize,
    /// The owner has ended the connection behind its answer, or said more.
    spoiled: bool,
}

/// The progress of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing of it has gone to the owner.
    Unsent,
    Sent,
    /// The owner has all of it.
    Taken,
    /// The owner has ended the connection without it.
    Declined,
    Answered,
}

/// One that waits for a call or an upgrade.
#[derive(Clone, Copy)]
pub(crate) struct Rested {
    pub(crate) challenge: [u8; CHALLENGE_BYTES],
    /// The number of that.
    pub(crate) next: u64,
}

/// One that a call or an upgrade takes: its number, the connection, where that goes, and what it knows.
pub(crate) struct Taken {
    pub(crate) place: u32,
    pub(crate) owner: Half,
    pub(crate) address: SocketAddr,
    rested: Rested,
}

/// A client whose call was answered, for the machine to go on with.
pub(crate) struct Answered<M: Machine> {
    pub(crate) client: Half,
    /// The client's address.
    pub(crate) remote: SocketAddr,
    pub(crate) parcel: M::Parcel,
    pub(crate) answer: Vec<u8>,
    /// The client's bytes behind the call.
    pub(crate) rest: Vec<u8>,
}

impl Kept {
    pub(crate) fn new(
        challenge: [u8; CHALLENGE_BYTES],
        number: u64,
        address: Option<SocketAddr>,
    ) -> Self {
        Self {
            challenge,
            number,
            address,
            rest: Vec::new(),
            progress: Progress::Unsent,
            bytes: Vec::new(),
            counted: 0,
            spoiled: false,
        }
    }

    /// Its entry in the header, of a request of this length.
    pub(crate) fn entry(&self, length: usize) -> CallEntry {
        CallEntry {
            number: self.number,
            length: u32::try_from(length).unwrap_or(u32::MAX),
        }
    }

    /// Its bytes are on their way.
    pub(crate) fn is_sent(&mut self) {
        self.progress = Progress::Sent;
    }

    /// Whether the request is kept until the owner has it, which may have ended the connection.
    fn may_be_declined(&self) -> bool {
        self.number > 0
    }

    /// Takes the bytes of its answer, or those that are no frame.
    fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Reads the frames that are whole. Whether the owner has just taken the call.
    pub(crate) fn read(&mut self) -> Result<bool, NotFrame> {
        let before = self.progress;
        while let Some((frame, length)) = read_frame(&self.bytes, self.number)? {
            match (frame, self.progress) {
                (OwnerFrame::Taken, Progress::Sent) => {
                    self.bytes.drain(..length);
                    self.progress = Progress::Taken;
                }
                (OwnerFrame::Answer(_), Progress::Sent | Progress::Taken) => {
                    self.spoiled = self.bytes.len() > length;
                    self.bytes.truncate(length);
                    self.bytes.drain(..FRAME_BYTES);
                    self.progress = Progress::Answered;
                    break;
                }
                (OwnerFrame::Done, Progress::Sent) if self.number > 0 => {
                    self.progress = Progress::Declined;
                    break;
                }
                (
                    OwnerFrame::Taken | OwnerFrame::Answer(_) | OwnerFrame::Done | OwnerFrame::Free,
                    _,
                ) => return Err(NotFrame),
            }
        }
        Ok(before == Progress::Sent && self.progress == Progress::Taken)
    }
}
