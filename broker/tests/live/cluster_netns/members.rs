//! Members of etcd that fail: nothing moves, whatever they do.
//!
//! * [`quota`]: one that takes no more; [`restored`]: one that has forgotten.

mod quota;
mod restored;

use super::journal::moment;
use super::{LONG_S, refuses_changes, serves_on, until_changes, until_etcd};
use crate::cluster_etcd::nodes::{Nodes, cluster};
use crate::cluster_etcd::server::Etcd;
use crate::peer::HealthyPair;
use crate::process::Broker;
use std::time::{Duration, Instant};
use testkit::until_true;

#[test]
#[ignore = "needs etcd and root"]
fn a_leader_that_is_killed_and_members_that_freeze_move_nothing() {
    let Some(mut nodes) = Nodes::on_hosts() else {
        return;
    };
    let arn = nodes.channels_of(nodes.largest(), 1).remove(0);
    let mut pair = HealthyPair::on(nodes.node(0), &arn);
    let before = moment();

    let leader = nodes.etcd.iter().position(Etcd::leads).expect("one leads");
    nodes.etcd[leader].kill();
    let after = until_changes(nodes.node(1), &arn);
    eprintln!("changes {after:?} after the leader was killed");
    assert!(after <= CHANGES_WITHIN, "{after:?}");
    serves_on(&nodes, &[0, 1, 2], &mut pair, &arn, LONG_S);
    nodes.etcd[leader].restart();
    assert_eq!(nodes.journal().changes_since(before), 0);

    // Longer than a lease: all of them end when the members go on, before any node can renew its own.
    nodes.etcd.iter().for_each(Etcd::freeze);
    serves_on(&nodes, &[0, 1, 2], &mut pair, &arn, 12);
    let began = Instant::now();
    nodes.etcd.iter().for_each(Etcd::thaw);
    until_true("all registrations", || {
        nodes.all().all(|(_, node)| sees_all(node))
    });
    let after = began.elapsed();
    eprintln!("registered again after {after:?}");
    serves_on(&nodes, &[0, 1, 2], &mut pair, &arn, LONG_S);
    until_changes(nodes.node(1), &arn);
    let journal = nodes.journal();
    assert_eq!(journal.changes_since(before), 0);
    journal.assert_sound();
    nodes.until_served();
}

#[test]
#[ignore = "needs etcd and root"]
fn without_a_majority_of_etcd_peers_meet_for_as_long_as_it_takes() {
    let Some(mut nodes) = Nodes::on_hosts() else {
        return;
    };
    let arn = nodes.channels_of(nodes.largest(), 1).remove(0);
    let mut pair = HealthyPair::on(nodes.node(0), &arn);
    let before = moment();
    let [one, other] = nodes.others(0);
    nodes.etcd[one].kill();
    nodes.etcd[other].kill();
    let all: Vec<&Broker> = nodes.all().map(|(_, node)| node).collect();
    until_etcd(&all, "down");
    for _ in 0..3 {
        for (_, node) in nodes.all() {
            refuses_changes(node, &arn);
            assert_eq!(crate::http::get(node.admin, "/ready").status, 200);
        }
        serves_on(&nodes, &[0, 1, 2], &mut pair, &arn, 10);
    }
    for member in [one, other] {
        nodes.etcd[member].launch();
    }
    let after = until_changes(nodes.node(2), &arn);
    eprintln!("changes {after:?} after a majority was started");
    pair.relay();
    let journal = nodes.journal();
    assert_eq!(journal.changes_since(before), 0);
    journal.assert_sound();
    nodes.until_served();
}

/// Whether this node has etcd, and sees all nodes registered.
fn sees_all(node: &Broker) -> bool {
    let view = cluster(node);
    let listed = view["nodes"].as_array().expect("a list");
    view["etcd"] == "up" && listed.iter().all(|node| node["registered"] == true)
}

/// An election takes one to two seconds, and a node tries the next member after two.
const CHANGES_WITHIN: Duration = Duration::from_secs(10);
