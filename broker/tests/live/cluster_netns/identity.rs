//! Processes that are not the node that they say they are.

use super::journal::moment;
use super::serves_on;
use crate::cluster_etcd::nodes::{Nodes, cluster};
use crate::peer::HealthyPair;
use std::fs;
use std::time::Duration;
use testkit::until;

/// The other nodes are not disturbed by it, and take what it had.
#[test]
#[ignore = "needs etcd and root"]
fn a_node_with_another_secret_ends_and_names_the_others() {
    let Some(mut nodes) = Nodes::on_hosts() else {
        return;
    };
    let arn = nodes.channels_of(0, 1).remove(0);
    let mut pair = HealthyPair::on(nodes.node(1), &arn);
    nodes.node(2).signal("KILL");
    nodes.take(2).ended_within(Duration::from_secs(5));
    fs::write(nodes.secret(), "ef".repeat(32)).expect("a file under target/");
    let before = moment();
    let (code, said) = nodes.start_in_vain(2, "n3/data");
    assert_eq!(code, Some(2), "{said}");
    for part in [
        "cluster.secret_file: ",
        "n1 at 127.77.0.1:",
        "n2 at 127.77.0.2:",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    for (_, node) in nodes.all() {
        let view = cluster(node);
        assert_eq!(
            (&view["standing"], &view["cut_off"]),
            (&"serving".into(), &false.into())
        );
    }
    // Its lease ends, and it does not answer.
    nodes.until_served();
    assert!(nodes.journal().moves_since(before) > 0);
    serves_on(&nodes, &[0, 1], &mut pair, &arn, 3);
    nodes.journal().assert_sound();
}

/// A registration that nobody proves, of a member that the roster expects: as a node of another secret writes it.
#[test]
#[ignore = "needs etcd and root"]
fn a_registration_without_a_proof_gets_no_slot_of_a_lost_host() {
    let Some(mut nodes) = Nodes::on_hosts() else {
        return;
    };
    let key = |kind: &str, node: &str| format!("/heliograph/test/{kind}/{node}");
    let member = nodes.etcd[0].ctl(&["get", "--print-value-only", &key("roster", "n1")]);
    let registration = r#"{"format":1,"directory":9,"start":1,"version":"0.1.0","inner":1}"#;
    nodes.etcd[0].ctl(&["put", &key("roster", "n9"), member.trim()]);
    nodes.etcd[0].ctl(&["put", &key("live", "n9"), registration]);
    until("all show it", || {
        let shows = |node| {
            let view = cluster(node);
            let listed = view["nodes"].as_array().expect("a list");
            let mut listed = listed.iter();
            listed.any(|node| node["name"] == "n9" && node["stranger"] == "no valid proof")
        };
        nodes.all().all(|(_, node)| shows(node)).then_some(())
    });
    let arn = nodes.channels_of(2, 1).remove(0);
    nodes.network().unplug(2);
    nodes.node(2).signal("KILL");
    nodes.take(2).ended_within(Duration::from_secs(5));
    nodes.until_served();
    HealthyPair::once(nodes.node(0), &arn);
    nodes.journal().assert_sound();
}
