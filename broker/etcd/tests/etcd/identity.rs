//! The proofs of registrations. A node with another secret receives nothing, and reports this when it starts.

use crate::clusters::{ALL, FIRST, One};
use crate::server::Etcd;
use crate::world::{Node, SECRET, World, wait};
use broker_core::cluster::message::Ending;
use broker_core::cluster::types::Kinship;
use broker_etcd::NodeState;
use std::time::Duration;

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_node_with_another_secret_ends_and_names_the_nodes_that_it_found() {
    let Some(etcd) = Etcd::found() else { return };
    let world = World::over_tcp();
    let first = world.node("n1", &etcd);
    world.all_served(FIRST);
    let second = world.node_of_secret("n2", etcd.options(), &"0e".repeat(32));
    wait("the second one ends", Duration::from_secs(10), || {
        second.has_ended()
    });
    let book = world.book();
    assert_eq!(book.endings, [(second.process(), Ending::Unproven)]);
    assert_eq!(book.ended_for, ["n1 at 10.0.0.1:7443"]);
    drop(book);
    let live = etcd.ctl(&["get", "--prefix", "--keys-only", "/heliograph/test/"]);
    assert!(!live.contains("n2"), "it wrote nothing: {live}");
    assert_eq!(first.serves(), ALL);
    world.sound();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_registration_without_a_valid_proof_does_not_count_and_is_shown() {
    let Some(One { etcd, world, node }) = One::start() else {
        return;
    };
    let key = |name: &str| format!("/heliograph/test/{name}");
    let own = etcd.ctl(&["get", "--print-value-only", &key("live/n1")]);
    let member = etcd.ctl(&["get", "--print-value-only", &key("roster/n1")]);
    for (name, registration) in [
        (
            "n8",
            r#"{"format":1,"directory":8,"start":1,"version":"1"}"#,
        ),
        // This proof belongs to another name.
        ("n9", own.trim()),
    ] {
        etcd.ctl(&["put", &key(&format!("roster/{name}")), member.trim()]);
        etcd.ctl(&["put", &key(&format!("live/{name}")), registration]);
        let seen = || seen(&node, name);
        wait("it is shown", Duration::from_secs(10), || {
            seen().is_some_and(|seen| seen.stranger == Some(Kinship::Unproven))
        });
        assert!(seen().is_some_and(|seen| !seen.is_registered && seen.is_here));
    }
    assert!(node.inspect().is_cut_off, "nobody answers it");
    assert_eq!((world.served(), node.serves()), (ALL, ALL));
    world.sound();
}

/// Follows the steps of CLUSTER.md: the next secret is accepted everywhere before it is used anywhere.
#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn nodes_with_neighbouring_secrets_of_a_rotation_know_each_other() {
    let Some(etcd) = Etcd::found() else { return };
    let world = World::over_tcp();
    let (old, new) = (SECRET.repeat(32), "0e".repeat(32));
    let both = [format!("{old}\n{new}"), format!("{new}\n{old}")];
    let n1 = world.node_of_secret("n1", etcd.options(), &old);
    let n2 = world.node_of_secret("n2", etcd.options(), &both[0]);
    know_each_other(&n1, &n2);
    drop(n1);
    let n1 = world.node_of_secret("n1", etcd.options(), &both[1]);
    know_each_other(&n1, &n2);
    drop(n2);
    let n2 = world.node_of_secret("n2", etcd.options(), &new);
    know_each_other(&n1, &n2);
}

fn know_each_other(n1: &Node, n2: &Node) {
    wait("they know each other", Duration::from_secs(60), || {
        let pairs = [(n1, "n2"), (n2, "n1")];
        let mut seen = pairs.into_iter().map(|(node, other)| seen(node, other));
        seen.all(|seen| seen.is_some_and(|seen| seen.is_registered && seen.is_heard))
    });
}

/// Returns the state of a node as known to `node`.
fn seen(node: &Node, name: &str) -> Option<NodeState> {
    let mut nodes = node.inspect().nodes.into_iter();
    nodes.find(|known| known.name.as_str() == name)
}
