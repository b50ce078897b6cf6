//! Connections between nodes that outlive their session: both sides have closed the WebSocket, and the next header may
//! come.
//!
//! As the peer sends nothing behind its close frame, nothing is to be lost: what it does send all the same makes this
//! an ordinary end, and so does whatever keeps the last bytes from going out.

use crate::edge::connections::connection::{Connection, Receive, ring_key};
use crate::edge::io::Io;
use crate::edge::limits::ENCRYPT_BYTES;
use crate::edge::nodes::lease::Lease;
use crate::edge::sessions::Sessions;
use crate::edge::sessions::flush::send_at_once;
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Machine};
use codec::proxy::{OwnerFrame, write_frame};

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
        self.feed(Input::Gone { session }, io);
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
        let Some(sent) = send_at_once(connection, &bytes, 0) else {
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
            self.report_sent(session, taken, io);
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
