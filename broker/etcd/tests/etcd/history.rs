//! Another etcd, or another cluster in it: nothing is claimed, nothing is written, and the node says so.

use crate::server::{self, Etcd};
use crate::world::{World, never, wait};
use broker_core::cluster::limits::SLOTS;
use std::time::Duration;

const ALL: usize = SLOTS as usize;
const FIRST: Duration = Duration::from_secs(40);

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn an_etcd_that_was_emptied_is_neither_claimed_nor_written_until_it_is_accepted() {
    if !server::is_installed() {
        return;
    }
    let mut etcd = Etcd::start();
    let world = World::default();
    let mut node = world.node("n1", &etcd);
    world.all_served(FIRST);

    etcd.empty();
    etcd.restart();
    wait("it says so", Duration::from_secs(20), || {
        node.inspect().other_history
    });
    never("it stopped or wrote", Duration::from_secs(13), || {
        world.served() != ALL || !etcd.ctl(&["get", "--prefix", "/heliograph/"]).is_empty()
    });

    // A restart does not forget it.
    node.crash();
    node.start(false);
    wait("it says so again", Duration::from_secs(20), || {
        node.inspect().other_history
    });
    never("it served or wrote", Duration::from_secs(13), || {
        node.serves() > 0 || !etcd.ctl(&["get", "--prefix", "/heliograph/"]).is_empty()
    });

    node.crash();
    // Epochs repeat on a new etcd.
    world.book().forget_epochs();
    node.start(true);
    wait("all slots are served again", FIRST, || node.serves() == ALL);
    assert!(!node.inspect().other_history);
    world.sound();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn slots_whose_keys_were_removed_are_served_and_neither_written_nor_claimed_until_it_is_accepted() {
    if !server::is_installed() {
        return;
    }
    let etcd = Etcd::start();
    let world = World::default();
    let mut node = world.node("n1", &etcd);
    world.all_served(FIRST);

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
