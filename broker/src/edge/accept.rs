//! Newcomers: connections that a listener accepted, that another node introduced, or that another shard handed over.
//! Each is taken, perhaps at the cost of another connection, or refused.
//!
//! A multishot accept takes a whole backlog in one go, before anything can be counted. So there are two nets: over the
//! soft limit connections are answered 503 and accepting pauses for a moment, with descriptors to spare for those
//! answers, so that nobody waits in the backlog without one; and when descriptors run out all the same, the accept ends
//! with an error and pauses as well. Never is it armed again at once after an error.

use crate::edge::Edge;
use crate::edge::inner::{Arrival, Called, Introduced};
use crate::edge::io::{remote, say_and_close, unavailable};
use crate::edge::letters::{Handover, Travelling};
use crate::edge::{connection::Connection, listeners::listener_place, tls::Tls};
use broker_core::address_shares::Origin;
use broker_core::machine::{Input, Machine, Peer, TurnedAway};
use broker_core::work_units;
use codec::proxy::ProxyHeader;
use ring::Key;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

impl<M: Machine> Edge<M> {
    /// One completion of an accept.
    pub(crate) fn accepted(&mut self, key: Key, socket: io::Result<OwnedFd>, more: bool) {
        let place = listener_place(key);
        if !more {
            let error = socket.as_ref().err();
            self.listeners.over(place, error, &mut self.io);
        }
        match socket {
            Ok(socket) if self.io.stopping => drop(socket),
            Ok(socket) if self.listeners.at(place).inner => self.greet(socket),
            Ok(socket) => self.admit(place, socket),
            Err(error) => self.io.counts.accept_errors.count(&error),
        }
    }

    fn admit(&mut self, place: usize, socket: OwnedFd) {
        self.io.turn.add_work(work_units::ACCEPT);
        let tls = self.listeners.at(place).tls;
        let crowded = self.io.count_descriptor();
        let Some(remote) = remote(&socket) else {
            // Reset before we looked.
            self.io.descriptors.closed();
            self.io.counts.accept_errors.other += 1;
            return;
        };
        let origin = Origin::of(remote.ip());
        let full = crowded || !self.sessions.machine().has_room();
        if full && !self.make_room(origin) {
            if crowded {
                self.listeners.relieve(place, &mut self.io.ring);
            }
            return self.refuse(socket, remote, tls, TurnedAway::NoRoom);
        }
        let Ok(engine) = self.engine(tls, origin) else {
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
        let connection = Connection::new(session, socket, engine);
        self.sessions
            .enter(session, connection, (origin, tls), &mut self.io);
        self.sessions.watch(session, &mut self.io);
    }

    /// Greets a connection to an inner listener.
    fn greet(&mut self, socket: OwnedFd) {
        let crowded = self.io.count_descriptor();
        let Some(from) = remote(&socket) else {
            self.io.descriptors.closed();
            self.io.counts.accept_errors.other += 1;
            return;
        };
        self.inners.end_oldest(&mut self.io);
        let origin = Origin::of(from.ip());
        let room = !crowded || self.make_room(origin);
        self.inners.greet(socket, origin, room, &mut self.io);
    }

    /// Something came on a connection of another node.
    pub(crate) fn arrived(&mut self, arrival: Option<Arrival>) {
        match arrival {
            None => {}
            Some(Arrival::Client(introduced)) => self.open_inner(introduced),
            Some(Arrival::Call(called)) => self.open_call(called),
            Some(Arrival::More {
                session,
                bytes,
                whole,
            }) => self.sessions.call_came(session, bytes, whole, &mut self.io),
            Some(Arrival::Link(arrived)) => self.sessions.accept_link(arrived, &mut self.io),
            Some(Arrival::Gone(session)) => self.sessions.lose_call(session, &mut self.io),
        }
    }

    /// Another node has passed on a call: it has a session, and the connection stays where it is.
    fn open_call(&mut self, called: Called) {
        let Called {
            place,
            header,
            bytes,
            whole,
        } = called;
        let peer = of_node(&header);
        let (source, tls) = (peer.remote, peer.tls);
        let at = self.io.turn.at();
        let full = !self.sessions.machine().has_room();
        let room = !full || self.make_room(Origin::of(source.ip()));
        let session = if room {
            self.sessions.open(peer, full, at)
        } else {
            None
        };
        let Some(session) = session else {
            self.io.counts.accept_errors.limit += 1;
            let machine = self.sessions.machine_mut();
            let id = machine.turned_away(source, TurnedAway::NoRoom, at);
            let mut answer = Vec::new();
            unavailable(&mut answer, at.wall, &id);
            return self.inners.answer(place, None, &answer, &mut self.io);
        };
        self.io.counts.inner_accepted += 1;
        self.inners.is_served(place, session);
        self.sessions
            .begin_call((session, place), tls, &mut self.io);
        self.sessions.call_came(session, bytes, whole, &mut self.io);
    }

    /// Another node has introduced a client: from here on the connection is that one's.
    fn open_inner(&mut self, introduced: Introduced) {
        let Introduced {
            socket,
            tls: mut engine,
            header,
            bytes,
            ended,
            lease,
        } = introduced;
        let peer = of_node(&header);
        let source = peer.remote;
        // An encrypted connection has no answer: the node that passed it on gives one.
        let silent = engine.is_some();
        let origin = Origin::of(source.ip());
        if let Some(tls) = &mut engine {
            tls.comes_from(origin);
        }
        let full = !self.sessions.machine().has_room();
        if full && !self.make_room(origin) {
            return self.refuse(socket, source, silent, TurnedAway::NoRoom);
        }
        let Some(session) = self.sessions.open(peer, full, self.io.turn.at()) else {
            return self.refuse(socket, source, silent, TurnedAway::NoRoom);
        };
        self.io.counts.inner_accepted += 1;
        let connection = Connection::new(session, socket, engine);
        self.sessions
            .enter(session, connection, (origin, false), &mut self.io);
        if let Some(lease) = lease {
            self.sessions.connections_mut().lend(session, lease);
        }
        if peer.tls {
            let secured = Input::Secured { session };
            self.sessions.feed(secured, &mut self.io); // on the way to the node that passed it on
        }
        if !bytes.is_empty() {
            self.sessions.connections_mut().note_first_bytes(session);
            self.sessions.begin(session, bytes, &mut self.io);
        }
        if ended {
            self.sessions.ended(session, &mut self.io);
        }
        self.sessions.connections_mut().touch(session);
        self.sessions.watch(session, &mut self.io);
    }

    /// Takes a connection in that another shard handed over.
    pub(crate) fn adopt(&mut self, handover: Handover<M>) {
        let Handover { parcel, connection } = handover;
        let at = self.io.turn.at();
        let room = !self.io.stopping
            && (self.sessions.machine().has_room() || {
                // One that another node passed on is of that one's address.
                let remote = remote(&connection.socket);
                remote.is_some_and(|remote| self.make_room(Origin::of(remote.ip())))
            });
        if !room {
            let Travelling {
                socket, mut tls, ..
            } = connection;
            self.io.counts.accept_errors.limit += 1;
            let mut answer = Vec::new();
            let machine = self.sessions.machine_mut();
            // None for one that was reset meanwhile.
            let id = remote(&socket).map(|it| machine.turned_away(it, TurnedAway::NoRoom, at));
            unavailable(&mut answer, at.wall, &id.unwrap_or_default());
            if let Some(tls) = &mut tls {
                let mut cipher = Vec::new();
                if tls.write(&answer, &mut cipher).is_ok() {
                    tls.notify_close();
                    // An alert that cannot be said is not missed: the end of the stream follows.
                    let _ = tls.write(&[], &mut cipher);
                }
                answer = cipher;
            }
            say_and_close(&socket, &answer);
            drop(socket);
            return self.io.descriptors.closed();
        }
        let session = self.sessions.machine_mut().adopt(parcel, at);
        self.io.counts.adopted += 1;
        self.sessions.arrive(session, connection, &mut self.io);
    }

    /// Ends a guest for a newcomer from `origin`, or rather a connection between nodes that is of no client. False when
    /// none can be evicted.
    pub(crate) fn make_room(&mut self, origin: Origin) -> bool {
        // It has no session: of those there must be room already.
        if self.sessions.machine().has_room()
            && (self.inners.make_room(&mut self.io)
                || self.sessions.tunnels_mut().spare_ahead(&mut self.io))
        {
            return true;
        }
        let connections = self.sessions.connections_mut();
        connections.make_room(origin, &mut self.io)
    }

    /// The TLS engine of a connection from `origin`; none for plain ones.
    fn engine(&mut self, tls: bool, origin: Origin) -> Result<Option<Box<Tls>>, Refused> {
        if !tls {
            return Ok(None);
        }
        let connections = self.sessions.connections_mut();
        if !connections.handshake_room(origin, &mut self.io) {
            return Err(Refused);
        }
        let engine = self.listeners.engine(origin).ok_or(Refused)?;
        Ok(Some(engine))
    }

    /// Answers 503 and closes. On a TLS listener nothing can be said without a handshake, so it just closes.
    pub(crate) fn refuse(
        &mut self,
        socket: OwnedFd,
        remote: SocketAddr,
        tls: bool,
        why: TurnedAway,
    ) {
        self.io.counts.accept_errors.limit += 1;
        let request_id = self
            .sessions
            .machine_mut()
            .turned_away(remote, why, self.io.turn.at());
        if !tls {
            let mut answer = Vec::new();
            unavailable(&mut answer, self.io.turn.at().wall, &request_id);
            say_and_close(&socket, &answer);
        }
        drop(socket);
        self.io.descriptors.closed();
    }
}

/// There is no room for another handshake.
struct Refused;

/// The client of another node, as its header has it.
fn of_node(header: &ProxyHeader) -> Peer {
    let &ProxyHeader {
        source,
        destination: _,
        listener,
        tls,
    } = header;
    Peer {
        remote: source,
        listener,
        tls,
        inner: true,
    }
}
