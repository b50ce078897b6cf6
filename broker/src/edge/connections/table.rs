//! The shard's connections, by the machine's session keys.
//!
//! Slots come in chunks that never move: a table that grows copies nothing, and a machine that counts its slots from 0
//! upwards makes a dense one.

use crate::edge::connections::connection::Connection;
use broker_core::id::SessionKey;

/// All connections of one shard. Memory grows with the highest slot in use, 48 bytes each, and stays.
#[derive(Default)]
pub(crate) struct Table {
    chunks: Vec<Chunk>,
    len: usize,
}

type Chunk = Box<[Option<Connection>]>;

/// Slots of a chunk: 12 KiB, a size that the allocator has.
const CHUNK: usize = 256;

impl Table {
    /// The number of connections.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The connection of this session; `None` when it is gone, also when its slot has another one by now.
    pub(crate) fn get(&self, session: SessionKey) -> Option<&Connection> {
        let slot = self
            .chunks
            .get(session.slot() / CHUNK)?
            .get(session.slot() % CHUNK)?;
        slot.as_ref()
            .filter(|connection| connection.generation == session.generation())
    }

    /// As [`Self::get`], to be changed.
    pub(crate) fn get_mut(&mut self, session: SessionKey) -> Option<&mut Connection> {
        let slot = self
            .chunks
            .get_mut(session.slot() / CHUNK)?
            .get_mut(session.slot() % CHUNK)?;
        slot.as_mut()
            .filter(|connection| connection.generation == session.generation())
    }

    /// Takes a connection in.
    ///
    /// # Panics
    /// When the slot is taken: the machine gave a key out whose session was not reported as gone.
    pub(crate) fn insert(&mut self, session: SessionKey, connection: Connection) {
        while self.chunks.len() <= session.slot() / CHUNK {
            self.chunks.push((0..CHUNK).map(|_| None).collect());
        }
        let slot = &mut self.chunks[session.slot() / CHUNK][session.slot() % CHUNK];
        assert!(slot.is_none(), "the machine gave a slot out twice");
        *slot = Some(connection);
        self.len += 1;
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, session: SessionKey) -> Option<Connection> {
        self.get(session)?;
        self.len -= 1;
        self.chunks[session.slot() / CHUNK][session.slot() % CHUNK].take()
    }

    /// The keys of all connections, by slot.
    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        let slots = self.chunks.iter().flatten().enumerate();
        let key = |(slot, connection): (usize, &Option<Connection>)| {
            let generation = connection.as_ref()?.generation;
            Some(SessionKey::new(u32::try_from(slot).ok()?, generation))
        };
        slots.filter_map(key).collect()
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use std::fs::File;

    fn connection(session: SessionKey) -> Connection {
        Connection::new(session, File::open("/dev/null").unwrap().into(), None)
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
        assert_eq!((table.len(), table.keys()), (1, vec![young]));
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
}
