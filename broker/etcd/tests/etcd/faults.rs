//! Faults that move slots, and faults that must not.

use crate::clusters::{ALL, Two};
use crate::world::{Node, World, never, wait};
use broker_core::cluster::authority::Standing;
use std::time::Duration;

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_lease_revoked_by_hand_moves_nothing() {
    let Some(two) = Two::start() else { return };
    let leases = two.etcd.ctl(&["lease", "list"]);
    let leases: Vec<&str> = leases.lines().filter(|line| line.len() == 16).collect();
    assert_eq!(leases.len(), 2, "{leases:?}");
    for lease in leases {
        two.etcd.ctl(&["lease", "revoke", lease]);
    }
    let took = wait("both are registered again", Duration::from_secs(5), || {
        two.is_registered()
    });
    eprintln!("registered again after {took:?}");
    // Longer than a node waits before it claims slots.
    never("a slot moved", Duration::from_secs(15), || {
        two.n1.epochs() != two.before
    });
    two.unmoved();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn an_etcd_that_freezes_longer_than_a_lease_moves_nothing() {
    let Some(two) = Two::start() else { return };
    two.etcd.freeze();
    two.until_without_etcd();
    never("a slot was released", Duration::from_secs(15), || {
        two.world.served() != ALL
    });
    two.etcd.thaw();
    wait("both have etcd again", Duration::from_secs(20), || {
        two.has_etcd() && two.is_registered()
    });
    never("a slot moved", Duration::from_secs(15), || {
        two.n1.epochs() != two.before
    });
    two.unmoved();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn without_etcd_running_nodes_go_on_and_with_it_they_know_what_happened() {
    let Some(mut two) = Two::start() else { return };
    two.etcd.kill();
    two.until_without_etcd();
    assert!(two.n1.inspect().trouble.is_some());
    never("a slot was released", Duration::from_secs(20), || {
        two.world.served() != ALL
    });
    two.etcd.restart();
    let took = wait("both have etcd again", Duration::from_secs(20), || {
        two.has_etcd() && two.is_registered()
    });
    eprintln!("etcd back: registered again after {took:?}");
    assert_eq!(two.n1.inspect().trouble, None);
    never("a slot moved", Duration::from_secs(15), || {
        two.n1.epochs() != two.before
    });
    two.unmoved();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn the_slots_of_a_lost_host_are_served_elsewhere_within_10_s() {
    lose_a_host(World::default());
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn the_slots_of_a_lost_host_are_served_elsewhere_over_tcp() {
    lose_a_host(World::over_tcp());
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn without_etcd_nodes_keep_each_other_going_over_tcp() {
    let Some(mut two) = Two::start_in(World::over_tcp()) else {
        return;
    };
    two.etcd.kill();
    two.until_without_etcd();
    // Without messages, both nodes would consider themselves cut off by the end of this.
    let go_on = |node: &Node| node.inspect().standing == Standing::Answered;
    never(
        "a node did without answers",
        Duration::from_secs(20),
        || !go_on(&two.n1) || !go_on(&two.n2) || two.world.served() != ALL,
    );
    // The next process listens on another port, which is in the roster as soon as etcd is back.
    two.n1.crash();
    two.etcd.restart();
    two.n1.start(false);
    wait("all is served again", Duration::from_secs(30), || {
        two.world.served() == ALL
    });
    two.etcd.kill();
    two.until_without_etcd();
    never(
        "a node did without answers",
        Duration::from_secs(15),
        || !go_on(&two.n1) || !go_on(&two.n2),
    );
    two.world.sound();
}

fn lose_a_host(world: World) {
    let Some(mut two) = Two::start_in(world) else {
        return;
    };
    let lost = two.n1.serves();
    let kept = two.n2.serves();
    two.n1.crash();
    let taken = wait(
        "all slots are owned elsewhere",
        Duration::from_secs(10),
        || two.n2.inspect().owned == ALL,
    );
    let served = wait(
        "all slots are served elsewhere",
        Duration::from_secs(5),
        || two.n2.serves() == ALL,
    );
    eprintln!("host loss: {lost} slots owned elsewhere after {taken:?}, served {served:?} later");
    let moved = two.moved(&two.n2);
    assert_eq!(moved, lost, "only the lost slots moved, {kept} were kept");
    two.world.sound();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_watch_whose_revisions_are_compacted_is_followed_by_a_whole_read() {
    let Some(two) = Two::start() else { return };
    // After etcd was frozen, the roster changes and the history is compacted before the nodes watch it again.
    #[rustfmt::skip] // a list
    two.etcd.ctl(&["put", "/heliograph/test/roster/n9", r#"{"format":1,"address":"x","state":"here"}"#]);
    two.etcd.freeze();
    wait("they notice", Duration::from_secs(10), || !two.has_etcd());
    two.etcd.thaw();
    #[rustfmt::skip] // a list
    let status = two.etcd.ctl(&["put", "/heliograph/test/roster/n8", r#"{"format":1,"address":"x","state":"here"}"#]);
    assert!(status.contains("OK"));
    let header = two
        .etcd
        .ctl(&["get", "--write-out", "json", "/heliograph/test/roster/n8"]);
    let revision = header.split(r#""revision":"#).nth(1).unwrap();
    let revision: String = revision.chars().take_while(char::is_ascii_digit).collect();
    two.etcd.ctl(&["compact", &revision]);
    wait("both have etcd again", Duration::from_secs(20), || {
        two.has_etcd() && two.is_registered()
    });
    never("a slot moved", Duration::from_secs(15), || {
        two.n1.epochs() != two.before
    });
    two.unmoved();
}
