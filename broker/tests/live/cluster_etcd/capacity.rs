//! etcd that is nearly full: new channels are refused before etcd refuses everybody's changes.

use super::nodes::Nodes;
use crate::http::call;
use serde_json::json;
use std::time::Duration;
use testkit::until_within;

/// The quota of etcd, and what is put into it beside the cluster: 82 % of it, in all. Its file is larger than what
/// is in use, by some values of this size.
const QUOTA: usize = 64 << 20;
const FILLER_BYTES: usize = 512 << 10;
const FILLERS: usize = 105;

/// A node asks for the size every 10 s.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

#[test]
#[ignore = "needs etcd"]
fn new_channels_are_refused_while_etcd_is_nearly_full_and_all_else_goes_on() {
    let Some(nodes) = Nodes::with_quota(QUOTA) else {
        return;
    };
    let etcd = &nodes.etcd[0];
    let create = |name: &str| {
        let body = json!({"ChannelName": name});
        call(nodes.node(0).plain, "/createSignalingChannel", &body)
    };
    let kept = create("kept").ok()["ChannelARN"].clone();
    let gone = create("gone").ok()["ChannelARN"].clone();
    let filler = "x".repeat(FILLER_BYTES - 64);
    for number in 0..FILLERS {
        etcd.ctl(&["put", &format!("/other/{number}"), &filler]);
    }
    let mut made = 0;
    let told = until_within(NOTICED_WITHIN, "a refusal", || {
        made += 1;
        let answer = create(&format!("more-{made}"));
        (answer.status != 200).then_some(answer)
    });
    let told = told.refused(503, "ServiceUnavailable");
    assert!(told.contains("nearly full"), "{told}");
    // It was refused by the node that has the channel; this one asks in its own time.
    until_within(NOTICED_WITHIN, "the size in this node's metrics", || {
        let scrape = nodes.node(0).scrape();
        let used = scrape.sum("heliograph_cluster_etcd_bytes");
        let quota = scrape.sum("heliograph_cluster_etcd_quota_bytes");
        assert!(quota == QUOTA as f64, "{quota}");
        (used >= quota * 0.8).then_some(())
    });
    // Channels that are there are changed and deleted as before, through any node.
    let tags = json!({"ResourceARN": kept, "Tags": [{"Key": "site", "Value": "roof"}]});
    call(nodes.node(1).plain, "/TagResource", &tags).ok();
    let delete = json!({"ChannelARN": gone});
    call(nodes.node(2).plain, "/deleteSignalingChannel", &delete).ok();
    // An operator makes room.
    let deleted = etcd.ctl(&["del", "--prefix", "/other/"]);
    assert_eq!(deleted.trim(), FILLERS.to_string());
    let status = etcd.ctl(&["get", "/", "--write-out", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let revision = status["header"]["revision"].to_string();
    etcd.ctl(&["compaction", "--physical", &revision]);
    etcd.ctl(&["defrag"]);
    until_within(NOTICED_WITHIN, "a new channel", || {
        (create("again").status == 200).then_some(())
    });
}
