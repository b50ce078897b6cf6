//! An etcd with three members, one of which freezes. Connections move to the other members, but slots do not move.

use crate::clusters::{ALL, Two};
use crate::server::{self, Etcd};
use crate::world::{never, wait};
use broker_etcd::operator;
use std::time::Duration;

/// The shortest lease that etcd grants is one and a half times as long as an election takes, in whole seconds.
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
    // An election takes one or two seconds. Nodes that were connected to the leader switch to another member after 2 s.
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
    // etcd may expire all leases when its former leader resumes.
    never(
        "a slot moved or is not served",
        Duration::from_secs(15),
        || world.served() != ALL || n1.epochs() != two.before,
    );
    assert!(two.has_etcd());
    two.unmoved();
}
