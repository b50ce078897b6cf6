//! Three members of etcd, of which one freezes. Connections move to the others; slots do not move.

use crate::clusters::{ALL, Two};
use crate::server::{self, Etcd};
use crate::world::{never, wait};
use broker_etcd::operator;
use std::time::Duration;

/// Half as long again as an election is the shortest lease, in whole seconds.
#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for an election"]
fn etcd_grants_a_longer_lease_where_elections_take_long() {
    if !server::is_installed() {
        return;
    }
    let etcd = Etcd::start_with("http", &["--election-timeout", "5000"]);
    for (asked, granted) in [(5, 8), (10, 10)] {
        assert_eq!(operator::granted(&etcd.options(), asked), Ok(granted));
    }
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_leader_that_freezes_moves_connections_and_no_slots() {
    let Some(two) = Two::on_three_members() else {
        return;
    };
    let (n1, world) = (&two.n1, &two.world);
    let leader = two.members().find(|etcd| etcd.leads()).expect("one leads");
    leader.freeze();
    // An election takes a second or two; nodes that were connected to the leader have another member after 2 s.
    let others = || {
        two.members()
            .filter(|etcd| etcd.client_port() != leader.client_port())
    };
    wait("another leads", Duration::from_secs(15), || {
        others().any(Etcd::leads)
    });
    let took = wait("both have etcd", Duration::from_secs(10), || two.has_etcd());
    eprintln!("another leads: both nodes have etcd after {took:?}");
    never(
        "a slot moved or is not served",
        Duration::from_secs(13),
        || world.served() != ALL || n1.epochs() != two.before,
    );
    leader.thaw();
    // This etcd may end all leases when its former leader wakes.
    never(
        "a slot moved or is not served",
        Duration::from_secs(15),
        || world.served() != ALL || n1.epochs() != two.before,
    );
    assert!(two.has_etcd());
    two.unmoved();
}
