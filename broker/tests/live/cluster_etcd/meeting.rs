//! Masters, viewers and callers that are connected to different nodes, none of which need own the channel.

use super::nodes::{Nodes, cluster, create, name_of};
use crate::http::{Connection, get};
use crate::peer::{Peer, answer, candidate_to, offer, to_master, to_viewer};
use serde_json::json;

#[test]
#[ignore = "needs etcd"]
fn who_is_connected_to_whichever_node_meets() {
    let Some(nodes) = Nodes::start(2) else { return };
    let arns: Vec<String> = (0..6)
        .map(|number| create(nodes.node(number % 3), &format!("cam{number}")))
        .collect();
    for (number, arn) in arns.iter().enumerate() {
        nodes.owner(name_of(arn));
        let master_at = nodes.node((number + 1) % 3);
        let viewer_at = nodes.node((number + 2) % 3);
        let mut viewer = Peer::viewer(viewer_at, arn, "v1");
        viewer.send(&offer("ZWFybHk="));
        let mut master = Peer::master(master_at, arn);
        master.expect(&to_master("SDP_OFFER", "ZWFybHk=", "v1"));
        master.send(&answer("v1", "YW5zd2Vy"));
        viewer.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
        master.send(&candidate_to("v1", "Y2FuZA=="));
        viewer.expect(&to_viewer("ICE_CANDIDATE", "Y2FuZA=="));
        viewer.close();
        master.close();
    }
    for (_, node) in nodes.all() {
        for arn in &arns {
            let asked = json!({ "ChannelARN": arn });
            let found = Connection::open(node.plain).call("/describeSignalingChannel", &asked);
            assert_eq!(found.ok()["ChannelInfo"]["ChannelARN"], arn.as_str());
        }
        assert_eq!(get(node.admin, "/ready").status, 200);
        node.assert_balanced();
        let view = cluster(node);
        let listed = view["nodes"].as_array().expect("a list");
        assert_eq!(listed.len(), 3);
        assert_eq!(view["etcd"], "up");
        assert_eq!(view["vacant"], 0);
        let slots = listed.iter().filter_map(|node| node["slots"].as_u64());
        assert_eq!(slots.sum::<u64>(), 4096);
        let metrics = node.scrape();
        assert_eq!(metrics.sum("heliograph_cluster_members"), 3.0);
        assert_eq!(metrics.sum("heliograph_cluster_etcd_up"), 1.0);
        let took = metrics.sum("heliograph_cluster_etcd_seconds");
        assert!(took > 0.0 && took < 3.0, "{took}");
        for outcome in ["sent", "received"] {
            let name = format!("heliograph_cluster_messages_total{{outcome=\"{outcome}\"}}");
            assert!(metrics.sum(&name) > 0.0, "{name}");
        }
        assert_eq!(metrics.sum("heliograph_cluster_peers_refused_total"), 0.0);
        assert!(metrics.sum("heliograph_cluster_valid_seconds") > 2.0);
        assert!(metrics.sum("heliograph_cluster_epoch_changes_total") >= 4096.0);
        assert!(!node.log().contains("ERROR"), "{}", node.log());
        let threads = node.threads();
        let follow = threads.iter().filter(|name| *name == "cluster");
        assert_eq!(follow.count(), 1, "{threads:?}");
    }
    nodes.journal().assert_sound();
}
