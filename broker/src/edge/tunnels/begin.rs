//! The beginning of a tunnel: the client's connection leaves the table, the owner is connected to and greets, or the
//! side thread takes the owner's place.

use crate::edge::connection::{Connection, Stage as ConnectionStage, has_left};
use crate::edge::io::{Io, Shaking, remote};
use crate::edge::limits::TUNNELS_BEGINNING_MAX;
use crate::edge::links::{LinkEnd, link_key};
use crate::edge::tls::{Read, Tls};
use crate::edge::tunnels::ahead::Upgrade;
use crate::edge::tunnels::copy::SideOf;
use crate::edge::tunnels::{
    Departed, Ending, Half, Returned, Room, Settled, Side, Stage, Tunnel, Tunnels,
};
use broker_core::address_shares::Origin;
use broker_core::id::{NodeId, SessionKey};
use broker_core::machine::{Machine, TunnelFailure};
use codec::proxy::{
    CALL_BYTES_MAX, CHALLENGE_BYTES, Link, NotGreeting, ProxyHeader, read_greeting, write,
    write_call, write_upgrade,
};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

impl<M: Machine> Tunnels<M> {
    /// The address to which the shard connects next for a node.
    pub(crate) fn address(&mut self, node: NodeId) -> Option<SocketAddr> {
        let links = self.links.as_ref()?;
        links.address(node, self.shard, &mut self.turns)
    }

    /// A place for a tunnel and a connection to its owner under way. Its descriptor is counted already.
    pub(crate) fn connect(
        &mut self,
        node: NodeId,
        address: SocketAddr,
        io: &mut Io,
    ) -> Result<(u32, Half), TunnelFailure> {
        let owner = match connecting_socket(address, &io.settings) {
            Ok(owner) => owner,
            Err(error) => {
                io.descriptors.closed();
                return Err(self.no_socket(node, &error));
            }
        };
        let Some(place) = self.all.claim() else {
            io.descriptors.closed();
            return Err(TunnelFailure::NoRoom);
        };
        let key = link_key(LinkEnd::Owner(place));
        io.ring.connect(owner.as_fd(), key, address);
        let mut owner = Half::new(owner, None);
        owner.armed = true; // the connect
        Ok((place, owner))
    }

    /// Why there is no socket to connect with: descriptors or memory, or a kind of address that the machine does not
    /// have.
    fn no_socket(&mut self, node: NodeId, error: &io::Error) -> TunnelFailure {
        match error.raw_os_error() {
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => {
                self.turns.failed(node);
                TunnelFailure::Connect
            }
            Some(_) | None => TunnelFailure::NoRoom,
        }
    }

    /// Whether one more may begin, perhaps at the cost of another one that the owner has not greeted.
    pub(crate) fn room(&mut self, origin: Origin, bytes: usize, io: &Io) -> Room {
        if self.beginning.len() < TUNNELS_BEGINNING_MAX
            && self.request_bytes + bytes <= io.settings.tunnel_request_bytes
        {
            return Room::Free;
        }
        let victim = self.beginning.victim(origin, io.turn.at().now);
        victim.map_or(Room::Full, Room::After)
    }

    /// Begins a tunnel to a node, to which `owner` connects.
    pub(crate) fn open(
        &mut self,
        (place, owner): (u32, Half),
        node: NodeId,
        departed: Departed<M>,
        machine: &mut M,
        io: &mut Io,
    ) -> Settled<M> {
        let now = io.turn.at().now;
        let tunnel = Tunnel::new(Some(node), owner, departed, Stage::Connecting, now);
        self.request_bytes += tunnel.request.len();
        self.beginning.enter(place, tunnel.origin(), now);
        self.settle(place, Box::new(tunnel), machine, io)
    }

    /// The connect is over, well or not.
    pub(crate) fn connected(
        &mut self,
        place: u32,
        result: &io::Result<()>,
        machine: &mut M,
        io: &mut Io,
    ) -> Settled<M> {
        let Some(mut tunnel) = self.all.borrow(place) else {
            debug_assert!(false, "a tunnel outlives its connect");
            return Settled::done();
        };
        tunnel.owner.armed = false;
        match result {
            Ok(()) => {
                tunnel.stage = Stage::Greeting(Vec::new());
                let origin = tunnel.origin();
                let (node, owner) = (tunnel.node, &mut tunnel.owner);
                if node.is_some_and(|node| !self.secure((place, owner), node, origin, io)) {
                    tunnel.owner_fails(TunnelFailure::Connect, Ending::Close);
                }
            }
            Err(_) => {
                if let Some(node) = tunnel.node {
                    self.turns.failed(node);
                }
                tunnel.owner_fails(TunnelFailure::Connect, Ending::Close);
            }
        }
        self.settle(place, tunnel, machine, io)
    }

    /// Has a handshake with an owner wait for its turn, where links are encrypted. False when none can begin.
    pub(crate) fn secure(
        &self,
        (place, owner): (u32, &mut Half),
        node: NodeId,
        origin: Origin,
        io: &mut Io,
    ) -> bool {
        let links = self.links.as_ref();
        let client = links.and_then(|links| links.client(self.shard, node));
        let Some((config, name)) = client else {
            return true;
        };
        let Ok(tls) = Tls::connect(config, name, origin) else {
            return false;
        };
        owner.tls = Some(tls);
        owner.queued = true;
        let waiting = Shaking::Link(LinkEnd::Owner(place));
        io.handshakes.push(waiting);
        true
    }

    /// Goes on with a handshake that waited for its turn.
    pub(crate) fn step(&mut self, place: u32, machine: &mut M, io: &mut Io) -> Settled<M> {
        let Some(mut tunnel) = self.all.borrow(place) else {
            return Settled::done(); // it ended, and its place is free
        };
        let queued = std::mem::take(&mut tunnel.owner.queued);
        if let Some(tls) = &mut tunnel.owner.tls
            && queued
            && tunnel.ending.is_none()
        {
            let mut plain = std::mem::take(&mut io.plain);
            let read = tls.read(&mut [], &mut plain, io.turn.at().now);
            let side = Side::Owner;
            let end = SideOf { place, side };
            self.decrypted(end, &mut tunnel, (plain, read), machine, io);
        }
        Settled {
            outputs: true,
            ..self.settle(place, tunnel, machine, io)
        }
    }

    /// Bytes of the owner before it was sent anything. The header and the request follow a whole greeting.
    pub(crate) fn greeted(
        &mut self,
        place: u32,
        tunnel: &mut Tunnel<M>,
        bytes: &[u8],
        machine: &mut M,
        io: &mut Io,
    ) {
        let Stage::Greeting(greeting) = &mut tunnel.stage else {
            return debug_assert!(false, "called in that stage");
        };
        greeting.extend_from_slice(bytes);
        let challenge = match read_greeting(greeting) {
            Ok(None) => return,
            Ok(Some(challenge)) => challenge,
            Err(NotGreeting) => return tunnel.owner_fails(TunnelFailure::Foreign, Ending::Close),
        };
        self.introduce(place, tunnel, &challenge, machine, io);
    }

    /// Sends the header and the request, with which the owner's challenge is answered.
    pub(crate) fn introduce(
        &mut self,
        place: u32,
        tunnel: &mut Tunnel<M>,
        challenge: &[u8; CHALLENGE_BYTES],
        machine: &mut M,
        io: &mut Io,
    ) {
        // It would take the place of a connection that is there.
        if tunnel.repeats && has_left(&tunnel.client.socket) {
            return tunnel.end(Ending::Close);
        }
        let enters = (tunnel.parcel.as_ref())
            .zip(tunnel.node)
            .is_some_and(|(parcel, node)| {
                machine.tunnel_enters(parcel, (place, node), io.turn.at())
            });
        if !enters {
            return tunnel.owner_fails(TunnelFailure::NoRoom, Ending::Close);
        }
        self.frame_call(tunnel, challenge);
        if tunnel.repeats && tunnel.kept.is_none() {
            let fresh = || Box::new(Upgrade::new(*challenge, 0, None));
            let upgrade = tunnel.upgrade.get_or_insert_with(fresh);
            upgrade.follows(&tunnel.request);
        }
        let links = self.links.as_deref();
        let Some((links, name)) = links.and_then(|links| Some((links, links.name(tunnel.node?)?)))
        else {
            return tunnel.owner_fails(TunnelFailure::Connect, Ending::Close);
        };
        let link = Link {
            key: &links.key,
            challenge,
            node: &name,
        };
        let header = ProxyHeader {
            source: tunnel.peer.remote,
            destination: match &tunnel.kept {
                Some(_) => any(tunnel.peer.remote), // no owner looks, and asking the kernel is a call for each
                None => local(&tunnel.client.socket),
            },
            listener: tunnel.peer.listener,
            tls: tunnel.peer.tls,
        };
        tunnel.stage = Stage::Open;
        self.beginning.leave(place);
        let request = &tunnel.request;
        let mut first = Vec::with_capacity(codec::proxy::HEADER_BYTES_MAX + request.len());
        match (&tunnel.kept, &tunnel.upgrade) {
            (Some(kept), _) => write_call(&mut first, &header, kept.entry(request.len()), &link),
            (None, Some(it)) => write_upgrade(&mut first, &header, it.number, &link),
            (None, None) => write(&mut first, &header, &link),
        }
        first.extend_from_slice(request);
        io.counts.tunnel_bytes_to_owner += request.len() as u64;
        // Owners that hang leave half of the room to requests for others.
        let is_crowded = self.request_bytes > io.settings.tunnel_request_bytes / 2;
        let kept = tunnel.kept.as_ref();
        let is_again = tunnel.repeats || kept.is_some_and(|kept| kept.may_be_declined());
        if !is_again || is_crowded {
            self.take_request(tunnel);
        }
        self.pass(place, tunnel, Side::Owner, &first, io);
        // The owner has got nothing of a send that fails.
        if let Some(kept) = tunnel.kept.as_mut().filter(|_| tunnel.ending.is_none()) {
            kept.is_sent();
        }
    }

    /// The request is not sent again.
    pub(crate) fn take_request(&mut self, tunnel: &mut Tunnel<M>) -> Vec<u8> {
        let request = std::mem::take(&mut tunnel.request);
        self.request_bytes -= request.len();
        request
    }
}

impl<M: Machine> Departed<M> {
    /// A client whose connection is in no table any more; `unread` came from its socket while it was leaving. `None`
    /// when it broke the protocol: then it is closed.
    pub(crate) fn new(
        connection: Connection,
        mut parcel: M::Parcel,
        mut unread: Vec<u8>,
        io: &mut Io,
    ) -> Option<Self> {
        let Connection {
            socket, tls, ended, ..
        } = connection;
        let mut client = Half::new(socket, tls);
        client.ended = ended.then_some(io.turn.at().now);
        let Some(mut sent) = M::tunnelled(&mut parcel) else {
            debug_assert!(false, "a session that is to be passed on says so");
            client.close(io);
            return None;
        };
        if client.tls.is_none() {
            sent.bytes.append(&mut unread);
        } else if !client.decrypt(&mut unread, io) {
            client.close(io);
            return None;
        } else {
            sent.bytes.append(&mut io.plain);
        }
        Some(Self {
            client,
            parcel,
            sent,
        })
    }

    /// The client's address.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.sent.peer.remote
    }

    /// Whether its request may be sent again.
    pub(crate) fn repeats(&self) -> bool {
        self.sent.repeats
    }

    /// Whether it is a call that may go over a connection that is kept.
    pub(crate) fn is_call(&self) -> bool {
        let is_short = |length| length <= CALL_BYTES_MAX;
        self.sent.call.is_some_and(is_short) && !self.sent.waits
    }

    /// Bytes of its request.
    pub(crate) fn bytes(&self) -> usize {
        self.sent.bytes.len()
    }

    /// There is no way to the owner: the client is for the machine to answer. `None` for `node` is the side thread.
    pub(crate) fn back(self, node: Option<NodeId>, why: TunnelFailure) -> Returned<M> {
        Returned {
            client: self.client,
            parcel: self.parcel,
            failed: (node, why),
            unsent: self.sent.bytes,
        }
    }
}

impl Half {
    /// Decrypts what came of a client that was leaving into `io.plain`. False when it broke the protocol.
    fn decrypt(&mut self, unread: &mut [u8], io: &mut Io) -> bool {
        let Some(tls) = &mut self.tls else {
            return true;
        };
        match tls.read(unread, &mut io.plain, io.turn.at().now) {
            Read::More => {}
            Read::End => self.ended = Some(io.turn.at().now),
            Read::Failed => {
                io.plain.clear();
                return false;
            }
        }
        let (before, after) = tls.recharge();
        io.counts.count_held(before, after);
        true
    }

    /// Whether it sends no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The address of the other end.
    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        remote(&self.socket)
    }

    /// The connection, under the key of its session.
    pub(crate) fn into_connection(self, session: SessionKey) -> Connection {
        let mut connection = Connection::new(session, self.socket, self.tls);
        connection.ended = self.ended.is_some();
        debug_assert!(connection.stage == ConnectionStage::Open);
        connection
    }
}

/// No address of the family of this one.
fn any(of: SocketAddr) -> SocketAddr {
    match of {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// The address that a client connected to; of one that has left, any.
fn local(socket: &OwnedFd) -> SocketAddr {
    let address = SockRef::from(socket).local_addr().ok();
    let address = address.and_then(|address| address.as_socket());
    address.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into())
}

/// A host that is gone says nothing, and an idle client sends nothing that would show it.
pub(crate) fn keep_alive(socket: &SockRef<'_>) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)
}

/// A socket to connect with: blocking, since the ring waits in it.
pub(crate) fn connecting_socket(
    address: SocketAddr,
    settings: &crate::edge::EdgeSettings,
) -> io::Result<OwnedFd> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    keep_alive(&SockRef::from(&socket))?;
    if settings.tcp_user_ms != 0 {
        socket.set_tcp_user_timeout(Some(Duration::from_millis(settings.tcp_user_ms)))?;
    }
    Ok(socket.into())
}
