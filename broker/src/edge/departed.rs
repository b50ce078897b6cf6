//! Clients whose connections have left the table: on their way to a stream of a link, or to the side thread, and back.

use crate::edge::connection::{Connection, leaves_orphan, reset_at_close};
use crate::edge::io::{Io, remote, send_at_once};
use crate::edge::tls::{Held, Read, Tls};
use crate::edge::visiting::{Secured, TakeAdmin, Visiting};
use broker_core::id::SessionKey;
use broker_core::machine::{Machine, PassedOn};
use ring::{Key, Lent};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

/// A connection that is in no table, as the kernel holds it.
pub(crate) struct Detached {
    pub(crate) socket: OwnedFd,
    /// The engine of an encrypted one, whose handshake is over.
    pub(crate) tls: Option<Box<Tls>>,
    /// A receive is armed.
    pub(crate) armed: bool,
    /// A send of the ring is in flight.
    pub(crate) sending: bool,
    /// Whether the client sends no more.
    pub(crate) ended: bool,
    /// Most bytes of a TLS record to it.
    pub(crate) record_bytes: usize,
}

/// A client whose connection has left the table.
pub(crate) struct Departed<M: Machine> {
    pub(crate) client: Detached,
    pub(crate) parcel: M::Parcel,
    /// The client's address and request.
    pub(crate) sent: PassedOn,
}

impl<M: Machine> Departed<M> {
    /// A client whose connection is in no table any more; `unread` came from its socket while it was leaving. `None`
    /// when it broke the protocol: then it is closed.
    pub(crate) fn new(
        connection: Connection,
        mut parcel: M::Parcel,
        mut unread: Vec<u8>,
        io: &mut Io,
    ) -> Option<Self> {
        let Connection {
            socket, tls, ended, ..
        } = connection;
        let mut client = Detached::new(socket, tls);
        client.ended = ended;
        let Some(mut sent) = M::passed_on(&mut parcel) else {
            debug_assert!(false, "a session that is to be passed on says so");
            client.close(io);
            return None;
        };
        client.record_bytes = sent.record_bytes;
        let read = match &mut client.tls {
            None => {
                sent.bytes.append(&mut unread);
                Read::More
            }
            Some(tls) => tls.read(&mut unread, &mut sent.bytes, io.turn.at().now),
        };
        match client.charge(read, io) {
            Read::More => {}
            Read::End => client.ended = true,
            Read::Failed => {
                client.close(io);
                return None;
            }
        }
        Some(Self {
            client,
            parcel,
            sent,
        })
    }

    /// The client's address.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.sent.peer.remote
    }

    /// Passes it to the side thread, where there is one and it has room.
    ///
    /// # Errors
    /// It comes back, for the machine to answer it.
    pub(crate) fn visit(
        self,
        take: Option<&TakeAdmin>,
        io: &mut Io,
    ) -> Result<(), (Detached, M::Parcel)> {
        let remote = self.remote();
        let Self {
            mut client,
            parcel,
            sent,
        } = self;
        client.discharge(io);
        io.ring.release(client.socket.as_fd());
        let client = match (take, client.tls.take()) {
            (Some(take), Some(tls)) => {
                let visiting = Visiting {
                    socket: client.socket,
                    remote,
                    secured: Secured::new(tls, sent.bytes, client.ended),
                };
                let Err(refused) = take(visiting) else {
                    return Ok(());
                };
                Detached::new(refused.socket, Some(refused.secured.tls))
            }
            (_, tls) => Detached { tls, ..client },
        };
        Err((client, parcel))
    }
}

impl Detached {
    pub(crate) fn new(socket: OwnedFd, tls: Option<Box<Tls>>) -> Self {
        Self {
            socket,
            tls,
            armed: false,
            sending: false,
            ended: false,
            record_bytes: usize::MAX,
        }
    }

    /// Whether the kernel holds nothing of it.
    pub(crate) fn at_rest(&self) -> bool {
        !self.armed && !self.sending
    }

    /// Takes what was received in, and appends what that says to `plain`.
    pub(crate) fn read(&mut self, mut lent: Lent, plain: &mut Vec<u8>, io: &mut Io) -> Read {
        io.count_received(lent.len());
        let Some(tls) = &mut self.tls else {
            plain.extend_from_slice(io.ring.bytes(&mut lent));
            io.ring.give_back(lent);
            return Read::More;
        };
        let read = tls.read(io.ring.bytes(&mut lent), plain, io.turn.at().now);
        io.ring.give_back(lent);
        self.charge(read, io)
    }

    /// Counts its unfinished record: who adds to what is too much already is done with.
    fn charge(&mut self, read: Read, io: &mut Io) -> Read {
        let Some(tls) = &mut self.tls else {
            return read;
        };
        let (before, after) = tls.recharge();
        io.counts.count_held(before, after);
        let most = io.settings.partial_record_bytes as u64;
        let is_too_much = io.counts.partial_record_bytes > most;
        if is_too_much && after.secured > before.secured {
            return Read::Failed;
        }
        read
    }

    /// Sends `bytes`, which may be none, behind what the engine has to say. What the socket has no room for goes on in
    /// the ring, under `key`. Returns the bytes on the wire that the kernel took, and whether those are all; `None`
    /// when the connection is broken. Nothing of it may be in flight.
    pub(crate) fn send(&mut self, key: Key, bytes: &[u8], io: &mut Io) -> Option<(usize, bool)> {
        let bytes = match &mut self.tls {
            None => bytes,
            Some(tls) => {
                io.cipher.clear();
                let (first, rest) = bytes.split_at(bytes.len().min(self.record_bytes));
                tls.write(first, &mut io.cipher).ok()?; // with what the engine has to say, also of no byte
                for record in rest.chunks(self.record_bytes) {
                    tls.write(record, &mut io.cipher).ok()?;
                }
                &io.cipher
            }
        };
        if bytes.is_empty() {
            return Some((0, true));
        }
        io.counts.sends += 1;
        let sent = send_at_once(&self.socket, bytes, 0)?;
        io.counts.sent_bytes += sent as u64;
        let rest = bytes.get(sent..).unwrap_or_default();
        if rest.is_empty() {
            return Some((sent, true));
        }
        let mut flight = io.spares.take();
        flight.extend_from_slice(rest);
        io.counts.queued_sends += 1;
        self.sending = true;
        io.ring.send(self.socket.as_fd(), key, flight, 0);
        Some((sent, false))
    }

    /// The address of the other end.
    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        remote(&self.socket)
    }

    /// The connection, under the key of its session.
    pub(crate) fn into_connection(mut self, session: SessionKey, io: &mut Io) -> Connection {
        self.discharge(io);
        let mut connection = Connection::new(session, self.socket, self.tls);
        connection.ended = self.ended;
        connection
    }

    /// Closes it; nothing of it is armed or in flight.
    pub(crate) fn close(mut self, io: &mut Io) {
        self.discharge(io);
        if !io.stopping && leaves_orphan(&self.socket) {
            reset_at_close(&self.socket);
        }
        io.ring.release(self.socket.as_fd());
        drop(self);
        io.descriptors.closed();
    }

    /// Uncounts an unfinished record in this shard.
    pub(crate) fn discharge(&mut self, io: &mut Io) {
        if let Some(tls) = &mut self.tls {
            let before = tls.discharge();
            io.counts.count_held(before, Held::default());
        }
    }
}
