//! Connections from proxies: parses the PROXY protocol header, and processes the bytes after it.

use crate::edge::connection::{Connection, Receive, Standing};
use crate::edge::io::{self, Io, Shaking};
use crate::edge::{sessions::Sessions, tls::Tls};
use broker_core::address_shares::Origin;
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Machine, TurnedAway};
use codec::proxy::MalformedHeader;
use ring::Lent;
use std::net::SocketAddr;

impl<M: Machine> Sessions<M> {
    /// Adds the connection of a newly opened session that comes from a proxy.
    pub(crate) fn await_header(
        &mut self,
        session: SessionKey,
        mut connection: Connection,
        tls: bool,
        io: &mut Io,
    ) {
        connection.standing = Standing::Unnamed;
        self.connections.insert(session, connection, io);
        self.connections.unnamed.enter(session, tls);
        self.drain(io);
    }

    /// Processes received header bytes.
    pub(crate) fn take_header(&mut self, session: SessionKey, mut lent: Lent, io: &mut Io) {
        let added = self
            .connections
            .unnamed
            .add(session, io.ring.bytes(&mut lent));
        io.ring.give_back(lent);
        match added {
            Ok(false) => {}
            Ok(true) => {
                if let Some(connection) = self.connections.get_mut(session) {
                    connection.receive = Receive::Queued;
                    io.handshakes.push(Shaking::Session(session));
                }
            }
            Err(MalformedHeader) => {
                self.connections.unnamed.take(session);
                io.counts.proxy_headers.malformed += 1;
                if let Some(remote) = self.remote(session) {
                    let at = io.turn.at();
                    self.machine
                        .turned_away(remote, TurnedAway::ProxyMalformed, at);
                }
                self.connections.cut(session, &mut io.counts);
            }
        }
    }

    /// Returns the address that a connection is attributed to.
    pub(crate) fn remote(&self, session: SessionKey) -> Option<SocketAddr> {
        let of_socket = || io::remote(&self.connections.get(session)?.socket);
        self.machine.remote(session).or_else(of_socket)
    }

    /// Processes the bytes after the header as the connection's first bytes, now that the client's address is known.
    pub(crate) fn named(
        &mut self,
        session: SessionKey,
        (engine, origin): (Option<Box<Tls>>, Origin),
        rest: Vec<u8>,
        io: &mut Io,
    ) {
        let tls = engine.is_some();
        let Some(connection) = self.connections.get_mut(session) else {
            return;
        };
        connection.tls = engine;
        io.counts.handshaking += u64::from(tls);
        if let Some(tls) = &mut connection.tls {
            tls.hold(&rest);
        }
        let now = io.turn.at().now;
        self.connections.welcome(session, origin, tls, now);
        if !rest.is_empty() {
            self.connections.note_first_bytes(session);
        }
        if !tls {
            self.feed(Input::Secured { session }, io);
            if !rest.is_empty() {
                self.begin(session, rest, io);
            }
        }
    }
}
