//! Sessions owned by another node or by the side thread: their connections leave the table, and may return.

use crate::edge::connection::{Connection, NEVER};
use crate::edge::io::Io;
use crate::edge::sessions::{Sessions, flush::Flushed};
use crate::edge::tls::Read;
use crate::edge::visiting::{Secured, TakeAdmin, Visiting};
use broker_core::address_shares::Origin;
use broker_core::id::SessionKey;
use broker_core::machine::{FailedPass, Machine, PassedOn};
use std::os::fd::AsFd;

/// A client whose connection has left the table, with no operation armed or in flight.
pub(crate) struct Departed<M: Machine> {
    pub(crate) connection: Connection,
    pub(crate) parcel: M::Parcel,
    /// The client's address and request.
    pub(crate) sent: PassedOn,
}

impl<M: Machine> Sessions<M> {
    /// Removes a leaving connection from the table once no operation on it is pending in the kernel. A broken
    /// connection is closed instead.
    pub(crate) fn depart(&mut self, session: SessionKey, io: &mut Io) -> Option<Departed<M>> {
        self.watch(session, io);
        let flushed = if self.has_words_of_engine_alone(session) {
            Flushed::All // a ticket, say: it goes out with the answer
        } else {
            self.flush(session, io)
        };
        match flushed {
            Flushed::Waiting => return None,
            // A broken one ends at once, like any other.
            Flushed::Broken => {
                self.connections.cut(session, &mut io.counts);
                return None;
            }
            Flushed::All => {}
        }
        let (mut connection, mut unread, mut parcel) = self.release(session, io)?;
        (connection.dirty, connection.due) = (false, NEVER);
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
        Some(Departed {
            connection,
            parcel,
            sent,
        })
    }

    /// Whether all unsent bytes of a connection come from its TLS engine, whose handshake has finished.
    fn has_words_of_engine_alone(&self, session: SessionKey) -> bool {
        let Some(connection) = self.connections.get(session) else {
            return false;
        };
        let is_secured = connection.tls.is_some() && !connection.handshaking();
        let is_free = !connection.broken && !connection.sending;
        is_secured && is_free && self.machine.unsent(session).is_empty()
    }

    /// Passes a connection to the side thread once no operation on it is pending in the kernel. If there is no side
    /// thread, or it is at capacity, the connection is returned to the machine for a response.
    pub(crate) fn visit(&mut self, session: SessionKey, take: Option<&TakeAdmin>, io: &mut Io) {
        let Some(departed) = self.depart(session, io) else {
            return;
        };
        let Departed {
            mut connection,
            parcel,
            sent,
        } = departed;
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

    /// Returns a client to whose request the node has not responded: either for another owner, with the unsent request,
    /// or for a response from the machine.
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

    /// Attaches a client's connection to this session again.
    pub(crate) fn take_back(&mut self, session: SessionKey, client: Connection, io: &mut Io) {
        let mut connection = Connection::new(session, client.socket, client.tls);
        connection.ended = client.ended;
        self.connections.insert(session, connection, io);
        if let Some(remote) = self.remote(session) {
            // It may wait: what it waits for is not admitted yet.
            let (origin, now) = (Origin::of(remote.ip()), io.turn.at().now);
            self.connections.welcome(session, origin, false, now);
            self.connections.note_first_bytes(session);
        }
        self.drain(io);
        self.connections.touch(session);
        self.watch(session, io);
    }
}
