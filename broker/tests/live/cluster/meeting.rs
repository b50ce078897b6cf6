//! Masters, viewers and callers that are connected to different nodes.

use super::nodes::{Nodes, call, create};
use crate::peer::{Peer, answer, candidate, candidate_to, offer, to_master, to_viewer};
use crate::process::Broker;
use serde_json::json;
use testkit::until;

/// On a channel of each node a master meets a viewer: both ways through the nodes, then with the viewer first.
pub(crate) fn meet_in_all_ways(nodes: &Nodes) {
    for arn in nodes.channels() {
        for (one, other) in [(&nodes.n1, &nodes.n2), (&nodes.n2, &nodes.n1)] {
            let mut master = Peer::master(one, &arn);
            let mut viewer = Peer::viewer(other, &arn, "v1");
            exchange(&mut master, &mut viewer);
            viewer.close();
            master.close();
        }
        // The viewer first: its offer waits for the master.
        let mut viewer = Peer::viewer(&nodes.n1, &arn, "v1");
        viewer.send(&offer("ZWFybHk="));
        let mut master = Peer::master(&nodes.n2, &arn);
        master.expect(&to_master("SDP_OFFER", "ZWFybHk=", "v1"));
        exchange(&mut master, &mut viewer);
        viewer.close();
        master.close();
    }
}

/// A node is back: clients of a new channel of it meet through the other one.
pub(crate) fn meet_again(other: &Broker, back: &Broker) {
    let arn = until("a channel of the node that is back", || {
        (0..64).find_map(|number| {
            let arn = create(other.plain, &format!("again{number}"));
            (back.scrape().sum("heliograph_channels") > 0.0).then_some(arn)
        })
    });
    let mut master = Peer::master(other, &arn);
    let mut viewer = Peer::viewer(back, &arn, "v1");
    exchange(&mut master, &mut viewer);
}

pub(crate) fn exchange(master: &mut Peer, viewer: &mut Peer) {
    for payload in ["b2ZmZXI=".to_owned(), "A".repeat(20_000)] {
        viewer.send(&offer(&payload));
        master.expect(&to_master("SDP_OFFER", &payload, "v1"));
        master.send(&answer("v1", &payload));
        viewer.expect(&to_viewer("SDP_ANSWER", &payload));
        viewer.send(&candidate(&payload));
        master.expect(&to_master("ICE_CANDIDATE", &payload, "v1"));
        master.send(&candidate_to("v1", &payload));
        viewer.expect(&to_viewer("ICE_CANDIDATE", &payload));
    }
}

#[test]
fn calls_are_answered_by_the_owner_through_any_node() {
    let nodes = Nodes::start(2);
    for arn in nodes.channels() {
        let name = arn.split('/').nth(1).expect("as written");
        for node in [&nodes.n1, &nodes.n2] {
            for asked in [json!({ "ChannelName": name }), json!({ "ChannelARN": arn })] {
                let found = call(node.plain, "/describeSignalingChannel", &asked).ok();
                assert_eq!(found["ChannelInfo"]["ChannelARN"], arn.as_str());
            }
            let list = call(node.plain, "/listSignalingChannels", &json!({}));
            list.refused(503, "ServiceUnavailable");
        }
        let again = call(
            nodes.n1.plain,
            "/createSignalingChannel",
            &json!({ "ChannelName": name }),
        );
        again.refused(400, "ResourceInUseException");
    }
    assert_quiet(&nodes);
}

/// The books of both nodes balance, and nothing is left of any client on a link.
pub(crate) fn assert_quiet(nodes: &Nodes) {
    for node in [&nodes.n1, &nodes.n2] {
        node.assert_balanced();
        assert_gone(node);
    }
    let sum = |name| nodes.n1.scrape().sum(name) + nodes.n2.scrape().sum(name);
    let (begun, taken) = (
        sum("heliograph_cluster_link_clients_opened_total"),
        sum("heliograph_cluster_inner_accepted_total"),
    );
    assert_eq!(begun, taken, "each was one client of its owner");
}

pub(crate) fn assert_gone(node: &Broker) {
    testkit::until_true("the end of all of them", || {
        node.scrape().sum("heliograph_cluster_link_clients") == 0.0
    });
}
