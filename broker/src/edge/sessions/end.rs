//! Ends a shard's connections. A connection is handed over to another shard, passed on to another node or to the side
//! thread (from which it may return), closed, or aborted.
//!
//! A graceful close sends all bytes and the TLS close_notify, shuts down the sending side, and waits for the peer's
//! FIN. Without this wait, bytes that arrive after close(2) would cause a reset, which may discard data that the peer
//! has not read. If the protocol implies that the peer sends nothing more, the wait is skipped. However, the kernel
//! could hold the unacknowledged bytes of such a connection for up to `TCP_USER_TIMEOUT`. If there are many such bytes,
//! the connection is reset at its deadline. close(2) is called last, after all armed operations have completed. If a
//! receive were still armed, close(2) would send no FIN and would leave the socket open.

use crate::edge::connection::{Connection, Stage, leaves_orphan, reset_at_close};
use crate::edge::io::Io;
use crate::edge::letters::{Handover, Travelling};
use crate::edge::limits::ORPHAN_BYTES;
use crate::edge::sessions::{Flushed, Sessions};
use crate::edge::visiting::{Secured, TakeAdmin, Visiting};
use crate::edge::{connections::GivenUp, tls::Read};
use broker_core::address_shares::Origin;
use broker_core::id::{SessionKey, ShardId};
use broker_core::machine::{FailedPass, Input, Machine, PassedOn};
use socket2::SockRef;
use std::net::Shutdown;
use std::os::fd::AsFd;

impl<M: Machine> Sessions<M> {
    /// Hands a connection over to another shard once the kernel has no pending operations on it.
    pub(crate) fn leave(&mut self, session: SessionKey, to: ShardId, io: &mut Io) {
        self.watch(session, io);
        match self.flush(session, io) {
            Flushed::Waiting => return,
            // A broken connection is handed over as well. The other shard will notice that it is broken.
            Flushed::All | Flushed::Broken => {}
        }
        let Some((connection, unread, parcel)) = self.release(session, io) else {
            return;
        };
        io.ring.release(connection.socket.as_fd());
        let connection = Travelling {
            socket: connection.socket,
            tls: connection.tls,
            unread,
        };
        let handover = Handover { parcel, connection };
        if let Some(back) = self.mail.hand_over(to, handover, &mut io.counts) {
            // The other shard's mailbox was full, so this shard's state machine responds.
            let session = self.machine.bounce(back.parcel, io.turn.at());
            self.arrive(session, back.connection, io);
        }
    }

    /// Removes a connection from the table once the kernel has no pending operations on it. Returns the connection, any
    /// bytes received in the meantime, and the session.
    pub(crate) fn release(
        &mut self,
        session: SessionKey,
        io: &mut Io,
    ) -> Option<(Connection, Vec<u8>, M::Parcel)> {
        self.connections
            .get(session)
            .filter(|connection| connection.at_rest())?;
        let unread = self.connections.unread.remove(&session);
        let connection = self.connections.remove(session, &mut io.counts)?;
        let parcel = self.machine.release(session);
        Some((connection, unread.unwrap_or_default(), parcel))
    }

    /// Adds a connection from another shard under the key that the state machine has assigned.
    pub(crate) fn arrive(&mut self, session: SessionKey, connection: Travelling, io: &mut Io) {
        let arrived = Connection::new(session, connection.socket, connection.tls);
        self.connections.insert(session, arrived, io);
        self.drain(io);
        let remote = self.machine.remote(session);
        self.connections
            .note_refused(session, remote, io.turn.at().now);
        self.resume(session, connection.unread, io);
        // The end of the loop iteration flushes the state machine's bytes and arms the receive.
        self.connections.touch(session);
    }

    /// Removes a connection that moves to another node or to the side thread, once the kernel has no pending operations
    /// on it. Returns the connection with its session and the client's request. A broken connection is closed instead.
    pub(crate) fn depart(
        &mut self,
        session: SessionKey,
        io: &mut Io,
    ) -> Option<(Connection, M::Parcel, PassedOn)> {
        self.watch(session, io);
        let is_secured_and_free = self
            .connections
            .get(session)
            .is_some_and(|it| it.tls.is_some() && !it.handshaking() && !it.broken && !it.sending);
        let flushed = if is_secured_and_free && self.machine.unsent(session).is_empty() {
            // All unsent bytes come from the TLS engine, for example a ticket. They are sent with the response.
            Flushed::All
        } else {
            self.flush(session, io)
        };
        match flushed {
            Flushed::Waiting => return None,
            // A broken connection is shut down immediately.
            Flushed::Broken => {
                self.connections.cut(session, &mut io.counts);
                return None;
            }
            Flushed::All => {}
        }
        let (mut connection, mut unread, mut parcel) = self.release(session, io)?;
        connection.dirty = false;
        let Some(mut sent) = M::passed_on(&mut parcel) else {
            debug_assert!(false, "a session that is to be passed on says so");
            connection.close(io);
            return None;
        };
        let read = match &mut connection.tls {
            None => {
                sent.bytes.append(&mut unread);
                Read::More
            }
            Some(tls) => tls.read(&mut unread, &mut sent.bytes, io.turn.at().now),
        };
        if !connection.charge(io) || read == Read::Failed {
            connection.close(io);
            return None;
        }
        connection.ended |= read == Read::End;
        Some((connection, parcel, sent))
    }

    /// Passes a connection to the side thread once the kernel has no pending operations on it. If there is no side
    /// thread, or if it is at capacity, the state machine responds to the client instead.
    pub(crate) fn visit(&mut self, session: SessionKey, take: Option<&TakeAdmin>, io: &mut Io) {
        let Some((mut connection, parcel, sent)) = self.depart(session, io) else {
            return;
        };
        connection.discharge(io);
        io.ring.release(connection.socket.as_fd());
        if let Some(take) = take
            && let Some(tls) = connection.tls.take()
        {
            let visiting = Visiting {
                socket: connection.socket,
                remote: sent.peer.remote,
                secured: Secured::new(tls, sent.bytes, connection.ended),
            };
            let Err(refused) = take(visiting) else {
                return io.descriptors.closed();
            };
            connection = Connection::new(session, refused.socket, Some(refused.secured.tls));
        }
        let session = self.machine.bounce(parcel, io.turn.at());
        self.take_back(session, connection, io);
    }

    /// Returns a client to the state machine because the other node did not answer its request. If the request was
    /// never sent, the state machine tries another owner. Otherwise, it responds to the client itself.
    pub(crate) fn return_client(
        &mut self,
        client: Connection,
        parcel: M::Parcel,
        failed: FailedPass,
        io: &mut Io,
    ) {
        io.counts.pass_failures[failed.why as usize] += 1;
        let at = io.turn.at();
        let session = self.machine.unanswered(parcel, failed, at);
        self.take_back(session, client, io);
    }

    /// Takes back a client's connection and assigns it to `session` again.
    pub(crate) fn take_back(&mut self, session: SessionKey, client: Connection, io: &mut Io) {
        let mut connection = Connection::new(session, client.socket, client.tls);
        connection.ended = client.ended;
        self.connections.insert(session, connection, io);
        if let Some(remote) = self.remote(session) {
            // The client may be waiting for admission, so it can be evicted.
            let (origin, now) = (Origin::of(remote.ip()), io.turn.at().now);
            self.connections.welcome(session, origin, false, now);
            self.connections.note_first_bytes(session);
        }
        self.drain(io);
        self.connections.touch(session);
        self.watch(session, io);
    }

    /// Sends the remaining bytes and the TLS close_notify, then shuts down the sending side.
    pub(crate) fn close(&mut self, session: SessionKey, io: &mut Io) {
        match self.flush(session, io) {
            Flushed::All => {}
            Flushed::Waiting => return,
            Flushed::Broken => return self.connections.cut(session, &mut io.counts),
        }
        let reads = !self.is_unread(session);
        let Some(connection) = self.connections.get_mut(session) else {
            return;
        };
        if (connection.ended && reads) || connection.stage != Stage::Closing {
            return self.connections.cut(session, &mut io.counts);
        }
        // With TLS, the peer still sends its close_notify, even if it has announced that it is done.
        let done = connection.tls.is_none() && connection.at_rest();
        if done && reads && self.machine.peer_is_done(session) {
            connection.stage = Stage::Shut;
            return self.close_descriptor(session, io);
        }
        connection.stage = Stage::Lingering;
        let _ = SockRef::from(&connection.socket).shutdown(Shutdown::Write);
        self.watch(session, io);
    }

    /// Tells the state machine that the peer has closed its sending side or that the connection is broken. Does so at
    /// most once, and never after the session has been released.
    pub(crate) fn ended(&mut self, session: SessionKey, io: &mut Io) {
        let Some(connection) = self.connections.get_mut(session) else {
            return;
        };
        if std::mem::replace(&mut connection.ended, true) {
            self.connections.touch(session);
            return;
        }
        let stage = connection.stage;
        let tls = connection.tls.as_deref();
        if let Some((tls, why)) = tls.and_then(|tls| Some((tls, tls.vain()?))) {
            let at = io.turn.at();
            self.machine.handshake_failed(session, why, tls.offer(), at);
        }
        self.connections
            .give_up_handshake(session, GivenUp::Failed, &mut io.counts);
        match stage {
            Stage::Open => self.feed(Input::Ended { session }, io),
            Stage::Lingering if self.is_unread(session) => {}
            Stage::Lingering => self.connections.cut(session, &mut io.counts),
            Stage::Leaving(_) | Stage::Closing | Stage::Shut => {}
        }
        self.connections.touch(session);
    }

    /// Returns whether many of the session's bytes are unacknowledged. If so, closing waits for acknowledgements until
    /// the session's deadline.
    fn is_unread(&self, session: SessionKey) -> bool {
        let connection = self.connections.get(session);
        self.machine.is_unconfirmed(session)
            && connection.is_some_and(|it| !it.broken && leaves_orphan(&it.socket))
    }

    /// Closes the descriptor once the kernel has no pending operations on it, and tells the state machine that the
    /// session is gone.
    pub(crate) fn close_descriptor(&mut self, session: SessionKey, io: &mut Io) {
        let connection = self.connections.get(session);
        let Some(connection) = connection.filter(|it| it.at_rest()) else {
            return;
        };
        let asks = self.machine.is_unconfirmed(session);
        let unacknowledged = if asks { connection.unacknowledged() } else { 0 };
        let gone = Input::Gone {
            session,
            unacknowledged,
        };
        if unacknowledged > ORPHAN_BYTES && !io.stopping {
            reset_at_close(&connection.socket);
        }
        io.ring.release(connection.socket.as_fd());
        drop(self.connections.remove(session, &mut io.counts));
        io.descriptors.closed();
        self.feed(gone, io);
    }
}
