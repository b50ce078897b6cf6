//! How a connection leaves a shard: handed over, closed, or cut off.
//!
//! Polite is: everything sent, TLS closed by its alert, our end shut, the peer's end awaited: bytes that came after
//! close(2) would be answered by a reset, and that may take from the peer what it has not read. A peer that has said by
//! the protocol that it sends nothing more is not waited for. close(2) comes last and only when the kernel has
//! completed whatever was armed: under an armed receive it would send no FIN and keep the socket open.

use crate::edge::answers::{remote, say_and_close, unavailable};
use crate::edge::connections::connection::{Connection, Stage};
use crate::edge::letters::post::{Handover, Travelling};
use crate::edge::sessions::flush::Flushed;
use crate::edge::shard::Edge;
use broker_core::crowd::Origin;
use broker_core::id::{SessionKey, ShardId};
use broker_core::machine::{Input, Machine, TurnedAway};
use socket2::SockRef;
use std::net::Shutdown;
use std::os::fd::OwnedFd;

impl<M: Machine> Edge<M> {
    /// Hands a connection over as soon as the kernel holds nothing of it.
    pub(in crate::edge) fn leave(&mut self, session: SessionKey, to: ShardId) {
        self.connections
            .watch(session, &self.machine, &mut self.io.ring);
        match self.flush(session) {
            Flushed::Waiting => return,
            // A broken one goes all the same: the other shard reads its end.
            Flushed::All | Flushed::Broken => {}
        }
        if !self
            .connections
            .get(session)
            .is_some_and(Connection::at_rest)
        {
            return;
        }
        let unread = self.connections.take_unread(session);
        let Some(connection) = self.connections.remove(session, &mut self.io.counts) else {
            return;
        };
        let parcel = self.machine.release(session);
        let connection = Travelling {
            socket: connection.socket,
            tls: connection.tls,
            unread,
        };
        let handover = Handover { parcel, connection };
        if let Some(back) = self.mail.hand_over(to, handover, &mut self.io.counts) {
            self.take_back(*back);
        }
    }

    /// The other shard's mailbox was full: the machine answers here.
    fn take_back(&mut self, handover: Handover<M>) {
        let Travelling {
            socket,
            tls,
            unread,
        } = handover.connection;
        let session = self.machine.bounce(handover.parcel, self.io.turn.at());
        self.connections
            .insert(session, Connection::new(session, socket, tls), &mut self.io);
        self.drain();
        self.connections
            .note_refused(session, self.io.turn.at().now);
        self.resume(session, unread);
        self.connections.touch(session);
    }

    /// Whether a guest is evicted for a connection from another shard. One that another node passed on is of that one's
    /// address.
    fn makes_room_for(&mut self, socket: &OwnedFd) -> bool {
        let remote = remote(socket);
        remote.is_some_and(|remote| self.make_room(Origin::of(remote.ip())))
    }

    /// Takes a connection in that another shard handed over.
    pub(in crate::edge) fn adopt(&mut self, handover: Handover<M>) {
        let Travelling {
            socket,
            mut tls,
            unread,
        } = handover.connection;
        if self.io.stopping || !(self.machine.has_room() || self.makes_room_for(&socket)) {
            self.io.counts.accept_errors.limit += 1;
            let mut answer = Vec::new();
            let request_id = self.turned_away(&socket, TurnedAway::NoRoom);
            unavailable(&mut answer, self.io.turn.at().wall, &request_id);
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
        let session = self.machine.adopt(handover.parcel, self.io.turn.at());
        self.io.counts.adopted += 1;
        self.connections
            .insert(session, Connection::new(session, socket, tls), &mut self.io);
        self.drain();
        self.connections
            .note_refused(session, self.io.turn.at().now);
        self.resume(session, unread);
        // The end of the turn flushes what the machine has to say and arms the receive.
        self.connections.touch(session);
    }

    /// Sends the rest, with the alert that ends TLS, then says the end.
    pub(in crate::edge) fn close(&mut self, session: SessionKey) {
        match self.flush(session) {
            Flushed::All => {}
            Flushed::Waiting => return,
            Flushed::Broken => return self.connections.cut(session, &mut self.io.counts),
        }
        let Some(connection) = self.connections.get_mut(session) else {
            return;
        };
        if connection.ended || connection.stage != Stage::Closing {
            return self.connections.cut(session, &mut self.io.counts);
        }
        // Over TLS the peer's alert is under way, whatever it said before.
        let done = connection.tls.is_none() && connection.at_rest();
        if done && self.machine.peer_is_done(session) {
            connection.stage = Stage::Shut;
            return self.close_descriptor(session);
        }
        connection.stage = Stage::Lingering;
        let _ = SockRef::from(&connection.socket).shutdown(Shutdown::Write);
        self.connections
            .watch(session, &self.machine, &mut self.io.ring);
    }

    /// The peer sends no more, or broke: said to the machine at most once, and not to one that has let go.
    pub(in crate::edge) fn ended(&mut self, session: SessionKey) {
        let Some(connection) = self.connections.get_mut(session) else {
            return;
        };
        if std::mem::replace(&mut connection.ended, true) {
            return self.connections.touch(session);
        }
        let stage = connection.stage;
        self.connections
            .give_up_handshake(session, &mut self.io.counts);
        match stage {
            Stage::Open => self.feed(Input::Ended { session }),
            Stage::Lingering => self.connections.cut(session, &mut self.io.counts),
            Stage::Leaving(_) | Stage::Closing | Stage::Shut => {}
        }
        self.connections.touch(session);
    }

    /// Closes the descriptor once the kernel holds nothing of it, and lets the machine forget the session.
    pub(in crate::edge) fn close_descriptor(&mut self, session: SessionKey) {
        if !self
            .connections
            .get(session)
            .is_some_and(Connection::at_rest)
        {
            return;
        }
        drop(self.connections.remove(session, &mut self.io.counts));
        self.io.descriptors.closed();
        self.feed(Input::Gone { session });
    }
}
