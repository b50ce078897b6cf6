//! The first claims of a cluster that nobody used: each slot goes to the node that hashing names, also where claims are
//! slow or a node starts later than the others.

use crate::cluster::script::{Script, Step};
use crate::cluster::world::World;
use broker_core::cluster::slot_plan::named;
use broker_core::cluster::types::{NodeId, NodeKey, Slot};

const HOSTS: u16 = 3;

/// Each node has five claims of 100 slots to make.
const SLOTS: u16 = 1_400;

/// From each message of a slow node to its arrival: its claims take 8 s together, and the others wait 5 s at first.
const SLOW_MS: u64 = 800;

#[test]
fn a_node_that_claims_slowly_gets_what_hashing_names() {
    for seed in 1..=3 {
        let mut script = Script::of(HOSTS.into(), SLOTS, 10);
        script.ends = 30_000;
        parts_are_named(script, SLOW_MS, seed);
    }
}

#[test]
fn a_node_that_starts_later_gets_what_hashing_names() {
    for (seed, later) in [(1, 3_000), (2, 6_000), (3, 8_500)] {
        let mut script = Script::of(HOSTS.into(), SLOTS, 10);
        script.members = usize::from(HOSTS) - 1;
        script.at(later, Step::Start(script.members));
        script.ends = 20_000;
        parts_are_named(script, 0, seed);
    }
}

/// Runs a new cluster, whose last node is slow by `slow_ms`; in the end each owner is the one that hashing names among
/// all nodes.
fn parts_are_named(mut script: Script, slow_ms: u64, seed: u64) {
    script.is_new = true;
    script.lag = vec![0; script.hosts];
    script.begins = script.ends + 1;
    script.settled = script.ends;
    let mut world = World::of(script, fastrand::Rng::with_seed(seed));
    world.net.slow = Some((usize::from(HOSTS) - 1, slow_ms));
    world.run();
    assert_eq!(world.check.fault, None, "seed {seed}");
    let mut parts = [0; HOSTS as usize];
    let mut others = 0;
    for number in 0..SLOTS {
        let owner = world.etcd.owner(number.into()).expect("an owner").node;
        parts[owner.index()] += 1;
        let nodes = (0..HOSTS).map(NodeId);
        let named = named(Slot(number), nodes, |node| NodeKey(node.0.into()));
        others += u16::from(Some(owner) != named);
    }
    assert_eq!(
        others, 0,
        "seed {seed}: slots of other nodes; parts {parts:?}"
    );
}
