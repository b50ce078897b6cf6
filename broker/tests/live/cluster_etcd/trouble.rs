//! The loss of etcd, and a node whose process stands still.

use super::nodes::{Nodes, cluster, create, try_create};
use crate::http::call;
use crate::peer::{HealthyPair, Peer};
use serde_json::json;
use std::time::{Duration, Instant};
use testkit::until_true;

#[test]
#[ignore = "needs etcd"]
fn without_etcd_peers_meet_and_changes_are_refused() {
    let Some(mut nodes) = Nodes::start(1) else {
        return;
    };
    let arn = create(nodes.node(0), "cam");
    let mut pair = HealthyPair::on(nodes.node(1), &arn);
    nodes.etcd[0].kill();
    // Longer than any registration lives.
    for _ in 0..14 {
        // A round a second: within the rate at which a channel is connected to.
        std::thread::sleep(Duration::from_secs(1));
        pair.relay();
        for (number, node) in nodes.all() {
            Peer::viewer(node, &arn, &format!("v{number}")).close();
            let began = Instant::now();
            let refused = try_create(node, "new");
            refused.refused(503, "ServiceUnavailable");
            assert!(
                began.elapsed() <= Duration::from_secs(1),
                "{:?}",
                began.elapsed()
            );
        }
    }
    for (_, node) in nodes.all() {
        assert_eq!(cluster(node)["etcd"], "down");
        assert_eq!(crate::http::get(node.admin, "/ready").status, 200);
        // No node has etcd, so none has made it.
        let none = json!({ "ChannelName": "none" });
        let absent = call(node.plain, "/describeSignalingChannel", &none);
        absent.refused(404, "ResourceNotFoundException");
    }
    nodes.etcd[0].restart();
    until_true("changes again", || {
        try_create(nodes.node(2), "new").status == 200
    });
    pair.relay();
    nodes.until_served();
    nodes.journal().assert_sound();
}
