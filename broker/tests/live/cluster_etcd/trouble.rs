//! The loss of etcd, and a node whose process stands still.

use super::nodes::{Nodes, cluster, create, name_of, try_create};
use crate::http::call;
use crate::peer::{HealthyPair, Peer, master_query, upgrade};
use serde_json::json;
use std::time::{Duration, Instant};
use testkit::until;

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
    until("changes again", || {
        (try_create(nodes.node(2), "new").status == 200).then_some(())
    });
    pair.relay();
    nodes.until_served();
    nodes.journal().assert_sound();
}

/// Its slots are taken meanwhile; when it goes on it admits to none of them, and lets its connections go.
#[test]
#[ignore = "needs etcd"]
fn a_node_that_stood_still_admits_nobody_to_what_others_have() {
    let Some(nodes) = Nodes::start(1) else { return };
    let owner = nodes.largest();
    let [one, other] = nodes.others(owner);
    let arn = nodes.channels_of(owner, 1).remove(0);
    let sleeper = nodes.node(owner);
    let mut former = Peer::master(sleeper, &arn);
    sleeper.signal("STOP");
    let after = nodes.until_owned_by([one, other], name_of(&arn));
    eprintln!("elsewhere after {after:?}");
    assert!(after <= Duration::from_secs(15), "{after:?}");
    HealthyPair::once(nodes.node(other), &arn);
    sleeper.signal("CONT");
    // A client that it lets in meets those of the new owner: it passes the client on.
    until("the way through the node that stood still", || {
        let (answer, _) = upgrade(sleeper, &master_query(&arn), "");
        (answer.status == 101).then_some(())
    });
    assert_ne!(nodes.owner(name_of(&arn)), owner);
    assert_eq!(former.expect_close(1001), "Going away");
    HealthyPair::once(sleeper, &arn);
    until("the end of what it had", || {
        let scrape = sleeper.try_scrape()?;
        (scrape.sum("heliograph_channels") == 0.0).then_some(())
    });
    nodes.journal().assert_sound();
}
