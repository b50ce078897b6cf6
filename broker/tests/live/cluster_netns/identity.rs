//! Processes that are not the node that they say they are.

use super::journal::moment;
use super::serves_on;
use crate::cluster_etcd::nodes::{Nodes, cluster};
use crate::peer::HealthyPair;
use std::fs;
use std::time::Duration;

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
    #[rustfmt::skip] // a list
    let cases = ["cluster.secret_file: ", "n1 at 127.77.0.1:", "n2 at 127.77.0.2:"];
    for part in cases {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    for (_, node) in nodes.all() {
        let view = cluster(node);
        assert_eq!(view["standing"], "serving");
        assert_eq!(view["cut_off"], false);
    }
    // Its lease ends, and it does not answer.
    nodes.until_served();
    assert!(nodes.journal().moves_since(before) > 0);
    serves_on(&nodes, &[0, 1], &mut pair, &arn, 3);
    nodes.journal().assert_sound();
}
