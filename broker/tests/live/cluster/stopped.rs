//! A node that is stopped and goes on, through which clients were connected, or to which.

use super::nodes::Nodes;
use crate::http::Connection;
use crate::peer::{Peer, candidate, master_query, offer, to_master, upgrade_head};
use std::time::{Duration, Instant};
use testkit::until_true;

/// A viewer sends into a stopped node and leaves. Its messages come when it has sent others through another node.
#[test]
fn what_a_stopped_node_held_does_not_come_behind_newer_messages() {
    let nodes = Nodes::start(1);
    let [_, others] = nodes.channels();
    let mut master = Peer::master(&nodes.n2, &others);
    let mut older = Peer::viewer(&nodes.n1, &others, "v1");
    older.send(&candidate("Zmlyc3Q="));
    master.expect(&to_master("ICE_CANDIDATE", "Zmlyc3Q=", "v1"));
    nodes.n1.stop();
    for payload in ["aGVsZA==", "YWxzbw=="] {
        older.send(&candidate(payload));
    }
    drop(older);
    let mut newer = Peer::viewer(&nodes.n2, &others, "v1");
    let begun = Instant::now();
    newer.send(&candidate("bmV3"));
    master.expect(&to_master("ICE_CANDIDATE", "bmV3", "v1"));
    until_true("five seconds", || {
        begun.elapsed() > Duration::from_millis(5_200)
    });
    nodes.n1.go_on();
    let withdrawn = r#"heliograph_messages_total{action="ICE_CANDIDATE",outcome="withdrawn"}"#;
    until_true("the end of both", || {
        nodes.n2.scrape().sum(withdrawn) == 2.0
    });
    newer.send(&candidate("bGFzdA=="));
    master.expect(&to_master("ICE_CANDIDATE", "bGFzdA==", "v1"));
}

/// Upgrades whose clients left while their node was stopped do not reach the owner.
#[test]
fn upgrades_whose_clients_left_are_not_passed_on() {
    let nodes = Nodes::start(2);
    let [_, others] = nodes.channels();
    let mut master = Peer::master(&nodes.n2, &others);
    let mut viewer = Peer::viewer(&nodes.n1, &others, "v1");
    let before = nodes.n1.scrape().sum("heliograph_accepted_total");
    nodes.n1.stop();
    for _ in 0..8 {
        let mut ghost = Connection::open(nodes.n1.plain);
        ghost.send(upgrade_head(&nodes.n1, &master_query(&others)).as_bytes());
    }
    nodes.n1.go_on();
    until_true("the end of all of them", || {
        let now = nodes.n1.scrape();
        now.sum("heliograph_accepted_total") >= before + 8.0
            && now.sum("heliograph_connections{role=\"http\"}") == 0.0
            && now.sum("heliograph_cluster_link_clients") == 1.0
    });
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    let upgrades = "heliograph_upgrades_total{role=\"master\",outcome=\"accepted\"}";
    assert_eq!(nodes.n2.scrape().sum(upgrades), 1.0);
}
