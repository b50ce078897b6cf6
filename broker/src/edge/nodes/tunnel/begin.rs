//! The beginning of a tunnel: the client's connection leaves the table, the owner is connected to and greets.

use super::{Ending, Half, Side, Stage, Tunnel};
use crate::edge::answers::remote;
use crate::edge::connections::connection::{Connection, Stage as ConnectionStage};
use crate::edge::handshakes::Shaking;
use crate::edge::limits::TUNNELS_BEGINNING_MAX;
use crate::edge::nodes::links::{LinkEnd, link_key};
use crate::edge::sessions::flush::Flushed;
use crate::edge::shard::Edge;
use crate::edge::tls::{Read, Tls};
use broker_core::crowd::Origin;
use broker_core::id::{NodeId, SessionKey};
use broker_core::machine::{Machine, TunnelFailure, Tunnelled};
use codec::proxy::{Link, NotGreeting, ProxyHeader, read_greeting, write};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

impl<M: Machine> Edge<M> {
    /// Passes a connection on to another node as soon as the kernel holds nothing of it.
    pub(in crate::edge) fn pass_on(&mut self, session: SessionKey, node: NodeId) {
        let Some((client, parcel, tunnelled)) = self.take_leaving(session) else {
            return;
        };
        let Tunnelled {
            peer,
            bytes,
            repeats,
        } = tunnelled;
        match self.connect(node, Origin::of(peer.remote.ip()), bytes.len()) {
            Ok((place, owner)) => {
                let tunnel = Tunnel {
                    node: Some(node),
                    peer,
                    stage: Stage::Connecting,
                    parcel: Some(parcel),
                    repeats,
                    request: bytes,
                    unsent: Vec::new(),
                    client,
                    owner,
                    ending: None,
                    began: self.io.turn.at().now,
                    due: super::end::NEVER,
                    stalled: 0,
                };
                self.open_tunnel(place, tunnel);
            }
            Err(why) => self.return_client(client, parcel, (Some(node), why), bytes),
        }
    }

    /// A connection that leaves, as soon as the kernel holds nothing of it: its socket, its session and what it has
    /// sent. A broken one ends here.
    pub(super) fn take_leaving(
        &mut self,
        session: SessionKey,
    ) -> Option<(Half, M::Parcel, Tunnelled)> {
        self.connections
            .watch(session, &self.machine, &mut self.io.ring);
        match self.flush(session) {
            Flushed::Waiting => return None,
            // A broken one ends at once, like any other.
            Flushed::Broken => {
                self.connections.cut(session, &mut self.io.counts);
                return None;
            }
            Flushed::All => {}
        }
        if !self
            .connections
            .get(session)
            .is_some_and(Connection::at_rest)
        {
            return None;
        }
        let mut unread = self.connections.take_unread(session);
        let Connection {
            socket, tls, ended, ..
        } = self.connections.remove(session, &mut self.io.counts)?;
        let mut parcel = self.machine.release(session);
        let mut client = Half::new(socket, tls);
        client.ended = ended.then_some(self.io.turn.at().now);
        let Some(mut tunnelled) = M::tunnelled(&mut parcel) else {
            debug_assert!(false, "a session that is to be passed on says so");
            self.close_client(client);
            return None;
        };
        if client.tls.is_none() {
            tunnelled.bytes.append(&mut unread);
        } else if !self.decrypt_client(&mut client, &mut unread) {
            self.close_client(client);
            return None;
        } else {
            tunnelled.bytes.append(&mut self.io.plain);
        }
        Some((client, parcel, tunnelled))
    }

    /// Counts a descriptor for a client from `origin`. False, and it is not counted, when there is none and nobody
    /// makes room.
    pub(super) fn open_for(&mut self, origin: Origin) -> bool {
        let crowded = self.io.descriptors.opened() > self.io.settings.connections;
        let room = !crowded || self.make_room(origin);
        if !room {
            self.io.descriptors.closed();
        }
        room
    }

    /// A place for a tunnel and a connection to its owner under way.
    fn connect(
        &mut self,
        node: NodeId,
        origin: Origin,
        bytes: usize,
    ) -> Result<(u32, Half), TunnelFailure> {
        if !self.tunnel_room(origin, bytes) {
            return Err(TunnelFailure::NoRoom);
        }
        let links = self.links.as_ref();
        let address =
            links.and_then(|links| links.address(node, self.mail.id(), &mut self.tunnels.turns));
        let address = address.ok_or(TunnelFailure::Connect)?;
        if !self.open_for(origin) {
            return Err(TunnelFailure::NoRoom);
        }
        let owner = match socket(address, &self.io.settings) {
            Ok(owner) => owner,
            Err(error) => {
                self.io.descriptors.closed();
                return Err(self.no_socket(node, &error));
            }
        };
        let Some(place) = self.tunnels.all.claim() else {
            self.io.descriptors.closed();
            return Err(TunnelFailure::NoRoom);
        };
        let key = link_key(LinkEnd::Owner(place));
        self.io.ring.connect(owner.as_fd(), key, address);
        let mut owner = Half::new(owner, None);
        owner.armed = true; // the connect
        Ok((place, owner))
    }

    /// Why there is no socket to connect with: descriptors or memory, or a kind of address that the machine does not
    /// have.
    fn no_socket(&mut self, node: NodeId, error: &io::Error) -> TunnelFailure {
        match error.raw_os_error() {
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => {
                self.tunnels.turns.failed(node);
                TunnelFailure::Connect
            }
            Some(_) | None => TunnelFailure::NoRoom,
        }
    }

    /// Whether one more may begin, perhaps at the cost of another one that the owner has not greeted.
    fn tunnel_room(&mut self, origin: Origin, bytes: usize) -> bool {
        loop {
            let tunnels = &mut self.tunnels;
            if tunnels.beginning.len() < TUNNELS_BEGINNING_MAX
                && tunnels.request_bytes + bytes <= self.io.settings.tunnel_request_bytes
            {
                return true;
            }
            let Some(victim) = tunnels.beginning.victim(origin, self.io.turn.at().now) else {
                return false;
            };
            self.end_tunnel(victim, Ending::Bounce(TunnelFailure::NoRoom));
        }
    }

    fn open_tunnel(&mut self, place: u32, tunnel: Tunnel<M>) {
        self.io.counts.tunnels_opened += 1;
        self.tunnels.request_bytes += tunnel.request.len();
        let origin = tunnel.origin();
        self.tunnels
            .beginning
            .enter(place, origin, self.io.turn.at().now);
        self.settle(place, Box::new(tunnel));
    }

    /// The connect is over, well or not.
    pub(in crate::edge) fn connected(&mut self, place: u32, result: &io::Result<()>) {
        let Some(mut tunnel) = self.tunnels.all.borrow(place) else {
            return debug_assert!(false, "a tunnel outlives its connect");
        };
        tunnel.owner.armed = false;
        match result {
            Ok(()) => {
                tunnel.stage = Stage::Greeting(Vec::new());
                self.secure_owner(place, &mut tunnel);
            }
            Err(_) => {
                if let Some(node) = tunnel.node {
                    self.tunnels.turns.failed(node);
                }
                tunnel.owner_fails(TunnelFailure::Connect, Ending::Close);
            }
        }
        self.settle(place, tunnel);
    }

    /// Begins a handshake with the owner, or has it wait for its turn, where links are encrypted.
    fn secure_owner(&mut self, place: u32, tunnel: &mut Tunnel<M>) {
        let links = self.links.as_ref();
        let Some((config, name)) =
            links.and_then(|links| links.client(self.mail.id(), tunnel.node?))
        else {
            return;
        };
        match Tls::connect(config, name, tunnel.origin()) {
            Ok(tls) => {
                tunnel.owner.tls = Some(tls);
                tunnel.owner.queued = true;
                let waiting = Shaking::Link(LinkEnd::Owner(place));
                self.io.handshakes.push(waiting);
            }
            Err(_) => tunnel.owner_fails(TunnelFailure::Connect, Ending::Close),
        }
    }

    /// Goes on with a handshake that waited for its turn.
    pub(in crate::edge) fn step_tunnel(&mut self, place: u32) {
        let Some(mut tunnel) = self.tunnels.all.borrow(place) else {
            return; // it ended, and its place is free
        };
        let queued = std::mem::take(&mut tunnel.owner.queued);
        if let Some(tls) = &mut tunnel.owner.tls
            && queued
            && tunnel.ending.is_none()
        {
            let mut plain = std::mem::take(&mut self.io.plain);
            let read = tls.read(&mut [], &mut plain, self.io.turn.at().now);
            self.tunnel_decrypted(place, &mut tunnel, Side::Owner, plain, read);
        }
        self.settle(place, tunnel);
        self.drain(); // it may have made others end
    }

    /// Bytes of the owner before it was sent anything. The header and the request follow a whole greeting.
    pub(super) fn greeted(&mut self, place: u32, tunnel: &mut Tunnel<M>, bytes: &[u8]) {
        let Stage::Greeting(greeting) = &mut tunnel.stage else {
            return debug_assert!(false, "called in that stage");
        };
        greeting.extend_from_slice(bytes);
        let challenge = match read_greeting(greeting) {
            Ok(None) => return,
            Ok(Some(challenge)) => challenge,
            Err(NotGreeting) => return tunnel.owner_fails(TunnelFailure::Foreign, Ending::Close),
        };
        let enters = (tunnel.parcel.as_ref())
            .is_some_and(|parcel| self.machine.tunnel_enters(parcel, place, self.io.turn.at()));
        if !enters {
            return tunnel.owner_fails(TunnelFailure::NoRoom, Ending::Close);
        }
        let links = self.links.clone();
        let Some((links, name)) = links
            .as_deref()
            .and_then(|links| Some((links, links.name(tunnel.node?)?)))
        else {
            return tunnel.owner_fails(TunnelFailure::Connect, Ending::Close);
        };
        let link = Link {
            key: &links.key,
            challenge: &challenge,
            node: &name,
        };
        let header = ProxyHeader {
            source: tunnel.peer.remote,
            destination: local(&tunnel.client.socket),
            listener: tunnel.peer.listener,
            tls: tunnel.peer.tls,
        };
        tunnel.stage = Stage::Open;
        self.tunnels.beginning.leave(place);
        let request = &tunnel.request;
        let mut first = Vec::with_capacity(codec::proxy::HEADER_BYTES_MAX + request.len());
        write(&mut first, &header, &link);
        first.extend_from_slice(request);
        self.io.counts.tunnel_bytes_to_owner += request.len() as u64;
        // Owners that hang leave half of the room to requests for others.
        let is_crowded = self.tunnels.request_bytes > self.io.settings.tunnel_request_bytes / 2;
        if !tunnel.repeats || is_crowded {
            self.take_request(tunnel);
        }
        self.pass(place, tunnel, Side::Owner, &first);
    }

    /// The request is not sent again.
    pub(super) fn take_request(&mut self, tunnel: &mut Tunnel<M>) -> Vec<u8> {
        let request = std::mem::take(&mut tunnel.request);
        self.tunnels.request_bytes -= request.len();
        request
    }

    /// Decrypts what came of a client that was leaving into `self.io.plain`. False when it broke the protocol.
    fn decrypt_client(&mut self, client: &mut Half, unread: &mut [u8]) -> bool {
        let Some(tls) = &mut client.tls else {
            return true;
        };
        match tls.read(unread, &mut self.io.plain, self.io.turn.at().now) {
            Read::More => {}
            Read::End => client.ended = Some(self.io.turn.at().now),
            Read::Failed => {
                self.io.plain.clear();
                return false;
            }
        }
        let (before, after) = tls.recharge();
        self.io.counts.count_held(before, after);
        true
    }

    /// A client comes back into the table, for the machine to answer it.
    pub(super) fn return_client(
        &mut self,
        mut client: Half,
        parcel: M::Parcel,
        (node, why): (Option<NodeId>, TunnelFailure),
        unsent: Vec<u8>,
    ) {
        self.discharge(&mut client);
        let origin = remote(&client.socket).map(|remote| Origin::of(remote.ip()));
        let session = match node {
            Some(node) => {
                self.io.counts.tunnel_failures[why as usize] += 1;
                let failed = (node, why);
                self.machine
                    .bounce_tunnel(parcel, failed, unsent, self.io.turn.at())
            }
            None => self.machine.bounce(parcel, self.io.turn.at()),
        };
        let mut connection = Connection::new(session, client.socket, client.tls);
        connection.ended = client.ended.is_some();
        debug_assert!(connection.stage == ConnectionStage::Open);
        self.connections.insert(session, connection, &mut self.io);
        if let Some(origin) = origin {
            // It may wait: what it waits for is not admitted yet.
            self.connections
                .welcome(session, origin, false, self.io.turn.at().now);
            self.connections.note_first_bytes(session);
        }
        self.drain();
        self.connections.touch(session);
        self.connections
            .watch(session, &self.machine, &mut self.io.ring);
    }
}

/// The address that a client connected to; of one that has left, any.
fn local(socket: &OwnedFd) -> SocketAddr {
    let address = SockRef::from(socket).local_addr().ok();
    let address = address.and_then(|address| address.as_socket());
    address.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into())
}

/// A socket to connect with: blocking, since the ring waits in it.
fn socket(address: SocketAddr, settings: &crate::edge::EdgeSettings) -> io::Result<OwnedFd> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    // A host that is gone says nothing, and an idle client sends nothing that would show it.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    if settings.tcp_user_ms != 0 {
        socket.set_tcp_user_timeout(Some(Duration::from_millis(settings.tcp_user_ms)))?;
    }
    Ok(socket.into())
}
