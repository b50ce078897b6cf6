//! The table of connections to this node: unauthenticated connections, and connections from other nodes.
//!
//! An unauthenticated connection has a deadline and takes one of a limited number of entries. Connections from the
//! known addresses of nodes have their own entries and their own handshake queue, so a flood from elsewhere does not
//! delay a node that reconnects. If no entry is free, a connection from the address with the most connections is
//! evicted, so no address can lock out another.

use crate::limits::{ACCEPT_PAUSE, STRANGERS_MAX};
use crate::{names::Name, system::now};
use broker_core::address_shares::{Crowd, Origin};
use broker_core::cluster::limits::NODES_MAX;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::sleep;

#[derive(Default)]
pub(crate) struct Places {
    strangers: HashMap<u64, Stranger>,
    /// Unauthenticated connections from known node addresses. Connections from all other addresses are in `elsewhere`.
    at_nodes: Kind,
    elsewhere: Kind,
    /// The current connection from each other node. A new connection replaces the previous one, which may be dead.
    members: HashMap<Name, (u64, AbortHandle)>,
    /// The addresses of nodes, as stated in the roster or resolved from the names in it.
    roster: HashMap<Name, Vec<IpAddr>>,
    /// The address from which each node last connected.
    proven: HashMap<Name, IpAddr>,
}

struct Stranger {
    from: SocketAddr,
    is_at_node: bool,
    task: AbortHandle,
}

/// The unauthenticated connections that share a limit and a handshake queue.
#[derive(Default)]
struct Kind {
    crowd: Crowd<u64>,
    turn: Turn,
}

/// A queue in which handshakes start one at a time, at intervals of [`ACCEPT_PAUSE`].
#[derive(Clone, Default)]
pub(crate) struct Turn(Rc<Mutex<()>>);

impl Turn {
    pub(crate) async fn wait(&self) {
        let _turn = self.0.lock().await;
        sleep(ACCEPT_PAUSE).await;
    }
}

impl Places {
    pub(crate) fn turn(&self, from: SocketAddr) -> Turn {
        if self.is_at_node(from) {
            self.at_nodes.turn.clone()
        } else {
            self.elsewhere.turn.clone()
        }
    }

    /// Adds an unauthenticated connection. If this evicts another connection, returns the address of that connection.
    pub(crate) fn enter(
        &mut self,
        number: u64,
        from: SocketAddr,
        task: AbortHandle,
    ) -> Option<SocketAddr> {
        let is_at_node = self.is_at_node(from);
        let origin = Origin::of(from.ip());
        let crowd = &mut self.kind(is_at_node).crowd;
        let leaves = (crowd.len() >= STRANGERS_MAX).then(|| {
            let oldest = |crowd: &Crowd<u64>| crowd.members().next().map(|(number, _)| number);
            let victim = crowd.victim(origin, now());
            let victim = victim.or_else(|| crowd.first_of(origin));
            victim.or_else(|| oldest(crowd))
        });
        crowd.enter(number, origin, now());
        let stranger = Stranger {
            from,
            is_at_node,
            task,
        };
        self.strangers.insert(number, stranger);
        let left = self.leave(leaves.flatten()?)?;
        left.task.abort();
        Some(left.from)
    }

    /// Records that a connection's peer has been authenticated as the node `name`. Returns `false` if the connection is
    /// being closed or there are too many nodes.
    pub(crate) fn prove(&mut self, number: u64, name: &Name) -> bool {
        let Some(Stranger { from, task, .. }) = self.leave(number) else {
            return false;
        };
        if self.members.len() >= NODES_MAX && !self.members.contains_key(name) {
            return false;
        }
        if self.proven.len() < NODES_MAX || self.proven.contains_key(name) {
            self.proven.insert(name.clone(), from.ip().to_canonical());
        }
        if let Some((_, older)) = self.members.insert(name.clone(), (number, task)) {
            older.abort();
        }
        true
    }

    pub(crate) fn end(&mut self, number: u64, name: Option<&Name>) {
        self.leave(number);
        let Some(name) = name else {
            return;
        };
        let member = self.members.get(name);
        if member.is_some_and(|(of, _)| *of == number) {
            self.members.remove(name);
        }
    }

    /// Sets the addresses from which a node is expected to connect.
    pub(crate) fn expect(&mut self, name: &Name, at: &[SocketAddr]) {
        let at = at.iter().map(|at| at.ip().to_canonical());
        self.roster.insert(name.clone(), at.collect());
    }

    fn is_at_node(&self, from: SocketAddr) -> bool {
        let from = from.ip().to_canonical();
        let mut known = self.roster.values().flatten().chain(self.proven.values());
        known.any(|address| *address == from)
    }

    fn kind(&mut self, is_at_node: bool) -> &mut Kind {
        if is_at_node {
            &mut self.at_nodes
        } else {
            &mut self.elsewhere
        }
    }

    fn leave(&mut self, number: u64) -> Option<Stranger> {
        let stranger = self.strangers.remove(&number)?;
        self.kind(stranger.is_at_node).crowd.leave(number);
        Some(stranger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::time::Duration;
    use tokio::task::{LocalSet, spawn_local};
    use tokio::time::timeout;

    fn run(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    fn at(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 40_000)
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    impl Places {
        /// Adds a connection from `address`. Returns the address of the connection evicted for it, if any.
        fn comes(&mut self, number: u64, address: &str) -> Option<SocketAddr> {
            let task = spawn_local(pending::<()>()).abort_handle();
            self.enter(number, at(address), task)
        }
    }

    #[test]
    fn an_address_that_has_most_makes_room() {
        run(async {
            let mut places = Places::default();
            assert_eq!(places.comes(0, "10.0.0.1"), None);
            for number in 1..STRANGERS_MAX as u64 {
                assert_eq!(places.comes(number, "10.0.0.9"), None);
            }
            for number in [1_000, 1_001] {
                assert_eq!(places.comes(number, "10.0.0.9"), Some(at("10.0.0.9")));
                assert_eq!(places.comes(number + 10, "10.0.0.3"), Some(at("10.0.0.9")));
            }
            assert!(
                places.strangers.contains_key(&0),
                "it was the first to come"
            );
            assert_eq!(places.strangers.len(), STRANGERS_MAX);
            assert_eq!(places.elsewhere.crowd.len(), STRANGERS_MAX);
        });
    }

    #[test]
    fn where_every_address_has_one_the_oldest_leaves() {
        run(async {
            let mut places = Places::default();
            for number in 0..STRANGERS_MAX as u64 {
                assert_eq!(places.comes(number, &format!("10.0.1.{number}")), None);
            }
            assert_eq!(places.comes(1_000, "10.0.0.1"), Some(at("10.0.1.0")));
        });
    }

    #[test]
    fn addresses_of_nodes_have_places_and_turns_of_their_own() {
        run(async {
            let mut places = Places::default();
            places.expect(&name("n1"), &[at("10.0.0.8"), at("10.0.0.1")]);
            for number in 0..STRANGERS_MAX as u64 {
                assert_eq!(places.comes(number, &format!("10.0.1.{number}")), None);
            }
            assert_eq!(places.comes(1_000, "10.0.0.1"), None);
            assert!(places.prove(0, &name("n2")), "by its secret");
            assert_eq!(places.comes(1_001, "10.0.2.2"), None, "it left a place");
            assert_eq!(places.comes(1_002, "10.0.1.0"), None);

            let elsewhere = places.turn(at("10.0.9.9")).0;
            let _held = elsewhere.lock().await;
            let turn = places.turn(at("10.0.1.0"));
            timeout(Duration::from_secs(5), turn.wait()).await.unwrap();
            places.expect(&name("n1"), &[at("10.0.0.7")]);
            let moved = places.turn(at("10.0.0.1")).0;
            assert!(moved.try_lock().is_err(), "n1 is there no longer");
        });
    }

    #[test]
    fn a_place_is_free_again_at_its_end() {
        run(async {
            let mut places = Places::default();
            assert_eq!(places.comes(1, "10.0.0.1"), None);
            places.end(1, None);
            assert!(!places.prove(1, &name("n1")), "it has ended");
            for number in [2, 3] {
                assert_eq!(places.comes(number, "10.0.0.1"), None);
                assert!(places.prove(number, &name("n1")));
            }
            places.end(2, Some(&name("n1")));
            assert_eq!(places.members.len(), 1, "the newer one has its place");
            places.end(3, Some(&name("n1")));
            assert!(places.members.is_empty() && places.at_nodes.crowd.is_empty());
        });
    }
}
