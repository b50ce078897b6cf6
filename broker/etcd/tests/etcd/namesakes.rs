//! Several machines under the same name: copies of a data directory, and names that were assigned twice.

use crate::clusters::{ALL, FIRST, Two};
use crate::proxy::Proxy;
use crate::server::Etcd;
use crate::world::{ELSEWHERE, World, never, wait};
use broker_core::cluster::message::Ending;
use broker_etcd::Options;
use std::time::Duration;

/// A process on a copy of a running node's data directory ends, and reports the node that uses the name.
#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_copy_of_the_data_directory_of_a_node_that_runs_ends_and_names_it() {
    let Some(two) = Two::start_in(World::over_tcp()) else {
        return;
    };
    let copy = two.world.namesake(&two.n1, two.etcd.options(), true);
    wait("the copy ends", Duration::from_secs(15), || {
        copy.has_ended()
    });
    let book = two.world.book();
    assert_eq!(book.endings, [(copy.process(), Ending::NameTaken)]);
    assert_eq!(book.ended_for, ["n1 at 10.0.0.1:7443"]);
    drop(book);
    never("a slot moves", Duration::from_secs(3), || {
        two.moved(&two.n2) > 0 || two.n1.has_ended()
    });
    two.unmoved();
}

/// The registration of the running node expires while etcd is frozen. The node registers again afterwards.
#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn second_machines_of_a_name_end_though_etcd_stands_still_for_longer_than_a_lease() {
    let Some(two) = Two::start_in(World::over_tcp()) else {
        return;
    };
    let before = two.world.namesake(&two.n1, two.etcd.options(), false);
    wait("it knows etcd", Duration::from_secs(5), || {
        before.has_ended() || before.inspect().has_etcd
    });
    two.etcd.freeze();
    two.until_without_etcd();
    let meanwhile = two.world.namesake(&two.n1, two.etcd.options(), true);
    never("the node ends", Duration::from_secs(12), || {
        two.n1.has_ended()
    });
    two.etcd.thaw();
    let seconds = [&before, &meanwhile];
    wait("the second ones end", Duration::from_secs(30), || {
        seconds.iter().all(|second| second.has_ended())
    });
    let book = two.world.book();
    assert_eq!(book.endings.len(), 2, "{:?}", book.endings);
    for second in seconds {
        let ending = (second.process(), Ending::NameTaken);
        assert!(book.endings.contains(&ending), "{:?}", book.endings);
    }
    drop(book);
    wait("both are registered", Duration::from_secs(15), || {
        two.has_etcd() && two.is_registered()
    });
    two.unmoved();
}

/// A node that has lost etcd and has no peers answers no queries. A copy therefore takes over its name once the lease
/// has expired, and the node ends when it notices.
#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_copy_takes_over_from_a_node_that_nobody_hears_and_the_node_ends() {
    let Some(etcd) = Etcd::found() else { return };
    let proxy = Proxy::to(etcd.client_port());
    let world = World::default();
    let behind = Options {
        endpoints: vec![proxy.endpoint().into()],
        ..Options::default()
    };
    let node = world.node_with("n1", behind);
    world.all_served(FIRST);
    proxy.hold();
    let elsewhere = World::default();
    let copy = elsewhere.namesake(&node, etcd.options(), true);
    never("it waits", Duration::from_secs(5), || {
        elsewhere.served() > 0
    });
    elsewhere.all_served(Duration::from_secs(40));
    let roster = || etcd.ctl(&["get", "--print-value-only", "/heliograph/test/roster/n1"]);
    assert!(roster().contains(ELSEWHERE), "{}", roster());
    proxy.release();
    wait("the older one ends", Duration::from_secs(15), || {
        node.has_ended()
    });
    let book = world.book();
    assert_eq!(book.endings, [(node.process(), Ending::NameTaken)]);
    assert_eq!(book.ended_for, [format!("n1 at {ELSEWHERE}")]);
    let before = copy.epochs();
    never("it goes on", Duration::from_secs(3), || {
        copy.epochs() != before
    });
    assert_eq!(copy.serves(), ALL);
    assert!(roster().contains(ELSEWHERE), "{}", roster());
}
