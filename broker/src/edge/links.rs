//! Connections between nodes, as the edge knows them: who they are, their names in the ring, and their places.
//!
//! They are no sessions, so they are not in the shard's table. Their keys have the highest slot of a session, which no
//! table of this process reaches ([`LINK_SLOT`]): a completion is looked up there first, as that of any session, and
//! what is found nowhere is a link's. So links cost the others nothing.

use broker_core::id::{NodeId, ShardId};
use codec::proxy::LinkKey;
use ring::Key;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

/// This node's part of the links of a cluster. One per process.
#[derive(Debug)]
pub struct Links {
    /// What headers are signed with.
    pub key: LinkKey,
    /// This node's name.
    pub own: Box<str>,
    /// Name and inner address of each node, by [`NodeId`]. Read once for each tunnel.
    nodes: RwLock<Vec<Option<Place>>>,
    /// What is spoken between nodes, if it is encrypted.
    pub tls: Option<LinkTls>,
}

/// TLS between nodes, for all shards.
#[derive(Debug)]
pub struct LinkTls {
    /// Where other nodes connect.
    pub server: Arc<ServerConfig>,
    /// To connect to other nodes: one for each shard, which remembers its own tickets.
    pub clients: Vec<Arc<ClientConfig>>,
}

#[expect(
    clippy::disallowed_types,
    reason = "read once for each tunnel, written when a node is reached elsewhere than before"
)]
type RwLock<T> = std::sync::RwLock<T>;

/// Name and inner address of a node.
type Place = (Arc<str>, SocketAddr);

impl Links {
    /// The links of a node that knows no other.
    #[must_use]
    pub fn new(key: LinkKey, own: Box<str>, tls: Option<LinkTls>) -> Self {
        let nodes = RwLock::default();
        Self {
            key,
            own,
            nodes,
            tls,
        }
    }

    /// A node is reached there from here on.
    pub fn put(&self, node: NodeId, name: &str, address: SocketAddr) {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        let places = nodes.len().max(node.index() + 1);
        nodes.resize(places, None);
        nodes[node.index()] = Some((name.into(), address));
    }

    /// Name and address of a node.
    pub(super) fn node(&self, node: NodeId) -> Option<Place> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(node.index())?.clone()
    }

    /// TLS with which a shard connects to a node, and the name of its tickets; `None` for plain links.
    pub(super) fn client(
        &self,
        shard: ShardId,
        node: NodeId,
    ) -> Option<(&Arc<ClientConfig>, ServerName<'static>)> {
        let client = self.tls.as_ref()?.clients.get(shard.index())?;
        let name = ServerName::try_from(format!("node-{}", node.index())).ok()?;
        Some((client, name))
    }
}

/// What a ring's key of a link names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkEnd {
    /// The client's side of a tunnel.
    Client(u32),
    /// The owner's side of a tunnel.
    Owner(u32),
    /// A connection of another node whose header is awaited.
    Inner(u32),
}

/// The ring's key of a link's end.
pub(super) fn link_key(end: LinkEnd) -> Key {
    let (kind, place) = match end {
        LinkEnd::Client(place) => (0, place),
        LinkEnd::Owner(place) => (1, place),
        LinkEnd::Inner(place) => (2, place),
    };
    Key::new(kind << PLACE_BITS << SLOT_BITS | u64::from(place) << SLOT_BITS | LINK_SLOT)
}

/// The link's end of a ring's key; `None` for one of a session.
pub(super) fn link_end(key: Key) -> Option<LinkEnd> {
    let (slot, rest) = (key.bits() & LINK_SLOT, key.bits() >> SLOT_BITS);
    let place = u32::try_from(rest & PLACES).ok()?;
    match (slot, rest >> PLACE_BITS) {
        (LINK_SLOT, 0) => Some(LinkEnd::Client(place)),
        (LINK_SLOT, 1) => Some(LinkEnd::Owner(place)),
        (LINK_SLOT, 2) => Some(LinkEnd::Inner(place)),
        (_, _) => None,
    }
}

/// Things under numbers that are used again. A number is free when nothing of it is armed or in flight.
pub(super) struct Places<T> {
    places: Vec<Option<Box<T>>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Places<T> {
    /// How many there are, those that are borrowed included.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A number for one more, which [`Self::put_back`] brings; `None` when all are used.
    pub(super) fn claim(&mut self) -> Option<u32> {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                let place = u32::try_from(self.places.len()).ok()?;
                if u64::from(place) >= PLACES {
                    return None;
                }
                self.places.push(None);
                place
            }
        };
        self.len += 1;
        Some(place)
    }

    /// Takes the thing out to work on it; `None` for a number that nothing has.
    pub(super) fn borrow(&mut self, place: u32) -> Option<Box<T>> {
        self.places.get_mut(place as usize)?.take()
    }

    /// Brings it, for the first time or again.
    pub(super) fn put_back(&mut self, place: u32, thing: Box<T>) {
        if let Some(slot) = self.places.get_mut(place as usize) {
            *slot = Some(thing);
        }
    }

    /// The thing was borrowed and has ended: its number is free.
    pub(super) fn release(&mut self, place: u32) {
        self.len -= 1;
        self.free.push(place);
    }

    /// The thing, to be looked at.
    pub(super) fn get(&self, place: u32) -> Option<&T> {
        self.places.get(place as usize)?.as_deref()
    }

    /// The numbers of all.
    pub(super) fn all(&self) -> Vec<u32> {
        let used = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, thing)| thing.is_some());
        used.filter_map(|(place, _)| u32::try_from(place).ok())
            .collect()
    }
}

const SLOT_BITS: u32 = 24;
const PLACE_BITS: u32 = 28;
const PLACES: u64 = (1 << PLACE_BITS) - 1;

/// The slot of a session that would be the 16,777,216th of one shard: a process has no as many descriptors.
const LINK_SLOT: u64 = (1 << SLOT_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::super::connection::ring_key;
    use super::*;
    use broker_core::id::SessionKey;

    #[test]
    fn keys_of_links_are_those_of_no_session() {
        for place in [0, 1, 0x0fff_ffff] {
            for end in [
                LinkEnd::Client(place),
                LinkEnd::Owner(place),
                LinkEnd::Inner(place),
            ] {
                let key = link_key(end);
                assert_eq!(link_end(key), Some(end));
                assert_eq!(SessionKey::unpack(key.bits()).slot(), 0xff_ffff);
            }
        }
        for (slot, generation) in [(0, 0), (0, 0xff_ffff), (0xff_fffe, 0xff_ffff)] {
            assert_eq!(link_end(ring_key(SessionKey::new(slot, generation))), None);
        }
    }

    #[test]
    fn a_place_is_used_again_when_it_is_free() {
        let mut places = Places::default();
        let one = places.claim().unwrap();
        places.put_back(one, Box::new("a"));
        let two = places.claim().unwrap();
        assert_eq!((one, two, places.len(), places.all()), (0, 1, 2, vec![0]));
        assert_eq!(places.borrow(one).as_deref(), Some(&"a"));
        assert!(places.borrow(one).is_none() && places.get(one).is_none());
        places.release(one);
        assert_eq!((places.claim(), places.len()), (Some(one), 2));
    }
}
