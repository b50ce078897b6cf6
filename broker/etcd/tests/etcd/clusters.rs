//! Clusters of one or two nodes that serve every slot, with an etcd of their own. Most tests start with one of them.

use crate::server::{self, Etcd};
use crate::world::{Node, World, wait};
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::types::Epoch;
use broker_etcd::Options;
use std::time::Duration;

pub(crate) const ALL: usize = SLOTS as usize;

/// Timeout for the first claim, which waits 10 s for other nodes to register. The rest is a margin for a busy machine.
pub(crate) const FIRST: Duration = Duration::from_secs(60);

/// A cluster of one node, `n1`.
pub(crate) struct One {
    pub(crate) etcd: Etcd,
    pub(crate) world: World,
    pub(crate) node: Node,
}

impl One {
    /// Starts a cluster on a new etcd. Returns `None` if etcd is not installed.
    pub(crate) fn start() -> Option<Self> {
        server::is_installed().then(|| Self::on(Etcd::start()))
    }

    /// Starts a cluster on this etcd.
    pub(crate) fn on(etcd: Etcd) -> Self {
        let world = World::default();
        let node = world.node("n1", &etcd);
        world.all_served(FIRST);
        Self { etcd, world, node }
    }
}

/// A cluster of two nodes, `n1` and `n2`, each of which knows the owner of every slot.
pub(crate) struct Two {
    /// The first member of etcd.
    pub(crate) etcd: Etcd,
    /// The other members of etcd, if any.
    pub(crate) others: Vec<Etcd>,
    pub(crate) world: World,
    pub(crate) n1: Node,
    pub(crate) n2: Node,
    /// The epochs of all slots after the first claim.
    pub(crate) before: Vec<Epoch>,
}

impl Two {
    /// Starts a cluster on a new etcd. Returns `None` if etcd is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_in(World::default())
    }

    /// Like [`Self::start`], with nodes in this world.
    pub(crate) fn start_in(world: World) -> Option<Self> {
        server::is_installed().then(|| Self::on(Etcd::start(), Vec::new(), world))
    }

    /// Like [`Self::start`], on an etcd with three members.
    pub(crate) fn on_three_members() -> Option<Self> {
        server::is_installed().then(|| {
            let [first, second, third] = Etcd::start_three();
            Self::on(first, vec![second, third], World::default())
        })
    }

    fn on(etcd: Etcd, others: Vec<Etcd>, world: World) -> Self {
        let members = [&etcd].into_iter().chain(&others);
        let options = Options {
            endpoints: members.map(|etcd| etcd.endpoint().into()).collect(),
            ..Options::default()
        };
        let [n1, n2] = ["n1", "n2"].map(|name| world.node_with(name, options.clone()));
        world.all_served(FIRST);
        wait("both know all slots", Duration::from_secs(10), || {
            n1.epochs() == n2.epochs()
        });
        let before = n1.epochs();
        Self {
            etcd,
            others,
            world,
            n1,
            n2,
            before,
        }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Etcd> {
        [&self.etcd].into_iter().chain(&self.others)
    }

    /// Asserts that no slot has moved and that all slots are served.
    pub(crate) fn unmoved(&self) {
        assert_eq!(self.world.served(), ALL, "all slots are served");
        for node in [&self.n1, &self.n2] {
            let found = self.moved(node);
            assert_eq!(found, 0, "slots that moved, as {} knows", node.process());
        }
        self.world.sound();
        assert_eq!(self.world.book().alone, 0);
    }

    /// Returns the number of slots that have moved, according to this node.
    pub(crate) fn moved(&self, node: &Node) -> usize {
        let epochs = node.epochs();
        let pairs = epochs.iter().zip(&self.before);
        pairs.filter(|(now, before)| now != before).count()
    }

    /// Returns whether both nodes have contact with etcd.
    pub(crate) fn has_etcd(&self) -> bool {
        [&self.n1, &self.n2]
            .iter()
            .all(|node| node.inspect().has_etcd)
    }

    /// Waits until neither node has contact with etcd.
    pub(crate) fn until_without_etcd(&self) {
        wait("neither has etcd", Duration::from_secs(15), || {
            !self.n1.inspect().has_etcd && !self.n2.inspect().has_etcd
        });
    }

    /// Returns whether both nodes are registered.
    pub(crate) fn is_registered(&self) -> bool {
        let live = ["get", "--prefix", "--keys-only", "/heliograph/test/live/"];
        let live = self.etcd.ctl(&live);
        live.contains("n1") && live.contains("n2")
    }
}
