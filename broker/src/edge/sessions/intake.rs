//! Receiving: handles the completions of receives.

use crate::edge::connection::{Connection, Receive, Stage, Standing, has_left};
use crate::edge::io::{self, Io, Shaking};
use crate::edge::limits::{LEAVING_BYTES, LINGER_BYTES};
use crate::edge::{sessions::Sessions, tls::Read};
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Machine, TurnedAway};
use codec::proxy::{self, MalformedHeader};
use ring::{Lent, Received};
use std::net::SocketAddr;

impl<M: Machine> Sessions<M> {
    /// Handles a receive's completion. If `more` is set, the receive is still armed. Returns `received` as an error if
    /// the session has no connection on this shard.
    pub(crate) fn received(
        &mut self,
        session: SessionKey,
        received: Received,
        more: bool,
        io: &mut Io,
    ) -> Result<(), Received> {
        let Some(connection) = self.connections.get_mut(session) else {
            return Err(received);
        };
        if !more {
            connection.receive = Receive::Idle;
        }
        match received {
            Received::Bytes(lent) => {
                let before = self.machine.work();
                if connection.filled(io.ring.fills(&lent)) {
                    self.connections.cap(session, io);
                }
                self.take(session, lent, io);
                let work = self.machine.work() - before;
                self.connections.charge(session, work, io);
            }
            Received::End => self.ended(session, io),
            Received::Failed(_) => {
                connection.broken = true;
                self.ended(session, io);
            }
            Received::NoBuffers => {
                if !io.ring.add_buffers() {
                    io.counts.no_buffers += 1;
                }
                self.connections.list(session);
            }
            Received::Cancelled => self.connections.list(session),
        }
        // In these stages, the connection must wait for all pending operations before it can proceed.
        if !more
            && let Some(connection) = self.connections.get(session)
            && matches!(
                connection.stage,
                Stage::Leaving(_) | Stage::Closing | Stage::Shut
            )
        {
            self.connections.touch(session);
        }
        self.watch(session, io);
        Ok(())
    }

    /// Resumes a handshake whose bytes were queued.
    pub(crate) fn step(&mut self, session: SessionKey, io: &mut Io) {
        if let Some(connection) = self.connections.get_mut(session)
            && connection.receive == Receive::Queued
        {
            connection.receive = Receive::Idle;
            self.decrypt(session, &mut [], io);
            self.watch(session, io);
        }
    }

    /// Processes bytes that a connection received before it was handed over, or while it was waiting to leave.
    pub(crate) fn resume(&mut self, session: SessionKey, mut unread: Vec<u8>, io: &mut Io) {
        let connection = self.connections.get(session);
        let Some(connection) = connection.filter(|connection| connection.is_open()) else {
            return;
        };
        if connection.tls.is_some() {
            // Called even without further bytes, since complete handshake records may be buffered.
            self.decrypt(session, &mut unread, io);
        } else if !unread.is_empty() {
            self.begin(session, unread, io);
        }
    }

    /// Passes the client's first bytes to the state machine.
    pub(crate) fn begin(&mut self, session: SessionKey, mut bytes: Vec<u8>, io: &mut Io) {
        if self
            .connections
            .get(session)
            .is_some_and(Connection::is_open)
        {
            let bytes = &mut bytes;
            self.look_behind(session, bytes, false);
            self.machine
                .handle(Input::Received { session, bytes }, io.turn.at());
            self.drain(io);
        }
    }

    /// If the client sent what may be a WebSocket upgrade and then disconnected immediately, reports the disconnect to
    /// the state machine. `ended` is set if the client is already known to have disconnected.
    #[inline]
    fn look_behind(&mut self, session: SessionKey, bytes: &[u8], ended: bool) {
        if M::may_begin_web_socket(bytes) {
            let connection = self.connections.get(session);
            if ended || connection.is_some_and(|connection| has_left(&connection.socket)) {
                self.machine.ends_behind(session);
            }
        }
    }

    /// Passes received bytes to the state machine or the TLS engine, or drops them.
    fn take(&mut self, session: SessionKey, mut lent: Lent, io: &mut Io) {
        io.count_received(lent.len());
        let Some(connection) = self.connections.get_mut(session) else {
            return io.ring.give_back(lent);
        };
        match connection.standing {
            Standing::Silent => self.connections.note_first_bytes(session),
            Standing::Unnamed => return self.take_header(session, lent, io),
            Standing::Guest | Standing::Admitted => {}
        }
        let Some(connection) = self.connections.get_mut(session) else {
            return io.ring.give_back(lent);
        };
        match connection.stage {
            Stage::Open if connection.ended => {}
            Stage::Open if connection.tls.is_some() => {
                let Some(lent) = connection.put_off(lent, Shaking::Session(session), io) else {
                    self.connections.recharge(session, &mut io.counts);
                    return self.connections.hold_budgets(io);
                };
                let read = connection.read(lent, io);
                return self.decrypted(session, read, io);
            }
            Stage::Open => {
                let bytes = io.ring.bytes(&mut lent);
                self.look_behind(session, bytes, false);
                self.machine
                    .handle(Input::Received { session, bytes }, io.turn.at());
                io.ring.give_back(lent);
                return self.drain(io);
            }
            Stage::Leaving(_) => {
                let unread = self.connections.unread.entry(session).or_default();
                unread.extend_from_slice(io.ring.bytes(&mut lent));
                if unread.len() > LEAVING_BYTES {
                    self.connections.cut(session, &mut io.counts);
                }
            }
            Stage::Closing | Stage::Lingering => {
                let len = u32::try_from(lent.len()).expect("a buffer has a 32-bit size");
                connection.discarded = connection.discarded.saturating_add(len);
                if connection.discarded > LINGER_BYTES {
                    self.connections.cut(session, &mut io.counts);
                }
            }
            Stage::Shut => {}
        }
        io.ring.give_back(lent);
    }

    /// Processes received bytes of a PROXY protocol header.
    fn take_header(&mut self, session: SessionKey, mut lent: Lent, io: &mut Io) {
        let added = match self.connections.unnamed.get_mut(&session) {
            None => Ok(false),
            Some((_, bytes)) => {
                bytes.extend_from_slice(io.ring.bytes(&mut lent));
                proxy::parse(bytes).map(|header| header.is_some())
            }
        };
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
                self.connections.unnamed.remove(&session);
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

    /// Passes ciphertext to the TLS engine. If `bytes` is empty, the engine continues with the bytes in its buffer.
    fn decrypt(&mut self, session: SessionKey, bytes: &mut [u8], io: &mut Io) {
        if let Some(tls) = self
            .connections
            .get_mut(session)
            .and_then(|connection| connection.tls.as_deref_mut())
        {
            let read = tls.read(bytes, &mut io.plain, io.turn.at().now);
            self.decrypted(session, read, io);
        }
    }

    /// Passes the TLS engine's output to the state machine, in this order: the end of the handshake, the plaintext, and
    /// EOF.
    fn decrypted(&mut self, session: SessionKey, read: Read, io: &mut Io) {
        let Some(connection) = self.connections.get_mut(session) else {
            return;
        };
        let Some(tls) = &mut connection.tls else {
            return;
        };
        if tls.met_plain_http() {
            let mut answer = Vec::new();
            let why = TurnedAway::PlainHttp;
            let remote = self.machine.remote(session);
            let remote = remote.or_else(|| io::remote(&connection.socket));
            let id = remote.map(|remote| self.machine.turned_away(remote, why, io.turn.at()));
            io::not_tls(
                &mut answer,
                io.turn.at().wall,
                id.as_deref().unwrap_or_default(),
            );
            (tls.out, tls.told) = (answer, true); // sent in plaintext, instead of an alert
        }
        let shook = tls.handshaking();
        let kind = if shook { tls.just_secured() } else { None };
        // For a request on an open connection, the certificate is checked again, as if the handshake took place now.
        let shown = if kind.is_some() || !io.plain.is_empty() {
            tls.shown(self.devices.as_ref(), io.turn.at().wall.0 / 1000)
        } else {
            None
        };
        if !tls.out.is_empty() {
            self.connections.touch(session);
        }
        if let Some(shown) = shown {
            self.machine.showed(session, shown, io.turn.at().now);
        }
        if shook {
            io.count_handshake(kind);
            if kind.is_some() {
                self.connections.handshake_over(session, &mut io.counts);
                self.feed(Input::Secured { session }, io);
            }
        }
        if !io.plain.is_empty() {
            if self
                .connections
                .get(session)
                .is_some_and(Connection::is_open)
            {
                let ended = matches!(read, Read::End | Read::Failed);
                self.look_behind(session, &io.plain, ended);
                self.machine.handle(
                    Input::Received {
                        session,
                        bytes: &mut io.plain,
                    },
                    io.turn.at(),
                );
            }
            io.plain.clear();
            self.drain(io);
        }
        self.connections.recharge(session, &mut io.counts);
        self.connections.limit_record(session, io);
        self.connections.hold_budgets(io);
        match read {
            Read::More => {}
            Read::End | Read::Failed => self.ended(session, io),
        }
    }
}
