//! How the edge opens and identifies links: the other nodes' addresses and TLS configurations, and the ring keys of
//! connections without a session.
//!
//! A link is not a session and has no entry in the shard's session table. Its ring key uses the highest session slot
//! ([`LINK_SLOT`]), which no session of this process can have. Each completion is first looked up in the session table.
//! Only if its key is not found there does the completion belong to a link, or to a client without a session on this
//! shard. Links therefore add no cost to other connections.

use broker_core::id::{NodeId, ShardId};
use ring::Key;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

/// Everything that shards need to link to the other nodes of the cluster. There is one `Links` per process.
#[derive(Debug)]
pub struct Links {
    /// Identity of this node.
    pub own: OwnNode,
    /// Each node's name and inner addresses, indexed by [`NodeId`]. Read once per link that is opened.
    nodes: RwLock<Vec<Option<Reached>>>,
    /// TLS configuration for incoming links.
    pub server: Arc<ServerConfig>,
    /// TLS configurations for outgoing links, one per shard, so that each shard has its own session tickets.
    pub clients: Vec<Arc<ClientConfig>>,
}

/// Identity of this node, as stated in its hello.
#[derive(Debug)]
pub struct OwnNode {
    /// Name of the cluster.
    pub cluster: Box<str>,
    /// Name of this node.
    pub name: Box<str>,
    /// Distinguishes this process from earlier processes of the same node.
    pub start: u64,
    /// Number of shards on this node.
    pub shards: u16,
}

#[expect(
    clippy::disallowed_types,
    reason = "read once for each link, written when a node is reached elsewhere than before"
)]
type RwLock<T> = std::sync::RwLock<T>;

/// A node's name and addresses.
#[derive(Clone, Debug)]
struct Reached {
    name: Arc<str>,
    /// The host's addresses. The node listens on all of its ports at each address.
    hosts: Box<[SocketAddr]>,
    ports: Box<[u16]>,
}

/// The address that a shard will connect to next, as indexes into the node's lists of ports and hosts.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    port: usize,
    host: usize,
}

/// The address that a shard will connect to next, for each node. A shard cycles through a node's ports, which spreads
/// the handshakes over the node's shards.
#[derive(Debug, Default)]
pub(crate) struct Turns(Vec<Turn>);

impl Turns {
    /// Returns a node's next address, and advances to another port for the next call. Each shard starts at a different
    /// port.
    fn take(&mut self, shard: ShardId, node: NodeId) -> Turn {
        while self.0.len() <= node.index() {
            let (port, host) = (shard.index(), 0);
            self.0.push(Turn { port, host });
        }
        let turn = &mut self.0[node.index()];
        let taken = *turn;
        turn.port = turn.port.wrapping_add(1);
        taken
    }

    /// Records a failed attempt to connect to a node. The next attempt uses another address of the node's host, if it
    /// has more than one.
    pub(crate) fn failed(&mut self, node: NodeId) {
        if let Some(turn) = self.0.get_mut(node.index()) {
            turn.host = turn.host.wrapping_add(1);
        }
    }
}

impl Links {
    /// Creates a `Links` that contains no other nodes yet.
    #[must_use]
    pub fn new(own: OwnNode, server: Arc<ServerConfig>, clients: Vec<Arc<ClientConfig>>) -> Self {
        Self {
            own,
            nodes: RwLock::default(),
            server,
            clients,
        }
    }

    /// Sets a node's name and addresses. The node is reachable on each of `ports` at each of `hosts`.
    pub fn put(&self, node: NodeId, name: &str, hosts: &[SocketAddr], ports: &[u16]) {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        let places = nodes.len().max(node.index() + 1);
        nodes.resize(places, None);
        nodes[node.index()] = Some(Reached {
            name: name.into(),
            hosts: hosts.into(),
            ports: ports.into(),
        });
    }

    /// Returns a node's name.
    pub(crate) fn name(&self, node: NodeId) -> Option<Arc<str>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let reached = nodes.get(node.index())?.as_ref()?;
        Some(Arc::clone(&reached.name))
    }

    /// Returns the next address that this shard connects to on `node`, or `None` if the node is unknown.
    pub(crate) fn address(
        &self,
        node: NodeId,
        shard: ShardId,
        turns: &mut Turns,
    ) -> Option<SocketAddr> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let reached = nodes.get(node.index())?.as_ref()?;
        let turn = turns.take(shard, node);
        let host = turn.host.checked_rem(reached.hosts.len())?;
        let port = turn.port.checked_rem(reached.ports.len())?;
        let mut address = *reached.hosts.get(host)?;
        address.set_port(*reached.ports.get(port)?);
        Some(address)
    }

    /// Returns the TLS configuration that a shard uses to open a link to a node, and the name under which it stores the
    /// link's session tickets.
    pub(crate) fn client(
        &self,
        shard: ShardId,
        node: NodeId,
    ) -> Option<(&Arc<ClientConfig>, ServerName<'static>)> {
        let name = ServerName::try_from(format!("node-{}", node.index())).ok()?;
        Some((self.clients.get(shard.index())?, name))
    }
}

/// The owner of a ring key that does not belong to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkEnd {
    /// A client on a link, by its number.
    Client(u32),
    /// A link, by its number.
    Link(u32),
}

/// Returns the ring key of a link, or of a client on a link.
pub(crate) fn link_key(end: LinkEnd) -> Key {
    let (kind, place) = match end {
        LinkEnd::Client(place) => (0, place),
        LinkEnd::Link(place) => (1, place),
    };
    Key::new(kind << PLACE_BITS << SLOT_BITS | u64::from(place) << SLOT_BITS | LINK_SLOT)
}

/// Returns the link or client that owns a ring key, or `None` if the key belongs to a session.
pub(crate) fn link_end(key: Key) -> Option<LinkEnd> {
    let (slot, rest) = (key.bits() & LINK_SLOT, key.bits() >> SLOT_BITS);
    let place = u32::try_from(rest & PLACES).ok()?;
    match (slot, rest >> PLACE_BITS) {
        (LINK_SLOT, 0) => Some(LinkEnd::Client(place)),
        (LINK_SLOT, 1) => Some(LinkEnd::Link(place)),
        (_, _) => None,
    }
}

const SLOT_BITS: u32 = 24;
const PLACE_BITS: u32 = 28;
/// Highest link or client number.
pub(crate) const PLACES: u64 = (1 << PLACE_BITS) - 1;

/// The 16,777,216th session slot. No shard can reach it, because a process cannot have that many descriptors.
const LINK_SLOT: u64 = (1 << SLOT_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::connection::ring_key;
    use broker_core::cluster::secret::ClusterSecret;
    use broker_core::id::SessionKey;
    use link::{Keys, Purpose};

    #[test]
    fn a_shard_uses_the_ports_of_a_node_in_turn_and_another_address_after_a_failure() {
        let keys = Keys::derive(&ClusterSecret::parse(&"ab".repeat(32)).unwrap(), "test").unwrap();
        let own = OwnNode {
            cluster: "test".into(),
            name: "n0".into(),
            start: 1,
            shards: 1,
        };
        let server = keys.server(Purpose::Link).unwrap().into();
        let links = Links::new(own, server, Vec::new());
        let (one, other) = ("10.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap());
        links.put(NodeId(2), "n2", &[one, other], &[7443, 7445, 7446]);
        links.put(NodeId(1), "n1", &[one], &[7443]);
        links.put(NodeId(3), "n3", &[], &[7443]);
        let mut turns = Turns::default();
        let mut next = |node| {
            let found = links.address(NodeId(node), ShardId(1), &mut turns);
            found.map(|at| at.to_string()).unwrap_or_default()
        };
        let times = [0; 4];
        #[rustfmt::skip] // a list
        assert_eq!(
            times.map(|_| next(2)),
            ["10.0.0.1:7445", "10.0.0.1:7446", "10.0.0.1:7443", "10.0.0.1:7445"]
        );
        assert_eq!(next(1), "10.0.0.1:7443");
        assert_eq!([next(0), next(3), next(4)], ["", "", ""]);
        turns.failed(NodeId(2));
        turns.failed(NodeId(1));
        turns.failed(NodeId(9));
        let mut next = |node| links.address(NodeId(node), ShardId(1), &mut turns);
        assert_eq!(next(2), Some("[::1]:7446".parse().unwrap()));
        assert_eq!(next(1), Some("10.0.0.1:7443".parse().unwrap()));
        assert_eq!(links.name(NodeId(2)).as_deref(), Some("n2"));
        assert_eq!(links.name(NodeId(0)), None);
    }

    #[test]
    fn keys_of_links_are_those_of_no_session() {
        for place in [0, 1, 0x0fff_ffff] {
            for end in [LinkEnd::Client(place), LinkEnd::Link(place)] {
                let key = link_key(end);
                assert_eq!(link_end(key), Some(end));
                assert_eq!(SessionKey::unpack(key.bits()).slot(), 0xff_ffff);
            }
        }
        for (slot, generation) in [(0, 0), (0, 0xff_ffff), (0xff_fffe, 0xff_ffff)] {
            assert_eq!(link_end(ring_key(SessionKey::new(slot, generation))), None);
        }
    }
}
