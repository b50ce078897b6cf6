//! Three members of etcd, of which one freezes. Connections move to the others; slots do not move.

use crate::server::{self, Etcd};
use crate::world::{World, never, wait};
use broker_core::cluster::limits::SLOTS;
use broker_etcd::Options;
use std::time::Duration;

const ALL: usize = SLOTS as usize;
const FIRST: Duration = Duration::from_secs(60);

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_leader_that_freezes_moves_connections_and_no_slots() {
    if !server::is_installed() {
        return;
    }
    let members = Etcd::start_three();
    let options = Options {
        endpoints: members.iter().map(|etcd| etcd.endpoint().into()).collect(),
        ..Options::default()
    };
    let world = World::default();
    let [n1, n2] = ["n1", "n2"].map(|name| world.node_with(name, options.clone()));
    world.all_served(FIRST);
    wait("both know all slots", Duration::from_secs(10), || {
        n1.epochs() == n2.epochs()
    });
    let before = n1.epochs();
    let leader = members.iter().find(|etcd| etcd.leads()).expect("one leads");
    leader.freeze();
    // An election takes a second or two; nodes that were connected to the leader have another member after 2 s.
    let others = || {
        members
            .iter()
            .filter(|etcd| etcd.client_port() != leader.client_port())
    };
    wait("another leads", Duration::from_secs(15), || {
        others().any(Etcd::leads)
    });
    let took = wait("both have etcd", Duration::from_secs(10), || {
        n1.inspect().has_etcd && n2.inspect().has_etcd
    });
    eprintln!("another leads: both nodes have etcd after {took:?}");
    never(
        "a slot moved or is not served",
        Duration::from_secs(13),
        || world.served() != ALL || n1.epochs() != before,
    );
    leader.thaw();
    // This etcd may end all leases when its former leader wakes.
    never(
        "a slot moved or is not served",
        Duration::from_secs(15),
        || world.served() != ALL || n1.epochs() != before,
    );
    assert_eq!(n2.epochs(), before);
    assert!(n1.inspect().has_etcd && n2.inspect().has_etcd);
    assert_eq!(world.book().alone, 0);
    world.sound();
}
