//! Slots that go to other nodes, and come back.

use super::nodes::{Nodes, name_of, served, until_admitted};
use crate::peer::{HealthyPair, Peer, offer, to_master};
use std::time::Duration;
use tungstenite::protocol::frame::coding::CloseCode;

/// Nothing that was accepted is lost, every peer gets a close frame, and the others serve those that come back.
#[test]
#[ignore = "needs etcd"]
fn a_node_that_drains_gives_its_channels_and_what_waits_on_them() {
    let Some(mut nodes) = Nodes::start(2) else {
        return;
    };
    // A slot goes every few milliseconds, and the last of thousands after longer than a peer waits here.
    nodes.rebalance();
    let giver = 0;
    let others = nodes.others(giver);
    let arns = nodes.channels_of(giver, 12);
    // A viewer whose offers wait for a master that is not there; connected to each of the nodes.
    let mut viewers = Vec::new();
    for (number, arn) in arns.iter().enumerate() {
        let mut viewer = Peer::viewer(nodes.node(number % 3), arn, "v1");
        viewer.send(&offer(&format!("b2ZmZXI{number:02}==")));
        viewer.expect_silence();
        viewers.push(viewer);
    }
    let held = nodes
        .node(giver)
        .scrape()
        .sum("heliograph_pending_messages");
    assert_eq!(held, 12.0);
    nodes.node(giver).signal("TERM");
    for viewer in &mut viewers {
        assert_eq!(viewer.expect_close(1001), "Going away");
    }
    drop(viewers);
    let mut drained = nodes.take(giver);
    let ended = drained.ended_within(Duration::from_secs(30));
    assert!(ended.success(), "{ended:?}");
    let wanted = "all slots were transferred to other nodes";
    testkit::assert_has(&drained.log(), &[wanted]);
    nodes.until_served();
    for (number, arn) in arns.iter().enumerate() {
        let mut master = Peer::master(nodes.node(others[number % 2]), arn);
        let payload = format!("b2ZmZXI{number:02}==");
        master.expect(&to_master("SDP_OFFER", &payload, "v1"));
        master.expect_silence();
        master.close();
    }
    for (_, node) in nodes.all() {
        node.assert_balanced();
    }
    // It comes back, and takes nothing by itself.
    nodes.start_one(giver, 2);
    HealthyPair::once(nodes.node(giver), &arns[0]);
    assert_eq!(served(nodes.node(giver)), 0.0);
    // Until it is asked for.
    nodes.rebalance();
    for arn in &arns {
        HealthyPair::once(nodes.node(giver), arn);
    }
    nodes.journal().assert_sound();
}

#[test]
#[ignore = "needs etcd"]
fn the_channels_of_a_node_that_is_killed_are_admitted_elsewhere() {
    let Some(mut nodes) = Nodes::start(1) else {
        return;
    };
    let owner = nodes.largest();
    let [one, other] = nodes.others(owner);
    let arn = nodes.channels_of(owner, 1).remove(0);
    let mut viewer = Peer::viewer(nodes.node(other), &arn, "v1");
    viewer.send(&offer("bG9zdA=="));
    viewer.expect_silence();
    nodes.node(owner).signal("KILL");
    nodes.take(owner).ended_within(Duration::from_secs(5));
    let (_, code) = viewer.drain();
    assert_eq!(
        code,
        Some(CloseCode::Away),
        "the link breaks with its owner"
    );
    let after = until_admitted(nodes.node(one), &arn);
    eprintln!("admitted elsewhere after {after:?}");
    assert!(after <= Duration::from_secs(15), "{after:?}");
    assert_ne!(nodes.owner(name_of(&arn)), owner);
    nodes.until_served();
    HealthyPair::once(nodes.node(other), &arn);
    nodes.journal().assert_sound();
}
