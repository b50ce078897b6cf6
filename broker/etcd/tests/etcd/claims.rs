//! Slots are claimed, transferred, and claimed again by the same node.

use crate::clusters::{ALL, FIRST, One, Two};
use crate::server::{self, Etcd};
use crate::world::{Node, World, never, wait};
use broker_core::cluster::message::Ending;
use broker_core::cluster::types::Slot;
use std::time::Duration;

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn one_node_claims_all_slots_and_its_next_process_has_them_at_once() {
    let Some(One {
        etcd,
        world,
        mut node,
    }) = One::start()
    else {
        return;
    };
    let before = node.inspect();
    assert_eq!((before.owned, before.has_etcd), (ALL, true));
    let fine = before.slot_key.is_some();
    assert!(fine, "the first node writes the meta key");
    assert_eq!(before.trouble, None);
    assert!(
        etcd.ctl(&["get", "/heliograph/test/roster/n1"])
            .contains(r#""address":"10.0.0.1:7443","ports":[7443,7445],"peers":"10.0.0.1:7444""#)
    );

    node.crash();
    node.start(false);
    // The node has a grace period of 30 s, after which any other node may claim its slots. The limit leaves time for
    // etcd's writes to a disk that other programs use as well.
    let took = wait("its own slots again", Duration::from_secs(20), || {
        node.serves() == ALL
    });
    eprintln!("restart: all slots served again after {took:?}");
    let after = node.inspect();
    assert_eq!(
        after.slot_key, before.slot_key,
        "the slot key never changes"
    );
    let moved = after
        .slots
        .iter()
        .zip(&before.slots)
        .filter(|(new, old)| new.1 <= old.1);
    assert_eq!(moved.count(), 0, "every slot has a newer epoch");
    world.sound();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn three_nodes_share_the_slots_and_a_drain_gives_them_with_what_is_pending() {
    share_and_drain(World::default);
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn three_nodes_do_the_same_over_tcp() {
    share_and_drain(World::over_tcp);
}

/// Starts three nodes at the same time. Hashing assigns the slots, so each node should own about a third.
///
/// On a busy machine, a node may be unable to claim anything for five seconds. It then leaves its slots to the others,
/// as it should, and the test starts over. If the rule itself is wrong, all attempts fail.
fn three_equal_nodes(make: fn() -> World) -> (Etcd, World, [Node; 3]) {
    for _ in 0..3 {
        let (etcd, world) = (Etcd::start(), make());
        let nodes = ["n1", "n2", "n3"].map(|name| world.node(name, &etcd));
        world.all_served(FIRST);
        let shares = nodes.each_ref().map(Node::serves);
        eprintln!("shares: {shares:?}");
        if shares.iter().all(|share| (1_200..1_530).contains(share)) {
            return (etcd, world, nodes);
        }
    }
    panic!("no equal parts in three attempts");
}

fn share_and_drain(make: fn() -> World) {
    if !server::is_installed() {
        return;
    }
    let (etcd, world, [n1, n2, n3]) = three_equal_nodes(make);
    for node in [&n1, &n2, &n3] {
        let known = node.inspect().slots;
        let fine = known.iter().all(|(owner, _)| owner.is_some());
        assert!(fine, "{}", node.process());
    }

    // Puts a message into each slot of the node that leaves.
    let mine: Vec<Slot> = {
        let mut book = world.book();
        let mine: Vec<Slot> = book.serving[&n1.process()].keys().copied().collect();
        for slot in &mine {
            let message = slot.0.to_le_bytes().to_vec();
            book.pending.insert((n1.process(), *slot), message);
        }
        mine
    };
    assert!(n1.handle().drain());
    let took = wait("the drain is over", Duration::from_secs(60), || {
        n1.has_ended()
    });
    eprintln!("drain of {} slots: {took:?}", mine.len());
    world.all_served(Duration::from_secs(10));
    let book = world.book();
    assert_eq!(book.endings, [(n1.process(), Ending::Drained { left: 0 })]);
    for slot in mine {
        let owners = [&n2, &n3].map(|node| (node.process(), slot));
        let messages: Vec<u8> = owners
            .iter()
            .filter_map(|key| book.pending.get(key))
            .flatten()
            .copied()
            .collect();
        assert_eq!(messages, slot.0.to_le_bytes(), "{slot:?}");
    }
    drop(book);
    assert!(
        etcd.ctl(&["get", "/heliograph/test/roster/n1"])
            .contains("away")
    );
    let found = etcd.ctl(&["get", "/heliograph/test/live/n1"]);
    assert_eq!(found, "", "the lease was given back");
}

/// The messages do not fit into a single message between nodes.
#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn thirty_mebibytes_of_pending_messages_go_along_with_their_slot() {
    let Some(two) = Two::start_in(World::over_tcp()) else {
        return;
    };
    let (world, n1, n2) = (&two.world, &two.n1, &two.n2);
    let messages: Vec<u8> = (0..30_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let slot = {
        let mut book = world.book();
        let served = book.serving[&n1.process()].keys();
        let slot = *served.clone().nth(served.len() / 2).unwrap();
        book.pending.insert((n1.process(), slot), messages.clone());
        slot
    };
    assert!(n1.handle().drain());
    wait("the drain is over", Duration::from_secs(60), || {
        n1.has_ended()
    });
    world.all_served(Duration::from_secs(10));
    let book = world.book();
    assert_eq!(book.endings, [(n1.process(), Ending::Drained { left: 0 })]);
    let came = book.pending.get(&(n2.process(), slot));
    assert_eq!(came.map(Vec::len), Some(30 << 20));
    assert!(came == Some(&messages), "the same bytes");
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_node_that_joins_gets_nothing_until_the_slots_are_rebalanced() {
    let Some(One {
        etcd,
        world,
        node: n1,
    }) = One::start()
    else {
        return;
    };
    let before = n1.epochs();
    let n2 = world.node("n2", &etcd);
    wait("it is registered", Duration::from_secs(10), || {
        n2.inspect().has_etcd
            && etcd
                .ctl(&["get", "/heliograph/test/live/n2"])
                .contains("n2")
    });
    // Longer than any rule waits before it claims slots.
    never("it took slots", Duration::from_secs(15), || n2.serves() > 0);
    assert_eq!(n1.epochs(), before);
    assert!(n1.handle().commands().rebalance());
    wait("half of the slots", Duration::from_secs(60), || {
        n2.serves() == ALL / 2
    });
    world.all_served(Duration::from_secs(10));
}
