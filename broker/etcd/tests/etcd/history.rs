//! Another etcd, or another cluster in it. The node claims nothing, writes nothing, and reports the problem.

use crate::clusters::{ALL, FIRST, One};
use crate::world::{never, wait};
use std::time::Duration;

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn an_etcd_that_was_emptied_is_neither_claimed_nor_written_until_it_is_accepted() {
    let Some(One {
        mut etcd,
        world,
        mut node,
    }) = One::start()
    else {
        return;
    };

    etcd.empty();
    etcd.restart();
    wait("it says so", Duration::from_secs(20), || {
        node.inspect().other_history
    });
    never("it stopped or wrote", Duration::from_secs(13), || {
        world.served() != ALL || !etcd.ctl(&["get", "--prefix", "/heliograph/"]).is_empty()
    });

    // A restart does not make the node forget it.
    node.crash();
    node.start(false);
    wait("it says so again", Duration::from_secs(20), || {
        node.inspect().other_history
    });
    never("it served or wrote", Duration::from_secs(13), || {
        node.serves() > 0 || !etcd.ctl(&["get", "--prefix", "/heliograph/"]).is_empty()
    });

    node.crash();
    // On a new etcd, epochs are used again.
    world.book().forget_epochs();
    node.start(true);
    wait("all slots are served again", FIRST, || node.serves() == ALL);
    assert!(!node.inspect().other_history);
    world.sound();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn slots_whose_keys_were_removed_are_served_and_neither_written_nor_claimed_until_it_is_accepted() {
    let Some(One {
        etcd,
        world,
        mut node,
    }) = One::start()
    else {
        return;
    };

    etcd.ctl(&["del", "--prefix", "/heliograph/test/s/0"]);
    wait("it says so", Duration::from_secs(5), || {
        node.inspect().other_history
    });
    never("it stopped or wrote", Duration::from_secs(13), || {
        let left = etcd.ctl(&["get", "--prefix", "--keys-only", "/heliograph/test/s/0"]);
        world.served() != ALL || !left.is_empty()
    });
    node.crash();
    node.start(true);
    wait("all slots are served again", FIRST, || node.serves() == ALL);
    assert!(!node.inspect().other_history);
    world.sound();
}
