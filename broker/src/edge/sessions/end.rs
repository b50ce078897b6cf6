//! The end of a connection on a shard: handed over, closed, or cut off; or, between nodes, kept for the next client.
//!
//! Polite is: everything sent, TLS closed by its alert, our end shut, the peer's end awaited: bytes that came after
//! close(2) would be answered by a reset, and that may take from the peer what it has not read. A peer that has said by
//! the protocol that it sends nothing more is not waited for. close(2) comes last and only when the kernel has
//! completed whatever was armed: under an armed receive it would send no FIN and keep the socket open.

use crate::edge::connection::{Connection, Receive, Stage, ring_key};
use crate::edge::io::{Io, send_at_once};
use crate::edge::letters::{Handover, Travelling};
use crate::edge::sessions::flush::Flushed;
use crate::edge::{connections::GivenUp, limits::ENCRYPT_BYTES, links::Lease};
use crate::edge::{sessions::Sessions, tls::Tls};
use broker_core::id::{SessionKey, ShardId};
use broker_core::machine::{Input, Machine};
use codec::proxy::{OwnerFrame, write_frame};
use socket2::SockRef;
use std::net::Shutdown;

impl<M: Machine> Sessions<M> {
    /// Hands a connection over as soon as the kernel holds nothing of it.
    pub(crate) fn leave(&mut self, session: SessionKey, to: ShardId, io: &mut Io) {
        self.watch(session, io);
        match self.flush(session, io) {
            Flushed::Waiting => return,
            // A broken one goes all the same: the other shard reads its end.
            Flushed::All | Flushed::Broken => {}
        }
        let connection = self.connections.get(session);
        if !connection.is_some_and(Connection::at_rest) {
            return;
        }
        let lease = self.connections.take_lease(session);
        let Some((connection, unread, parcel)) = self.release(session, io) else {
            return;
        };
        let connection = Travelling {
            socket: connection.socket,
            tls: connection.tls,
            unread,
            lease,
        };
        let handover = Handover { parcel, connection };
        if let Some(back) = self.mail.hand_over(to, handover, &mut io.counts) {
            // The other shard's mailbox was full: the machine answers here.
            let session = self.machine.bounce(back.parcel, io.turn.at());
            self.arrive(session, back.connection, io);
        }
    }

    /// Takes a connection out of the table once the kernel holds nothing of it, with what it had sent meanwhile and the
    /// parcel of its session.
    pub(crate) fn release(
        &mut self,
        session: SessionKey,
        io: &mut Io,
    ) -> Option<(Connection, Vec<u8>, M::Parcel)> {
        self.connections
            .get(session)
            .filter(|connection| connection.at_rest())?;
        let unread = self.connections.take_unread(session);
        let connection = self.connections.remove(session, &mut io.counts)?;
        Some((connection, unread, self.machine.release(session)))
    }

    /// Takes in a connection that travelled, under the key that the machine has for it.
    pub(crate) fn arrive(&mut self, session: SessionKey, connection: Travelling, io: &mut Io) {
        let Travelling {
            socket,
            tls,
            unread,
            lease,
        } = connection;
        self.connections
            .insert(session, Connection::new(session, socket, tls), io);
        if let Some(lease) = lease {
            self.connections.lend(session, lease);
        }
        self.drain(io);
        self.connections.note_refused(session, io.turn.at().now);
        self.resume(session, unread, io);
        // The end of the turn flushes what the machine has to say and arms the receive.
        self.connections.touch(session);
    }

    /// Sends the rest, with the alert that ends TLS, then says the end.
    pub(crate) fn close(&mut self, session: SessionKey, io: &mut Io) {
        match self.flush(session, io) {
            Flushed::All => {}
            Flushed::Waiting => return,
            Flushed::Broken => return self.connections.cut(session, &mut io.counts),
        }
        let Some(connection) = self.connections.get_mut(session) else {
            return;
        };
        if connection.ended || connection.stage != Stage::Closing {
            return self.connections.cut(session, &mut io.counts);
        }
        // Over TLS the peer's alert is under way, whatever it said before.
        let done = connection.tls.is_none() && connection.at_rest();
        if done && self.machine.peer_is_done(session) {
            connection.stage = Stage::Shut;
            return self.close_descriptor(session, io);
        }
        connection.stage = Stage::Lingering;
        let _ = SockRef::from(&connection.socket).shutdown(Shutdown::Write);
        self.watch(session, io);
    }

    /// The peer sends no more, or broke: said to the machine at most once, and not to one that has let go.
    pub(crate) fn ended(&mut self, session: SessionKey, io: &mut Io) {
        let Some(connection) = self.connections.get_mut(session) else {
            return;
        };
        if std::mem::replace(&mut connection.ended, true) {
            self.connections.touch(session);
            return;
        }
        let stage = connection.stage;
        let vain = connection.tls.as_deref().and_then(Tls::vain);
        if let Some(why) = vain {
            self.machine.handshake_failed(session, why, io.turn.at());
        }
        self.connections
            .give_up_handshake(session, GivenUp::Failed, &mut io.counts);
        match stage {
            Stage::Open => self.feed(Input::Ended { session }, io),
            Stage::Lingering => self.connections.cut(session, &mut io.counts),
            Stage::Leaving(_) | Stage::Closing | Stage::Shut => {}
        }
        self.connections.touch(session);
    }

    /// Closes the descriptor once the kernel holds nothing of it, and lets the machine forget the session.
    pub(crate) fn close_descriptor(&mut self, session: SessionKey, io: &mut Io) {
        let connection = self.connections.get(session);
        let Some(connection) = connection.filter(|it| it.at_rest()) else {
            return;
        };
        let gone = Input::Gone {
            session,
            unacknowledged: connection.unacknowledged(),
        };
        drop(self.connections.remove(session, &mut io.counts));
        io.descriptors.closed();
        self.feed(gone, io);
    }
}

// Connections between nodes that outlive their session: both sides have closed the WebSocket, and the next header may
// come.
//
// As the peer sends nothing behind its close frame, nothing is to be lost: what it does send all the same makes this
// an ordinary end, and so does whatever keeps the last bytes from going out.

/// Whether a connection that closes goes back to another node.
pub(crate) enum Returning {
    /// It ends.
    No,
    /// It does as soon as the kernel holds nothing of it.
    Waiting,
    /// It does, and its session is gone.
    Now(Box<Connection>, Box<Lease>),
}

impl<M: Machine> Sessions<M> {
    /// Has a connection that closes go back to the node that it came from, where it may. Says so behind its last bytes.
    pub(crate) fn give_back(&mut self, session: SessionKey, io: &mut Io) -> Returning {
        let Some(number) = self.may_return(session, io) else {
            return Returning::No;
        };
        let Some(connection) = self.connections.get_mut(session) else {
            return Returning::No;
        };
        if matches!(connection.receive, Receive::Once | Receive::Many) {
            connection.receive = Receive::Cancelling;
            io.ring.cancel_receive(ring_key(session));
        }
        if !connection.at_rest() {
            return Returning::Waiting;
        }
        let unsent = !self.machine.unsent(session).is_empty();
        if unsent && !self.say_free(session, number, io) {
            return Returning::Waiting;
        }
        let lease = self.connections.take_lease(session);
        let connection = self.connections.remove(session, &mut io.counts);
        let (Some(connection), Some(lease)) = (connection, lease) else {
            return Returning::No;
        };
        let gone = Input::Gone {
            session,
            unacknowledged: connection.unacknowledged(),
        };
        self.feed(gone, io);
        Returning::Now(Box::new(connection), lease)
    }

    /// The number under which a connection that closes may go back: the peer is done, and our close frame either waits,
    /// or has gone out with word of that.
    fn may_return(&mut self, session: SessionKey, io: &Io) -> Option<u64> {
        let &mut Lease { number, said, .. } = self.connections.lease(session)?;
        let connection = self.connections.get(session)?;
        let is_whole = !connection.ended && !connection.broken && connection.discarded == 0;
        let unsent = self.machine.unsent(session).len();
        let fits = said == (unsent == 0) && unsent <= ENCRYPT_BYTES;
        let may = is_whole && fits && !io.stopping && self.machine.peer_is_done(session);
        may.then_some(number)
    }

    /// Sends the last bytes of a session, and behind them that its connection is free. False while the ring has some of
    /// that, or where the connection is broken.
    fn say_free(&mut self, session: SessionKey, number: u64, io: &mut Io) -> bool {
        let mut bytes = io.spares.take();
        bytes.extend_from_slice(self.machine.unsent(session));
        let plain = bytes.len();
        write_frame(&mut bytes, number, OwnerFrame::Free);
        let Some(connection) = self.connections.get_mut(session) else {
            return false;
        };
        let secured = connection.tls.is_some();
        if let Some(tls) = &mut connection.tls {
            io.cipher.clear();
            let written = tls.write(&bytes, &mut io.cipher);
            std::mem::swap(&mut bytes, &mut io.cipher);
            if written.is_err() {
                self.sunk(session, io);
                return false;
            }
        }
        io.counts.sends += 1;
        let Some(sent) = send_at_once(&connection.socket, &bytes, 0) else {
            self.sunk(session, io);
            return false;
        };
        io.counts.sent_bytes += sent as u64;
        if let Some(lease) = self.connections.lease(session) {
            lease.said = true;
        }
        let whole = sent == bytes.len();
        let taken = match (whole, secured) {
            (true, _) => plain,
            (false, true) => 0,
            (false, false) => sent.min(plain),
        };
        if taken > 0 {
            self.report_sent(session, (taken, sent), io);
        }
        if whole {
            io.spares.recycle(bytes);
            return true;
        }
        bytes.drain(..sent);
        self.launch(session, bytes, plain - taken, io);
        false
    }
}
