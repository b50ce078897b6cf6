//! A shard's session table, which maps each of the state machine's session keys to the session's transport.
//!
//! Slots are stored in chunks that never move, so nothing is copied when the table grows. The table is dense if the
//! state machine numbers its slots from 0.

use crate::edge::connection::Connection;
use broker_core::id::SessionKey;
use codec::link::How;

/// How a session reaches its peer.
pub(crate) enum Transport {
    /// A socket on this shard.
    Socket(Connection),
    /// A stream on a link. The client is connected to another node.
    Stream(LinkStream),
}

const _: () = assert!(size_of::<Option<Transport>>() <= 48);

/// The stream of a session whose client is connected to another node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkStream {
    pub(crate) generation: u32,
    /// Number of the link.
    pub(crate) link: u32,
    /// The stream's id on the link.
    pub(crate) id: u32,
    /// Round-trip time to the client in milliseconds, as last reported by the client's node.
    pub(crate) round_trip_ms: u32,
    /// Whether the stream is scheduled to be served at the end of this loop iteration.
    pub(crate) dirty: bool,
    /// Whether the state machine has released the session. The stream then closes once its pending bytes have been
    /// sent.
    pub(crate) is_closing: bool,
    /// Whether the state machine has paused the session because it could not accept all received bytes.
    pub(crate) is_paused: bool,
    /// Whether the session's request may be retried with another owner. This requires that the request is not a call
    /// and that no part of a response has been sent.
    pub(crate) may_be_repeated: bool,
    /// Whether the state machine knows that the client has closed its sending side.
    pub(crate) ended: bool,
}

impl LinkStream {
    /// Creates the transport of a session whose stream has just been opened. An upgrade may be retried with another
    /// owner.
    pub(crate) fn new(session: SessionKey, link: u32, id: u32, is_upgrade: bool) -> Self {
        Self {
            generation: session.generation(),
            link,
            id,
            round_trip_ms: 0,
            dirty: false,
            is_closing: false,
            is_paused: false,
            may_be_repeated: is_upgrade,
            ended: false,
        }
    }

    /// Returns how to end the stream: [`How::NotBegun`] if the request may still be retried with another owner, and
    /// `how` otherwise.
    pub(crate) fn end(&self, how: How) -> How {
        if self.may_be_repeated {
            How::NotBegun
        } else {
            how
        }
    }
}

impl Transport {
    fn generation(&self) -> u32 {
        match self {
            Self::Socket(connection) => connection.generation,
            Self::Stream(stream) => stream.generation,
        }
    }
}

/// The transports of a shard's sessions. Takes 48 bytes per slot up to the highest slot ever used, and never shrinks.
#[derive(Default)]
pub(crate) struct Table {
    chunks: Vec<Chunk>,
    sockets: usize,
}

type Chunk = Box<[Option<Transport>]>;

/// Slots per chunk. A chunk takes 12 KiB, which is one of the allocator's size classes.
const CHUNK: usize = 256;

impl Table {
    pub(crate) fn sockets(&self) -> usize {
        self.sockets
    }

    fn slot(&self, session: SessionKey) -> Option<&Transport> {
        let chunk = self.chunks.get(session.slot() / CHUNK)?;
        let slot = chunk.get(session.slot() % CHUNK)?.as_ref();
        slot.filter(|transport| transport.generation() == session.generation())
    }

    /// Returns a session's transport, or `None` if the session is gone. A session is also gone if its slot has been
    /// reused.
    #[inline]
    pub(crate) fn transport(&mut self, session: SessionKey) -> Option<&mut Transport> {
        let chunk = self.chunks.get_mut(session.slot() / CHUNK)?;
        let slot = chunk.get_mut(session.slot() % CHUNK)?.as_mut();
        slot.filter(|transport| transport.generation() == session.generation())
    }

    /// Returns a session's connection, or `None` if the session is gone or not on a socket.
    pub(crate) fn get(&self, session: SessionKey) -> Option<&Connection> {
        match self.slot(session)? {
            Transport::Socket(connection) => Some(connection),
            Transport::Stream(_) => None,
        }
    }

    pub(crate) fn get_mut(&mut self, session: SessionKey) -> Option<&mut Connection> {
        match self.transport(session)? {
            Transport::Socket(connection) => Some(connection),
            Transport::Stream(_) => None,
        }
    }

    /// Returns a session's stream, or `None` if the session is gone or not on a link.
    pub(crate) fn stream(&mut self, session: SessionKey) -> Option<&mut LinkStream> {
        match self.transport(session)? {
            Transport::Socket(_) => None,
            Transport::Stream(stream) => Some(stream),
        }
    }

    /// Adds a session's transport.
    ///
    /// # Panics
    /// Panics if the slot is occupied, that is, if the state machine has reused a key before learning that the old
    /// session is gone.
    pub(crate) fn insert(&mut self, session: SessionKey, transport: Transport) {
        while self.chunks.len() <= session.slot() / CHUNK {
            self.chunks.push((0..CHUNK).map(|_| None).collect());
        }
        let slot = &mut self.chunks[session.slot() / CHUNK][session.slot() % CHUNK];
        assert!(slot.is_none(), "the machine gave a slot out twice");
        self.sockets += usize::from(matches!(transport, Transport::Socket(_)));
        *slot = Some(transport);
    }

    /// Removes a session's transport. Returns its connection if the session is on a socket.
    pub(crate) fn remove(&mut self, session: SessionKey) -> Option<Connection> {
        self.slot(session)?;
        let slot = &mut self.chunks[session.slot() / CHUNK][session.slot() % CHUNK];
        match slot.take()? {
            Transport::Socket(connection) => {
                self.sockets -= 1;
                Some(connection)
            }
            Transport::Stream(_) => None,
        }
    }

    /// Returns the keys of all sessions on sockets, in slot order.
    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        let slots = (0..).zip(self.chunks.iter().flatten());
        let key = |(slot, transport): (u32, &Option<Transport>)| match transport.as_ref()? {
            Transport::Socket(it) => Some(SessionKey::new(slot, it.generation)),
            Transport::Stream(_) => None,
        };
        slots.filter_map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn connection(session: SessionKey) -> Transport {
        let socket = File::open("/dev/null").unwrap().into();
        Transport::Socket(Connection::new(session, socket, None))
    }

    #[test]
    fn a_key_finds_its_own_generation_only() {
        let mut table = Table::default();
        let (old, young) = (SessionKey::new(2000, 1), SessionKey::new(2000, 2));
        table.insert(old, connection(old));
        assert!(table.get(old).is_some() && table.get(young).is_none());
        assert!(table.remove(young).is_none());
        assert!(table.remove(old).is_some() && table.get(old).is_none());
        table.insert(young, connection(young));
        assert!(table.get_mut(old).is_none() && table.get_mut(young).is_some());
        assert_eq!((table.sockets(), table.keys()), (1, vec![young]));
    }

    #[test]
    #[should_panic(expected = "twice")]
    fn a_slot_holds_one_connection() {
        let mut table = Table::default();
        let key = SessionKey::new(0, 0);
        table.insert(key, connection(key));
        table.insert(key, connection(key));
    }

    #[test]
    fn a_key_beyond_the_table_finds_nothing() {
        assert!(Table::default().get(SessionKey::new(5, 0)).is_none());
    }

    #[test]
    fn a_session_on_a_link_is_no_socket() {
        let mut table = Table::default();
        let key = SessionKey::new(3, 7);
        let stream = LinkStream::new(key, 1, 2, true);
        table.insert(key, Transport::Stream(stream));
        assert!(table.get(key).is_none() && table.stream(SessionKey::new(3, 8)).is_none());
        assert_eq!(table.stream(key).map(|it| it.id), Some(2));
        assert_eq!((table.sockets(), table.keys()), (0, vec![]));
        assert!(table.remove(key).is_none() && table.stream(key).is_none());
    }
}
