//! Sessions of which another node, or the side thread, is the owner: their connections leave the table, and come back.

use crate::edge::departed::{Departed, Detached};
use crate::edge::sessions::flush::Flushed;
use crate::edge::{io::Io, sessions::Sessions};
use broker_core::address_shares::Origin;
use broker_core::id::{NodeId, SessionKey};
use broker_core::machine::{Machine, PassFailure};
use std::net::SocketAddr;

impl<M: Machine> Sessions<M> {
    /// A connection that leaves, as soon as the kernel holds nothing of it: its socket, its session and what it has
    /// sent. A broken one ends here.
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
        let (connection, unread, parcel) = self.release(session, io)?;
        Departed::new(connection, parcel, unread, io)
    }

    /// Whether all that is to be sent on a connection comes from its TLS engine, whose handshake is over.
    fn has_words_of_engine_alone(&self, session: SessionKey) -> bool {
        let Some(connection) = self.connections.get(session) else {
            return false;
        };
        let is_secured = connection.tls.is_some() && !connection.handshaking();
        let is_free = !connection.broken && !connection.sending;
        is_secured && is_free && self.machine.unsent(session).is_empty()
    }

    /// A client comes back into the table, for the machine to answer it, or to ask another owner with what is `unsent`.
    /// `failed`: the owner and why it did not answer; `None` for the side thread.
    pub(crate) fn return_client(
        &mut self,
        client: Detached,
        parcel: M::Parcel,
        failed: Option<(NodeId, PassFailure)>,
        unsent: Vec<u8>,
        io: &mut Io,
    ) {
        let at = io.turn.at();
        let remote = M::remote_of(&parcel).or_else(|| client.remote());
        let session = match failed {
            Some((node, why)) => {
                io.counts.pass_failures[why as usize] += 1;
                self.machine.unanswered(parcel, (node, why), unsent, at)
            }
            None => self.machine.bounce(parcel, at),
        };
        self.take_back(session, client, remote, io);
    }

    /// The connection of a client is that of this session from here on.
    pub(crate) fn take_back(
        &mut self,
        session: SessionKey,
        client: Detached,
        remote: Option<SocketAddr>,
        io: &mut Io,
    ) {
        let origin = remote.map(|remote| Origin::of(remote.ip()));
        let connection = client.into_connection(session, io);
        self.connections.insert(session, connection, io);
        if let Some(origin) = origin {
            // It may wait: what it waits for is not admitted yet.
            let now = io.turn.at().now;
            self.connections.welcome(session, origin, false, now);
            self.connections.note_first_bytes(session);
        }
        self.drain(io);
        self.connections.touch(session);
        self.watch(session, io);
    }
}
