//! An etcd that was restored from a backup: what happened since is forgotten, and revisions repeat.

use super::super::journal::moment;
use super::super::{LONG_S, refuses_changes, serves_on, until_changes};
use crate::cluster_etcd::nodes::{Nodes, cluster, create, name_of};
use crate::cluster_etcd::server::Etcd;
use crate::http::Connection;
use crate::peer::HealthyPair;
use crate::process::Broker;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::until;

#[test]
#[ignore = "needs etcd and root"]
fn a_restored_etcd_counts_as_gone_until_it_is_accepted() {
    let Some(mut nodes) = Nodes::on_hosts() else {
        return;
    };
    let arn = nodes.channels_of(nodes.largest(), 1).remove(0);
    let mut pair = HealthyPair::on(nodes.node(1), &arn);
    let snapshot = nodes.directory.join("snapshot");
    nodes.etcd[0].ctl(&[
        "snapshot",
        "save",
        snapshot.to_str().expect("a path in UTF-8"),
    ]);
    let forgotten: Vec<String> = (0..3)
        .map(|n| create(nodes.node(n), &format!("later{n}")))
        .collect();
    let before = moment();
    let told = epochs(&nodes).into_iter().max();
    nodes.etcd.iter_mut().for_each(Etcd::kill);
    Etcd::restore(&mut nodes.etcd, &snapshot);
    Etcd::restart_all(&mut nodes.etcd);
    until("all nodes see another history", || {
        let sees = |node: &Broker| cluster(node)["other_history"] == true;
        nodes.all().all(|(_, node)| sees(node)).then_some(())
    });
    refuses_changes(nodes.node(2), &arn);
    serves_on(&nodes, &[0, 1, 2], &mut pair, &arn, LONG_S);
    HealthyPair::once(nodes.node(0), &forgotten[0]);
    for (_, node) in nodes.all() {
        refuses_changes(node, &forgotten[1]);
        let wanted = "the history of etcd differs from the known one";
        testkit::assert_has(&node.log(), &[wanted]);
    }
    let journal = nodes.journal();
    assert_eq!(journal.changes_since(before), 0);
    journal.assert_sound();

    // All are stopped before the first is started: epochs repeat.
    drop(pair);
    for node in 0..3 {
        nodes.node(node).signal("KILL");
        nodes.take(node).ended_within(Duration::from_secs(5));
    }
    nodes.forget_journals();
    nodes.arguments.push("--accept-etcd".into());
    nodes.start_all(1);
    for (_, node) in nodes.all() {
        assert_eq!(cluster(node)["other_history"], false);
    }
    until_changes(nodes.node(0), &arn);
    HealthyPair::once(nodes.node(2), &arn);
    let asked = json!({ "ChannelName": name_of(&forgotten[2]) });
    let gone = Connection::open(nodes.node(0).plain).call("/describeSignalingChannel", &asked);
    assert_eq!(gone.status, 404, "{gone:?}");
    nodes.until_served();
    let again = epochs(&nodes).into_iter().min();
    assert!(again > told, "presence goes on: {told:?}, then {again:?}");
    nodes.journal().assert_sound();
}

/// The epochs of presence of all slots.
fn epochs(nodes: &Nodes) -> Vec<u64> {
    let slots = "/heliograph/test/s/";
    let values = nodes.etcd[0].ctl(&["get", "--prefix", "--print-value-only", slots]);
    let epoch = |line: &str| serde_json::from_str::<Value>(line).ok()?["presence"].as_u64();
    values.lines().filter_map(epoch).collect()
}
