//! Handles connections that were accepted or handed over by another shard. Each one is either admitted, possibly after
//! another connection has been evicted, or refused.
//!
//! A multishot accept drains the whole backlog before the broker can count a single connection, so there are two
//! limits. Above the soft limit, the broker answers connections with 503 and briefly pauses accepting. Some descriptors
//! are reserved for these answers, so that clients are not left in the backlog until a descriptor becomes free. If
//! descriptors run out anyway, which is the hard limit, the accept fails. Accepting then pauses as well, because an
//! accept is never rearmed immediately after an error.

use crate::edge::Edge;
use crate::edge::connection::{Connection, Standing};
use crate::edge::io::{remote, say_and_close, unavailable};
use crate::edge::letters::{Handover, Travelling};
use crate::edge::listeners::listener_place;
use crate::edge::tls::{Piece, Tls};
use broker_core::address_shares::{Origin, canonical};
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Machine, Peer, TurnedAway};
use broker_core::work_units;
use codec::proxy::parse;
use ring::Key;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

impl<M: Machine> Edge<M> {
    /// Handles the completion of an accept.
    pub(crate) fn accepted(&mut self, key: Key, socket: io::Result<OwnedFd>, more: bool) {
        let place = listener_place(key);
        if !more {
            let error = socket.as_ref().err();
            self.listeners.over(place, error, &mut self.io);
        }
        match socket {
            Ok(socket) if self.io.stopping => drop(socket),
            Ok(socket) if self.listeners.at(place).inner => self.accept_link(socket),
            Ok(socket) => self.admit(place, socket),
            Err(error) => self.io.counts.accept_errors.count(&error),
        }
    }

    fn admit(&mut self, place: usize, socket: OwnedFd) {
        self.io.turn.add_work(work_units::ACCEPT);
        let listener = self.listeners.at(place);
        let (tls, is_proxied) = (listener.tls, !listener.proxies.is_empty());
        let is_proxy = |ip| listener.proxies.iter().any(|network| network.contains(&ip));
        let crowded = self.io.count_descriptor();
        let Some(remote) = remote(&socket) else {
            // The peer reset the connection before it was served.
            self.io.descriptors.closed();
            self.io.counts.accept_errors.other += 1;
            return;
        };
        if is_proxied && !is_proxy(remote.ip()) {
            return self.refuse_stranger(socket, remote);
        }
        let origin = Origin::of(remote.ip());
        let full = crowded || !self.sessions.machine.has_room();
        if full && !self.make_room(origin) {
            if crowded {
                self.listeners.relieve(place, &mut self.io.ring);
            }
            return self.refuse(socket, remote, tls, TurnedAway::NoRoom);
        }
        // A proxied connection gets its TLS engine later, once its client's address is known.
        let Ok(engine) = self.engine(tls && !is_proxied, origin) else {
            return self.refuse(socket, remote, tls, TurnedAway::NoHandshakeRoom);
        };
        let peer = Peer {
            remote,
            listener: self.listeners.at(place).number,
            tls,
            inner: false,
        };
        let Some(session) = self.sessions.open(peer, full, self.io.turn.at()) else {
            return self.refuse(socket, remote, tls, TurnedAway::NoRoom);
        };
        self.io.counts.accepted += 1;
        let mut connection = Connection::new(session, socket, engine);
        let (connections, io) = (&mut self.sessions.connections, &mut self.io);
        if is_proxied {
            connection.standing = Standing::Unnamed;
            connections.unnamed.insert(session, (tls, Vec::new()));
            connections.insert(session, connection, io);
        } else {
            connections.insert(session, connection, io);
            connections.welcome(session, origin, tls, io.turn.at().now);
        }
        self.sessions.drain(io);
        self.sessions.watch(session, io);
    }

    /// Accepts a connection from another node.
    fn accept_link(&mut self, socket: OwnedFd) {
        let crowded = self.io.count_descriptor();
        let Some(from) = remote(&socket) else {
            self.io.descriptors.closed();
            self.io.counts.accept_errors.other += 1;
            return;
        };
        let origin = Origin::of(from.ip());
        if crowded && !self.make_room(origin) {
            self.io.counts.inner_refused.limit += 1;
            drop(socket);
            return self.io.descriptors.closed();
        }
        self.sessions.streams.accept(socket, origin, &mut self.io);
    }

    /// Takes over a connection that another shard has handed over.
    pub(crate) fn adopt(&mut self, handover: Handover<M>) {
        let Handover { parcel, connection } = handover;
        let at = self.io.turn.at();
        let from = M::remote_of(&parcel).or_else(|| remote(&connection.socket));
        let room = !self.io.stopping
            && (self.sessions.machine.has_room() || {
                from.is_some_and(|remote| self.make_room(Origin::of(remote.ip())))
            });
        if !room {
            let Travelling {
                socket, mut tls, ..
            } = connection;
            self.io.counts.accept_errors.limit += 1;
            let mut answer = Vec::new();
            let machine = &mut self.sessions.machine;
            // The peer's address is unavailable if the connection has been reset.
            let id = from.map(|it| machine.turned_away(it, TurnedAway::NoRoom, at));
            unavailable(&mut answer, at.wall, &id.unwrap_or_default());
            if let Some(tls) = &mut tls {
                let piece = Piece {
                    bytes: &answer,
                    record_bytes: usize::MAX,
                    is_last: true,
                };
                let mut cipher = Vec::new();
                tls.seal(piece, &mut cipher); // if this fails, only the end of the stream follows
                answer = cipher;
            }
            say_and_close(&socket, &answer);
            drop(socket);
            return self.io.descriptors.closed();
        }
        let session = self.sessions.machine.adopt(parcel, at);
        self.io.counts.adopted += 1;
        self.sessions.arrive(session, connection, &mut self.io);
    }

    /// Evicts a connection to make room for one from `origin`: an unauthenticated connection on the inner listener if
    /// there is one, and otherwise a client that has not been admitted. Returns `false` if no connection can be
    /// evicted.
    pub(crate) fn make_room(&mut self, origin: Origin) -> bool {
        let (sessions, io) = (&mut self.sessions, &mut self.io);
        // If the state machine has no room for another session, closing an inner connection does not help.
        (sessions.machine.has_room() && sessions.streams.make_room(io))
            || sessions.connections.make_room(origin, io)
    }

    /// Closes a connection to a proxy listener because its peer is not a configured proxy.
    fn refuse_stranger(&mut self, socket: OwnedFd, remote: SocketAddr) {
        self.io.counts.proxy_headers.foreign += 1;
        let (machine, at) = (&mut self.sessions.machine, self.io.turn.at());
        machine.turned_away(remote, TurnedAway::ProxyForeign, at);
        drop(socket);
        self.io.descriptors.closed();
    }

    /// Resumes a connection whose PROXY protocol header, which identifies the client, has been received.
    pub(crate) fn name(&mut self, session: SessionKey) {
        let unnamed = &mut self.sessions.connections.unnamed;
        let header = unnamed.get(&session).map(|(_, bytes)| parse(bytes));
        let Some(Ok(Some(header))) = header else {
            return;
        };
        let Some((tls, mut rest)) = unnamed.remove(&session) else {
            return;
        };
        rest.drain(..header.bytes);
        if let Some(client) = header.client {
            let client = canonical(client);
            self.sessions.machine.comes_from(session, client);
        }
        let Some(remote) = self.sessions.remote(session) else {
            return;
        };
        self.io.counts.proxy_headers.read += 1;
        let origin = Origin::of(remote.ip());
        let engine = self.engine(tls, origin);
        let (sessions, io) = (&mut self.sessions, &mut self.io);
        let at = io.turn.at();
        let Ok(engine) = engine else {
            io.counts.accept_errors.limit += 1;
            let why = TurnedAway::NoHandshakeRoom;
            sessions.machine.turned_away(remote, why, at);
            return sessions.connections.cut(session, &mut io.counts);
        };
        let Some(connection) = sessions.connections.get_mut(session) else {
            return;
        };
        // The bytes after the header are the connection's first bytes.
        connection.tls = engine;
        io.counts.handshaking += u64::from(tls);
        if let Some(tls) = &mut connection.tls {
            tls.hold(&rest);
        }
        sessions.connections.welcome(session, origin, tls, at.now);
        if !rest.is_empty() {
            sessions.connections.note_first_bytes(session);
        }
        if !tls {
            sessions.feed(Input::Secured { session }, io);
            if !rest.is_empty() {
                sessions.begin(session, rest, io);
            }
        }
    }

    /// Creates a TLS engine for a connection from `origin`. Returns `None` for a plain connection.
    fn engine(&mut self, tls: bool, origin: Origin) -> Result<Option<Box<Tls>>, Refused> {
        if !tls {
            return Ok(None);
        }
        let connections = &mut self.sessions.connections;
        if !connections.handshake_room(origin, &mut self.io) {
            return Err(Refused);
        }
        let engine = self.listeners.engine(origin).ok_or(Refused)?;
        Ok(Some(engine))
    }

    /// Responds with 503 and closes the connection. On a TLS listener, sends nothing, because a response would require
    /// a handshake.
    pub(crate) fn refuse(&mut self, socket: OwnedFd, peer: SocketAddr, tls: bool, why: TurnedAway) {
        self.io.counts.accept_errors.limit += 1;
        let request_id = self
            .sessions
            .machine
            .turned_away(peer, why, self.io.turn.at());
        if !tls {
            let mut answer = Vec::new();
            unavailable(&mut answer, self.io.turn.at().wall, &request_id);
            say_and_close(&socket, &answer);
        }
        drop(socket);
        self.io.descriptors.closed();
    }
}

/// The error for a connection that cannot start a TLS handshake, because a limit was reached or no engine could be
/// created.
struct Refused;
