//! An etcd whose quota is used up.

use super::super::journal::moment;
use super::super::{LONG_S, serves_on};
use crate::cluster_etcd::nodes::setup::Setup;
use crate::cluster_etcd::nodes::{Nodes, cluster, create, try_create};
use crate::cluster_etcd::server::Etcd;
use crate::http::Connection;
use crate::peer::HealthyPair;
use serde_json::{Value, json};
use testkit::until;

#[test]
#[ignore = "needs etcd and root"]
fn with_its_quota_used_up_etcd_refuses_what_is_new_and_nothing_else() {
    let setup = Setup {
        etcd: &["--quota-backend-bytes", &QUOTA.to_string()],
        ..Setup::default()
    };
    let Some(nodes) = Nodes::on_hosts_as(setup) else {
        return;
    };
    let arn = create(nodes.node(0), "cam");
    let unwanted = create(nodes.node(0), "unwanted");
    let mut pair = HealthyPair::on(nodes.node(1), &arn);
    let before = moment();
    let etcd = &nodes.etcd[0];
    let large = "x".repeat(1 << 20);
    let fill = |number: u32| etcd.try_ctl(&["put", &format!("/other/{number}"), &large]);
    let full = (0..100).find(|number| fill(*number).is_err());
    assert!(full.is_some(), "etcd has a quota");

    try_create(nodes.node(2), "new").refused(503, "ServiceUnavailable");
    serves_on(&nodes, &[0, 1, 2], &mut pair, &arn, LONG_S);
    for (_, node) in nodes.all() {
        assert_eq!(crate::http::get(node.admin, "/ready").status, 200);
        assert_ne!(cluster(node)["etcd"], "down");
        try_create(node, "new").refused(503, "ServiceUnavailable");
    }
    let delete = json!({ "ChannelARN": unwanted });
    let deleted = Connection::open(nodes.node(1).plain).call("/deleteSignalingChannel", &delete);
    deleted.ok();

    etcd.ctl(&["del", "--prefix", "/other/"]);
    let revision = told(etcd)["header"]["revision"].to_string();
    etcd.ctl(&["compact", "--physical", &revision]);
    for etcd in &nodes.etcd {
        // Members compact in their own time, and one whose file is too large still raises the alarm again.
        until("a member's file is small", || {
            etcd.ctl(&["--command-timeout", "60s", "defrag"]);
            (told(etcd)["dbSize"].as_u64()? < QUOTA / 2).then_some(())
        });
    }
    etcd.ctl(&["alarm", "disarm"]);
    let mut last = String::new();
    until("channels are made again", || {
        let answer = try_create(nodes.node(2), "new");
        if last != answer.text() {
            last = answer.text();
            eprintln!("{} {last}", answer.status);
        }
        (answer.status == 200).then_some(())
    });
    pair.relay();
    let journal = nodes.journal();
    assert_eq!(journal.changes_since(before), 0);
    journal.assert_sound();
    nodes.until_served();
}

/// The status of a member, as it tells it.
fn told(etcd: &Etcd) -> Value {
    let status = etcd.ctl(&["endpoint", "status", "--write-out", "json"]);
    let status: Value = serde_json::from_str(&status).expect("JSON");
    status[0]["Status"].clone()
}

/// Of each member, in bytes.
const QUOTA: u64 = 16 << 20;
