//! A node that is stopped and goes on, through which clients were connected, or to which.

use super::ahead::{count, waiting};
use super::nodes::{Files, Nodes};
use crate::http::Connection;
use crate::peer::{Peer, candidate, master_query, offer, to_master, upgrade_head, viewer_query};
use std::thread;
use std::time::{Duration, Instant};
use testkit::{until_true, until_within};

/// Longer than either node keeps a connection that waits for a client.
const IDLE: Duration = Duration::from_secs(45);

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
    for nodes in [Nodes::start(1), Nodes::encrypted(2)] {
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
}

/// Runs this with plain links and with TLS, on nodes between which four connections wait for a client.
fn with_connections_that_came_back(case: impl Fn(&Nodes, &str) + Sync) {
    thread::scope(|scope| {
        for files in [Files::new(), Files::encrypted()] {
            let case = &case;
            scope.spawn(move || {
                let nodes = Nodes::of(files, 1, ["", ""]);
                let [_, others] = nodes.channels();
                let viewer = |number| Peer::viewer(&nodes.n1, &others, &format!("v{number}"));
                let viewers: Vec<_> = (0..4).map(viewer).collect();
                for viewer in viewers {
                    viewer.close();
                }
                until_true("connections that came back", || {
                    count(&nodes.n1, "returned") == 4.0
                });
                case(&nodes, &others);
                for node in [&nodes.n1, &nodes.n2] {
                    node.assert_balanced();
                }
                let refused = "heliograph_cluster_inner_refused_total";
                assert_eq!(nodes.n2.scrape().sum(refused), 0.0);
            });
        }
    });
}

/// An upgrade of this client, sent.
fn begin(nodes: &Nodes, arn: &str, client: &str) -> Connection {
    let mut connection = Connection::open(nodes.n1.plain);
    let head = upgrade_head(&nodes.n1, &viewer_query(arn, client));
    connection.send(head.as_bytes());
    connection
}

fn assert_switched(mut connection: Connection) {
    let answer = connection.answer().expect("an answer");
    assert_eq!(answer.status, 101, "{answer:?}");
}

#[test]
fn an_upgrade_on_a_connection_that_came_back_waits_for_its_owner() {
    with_connections_that_came_back(|nodes, arn| {
        let used = count(&nodes.n1, "used");
        nodes.n2.stop();
        let client = begin(nodes, arn, "v9");
        until_true("a connection that is taken", || {
            count(&nodes.n1, "used") == used + 1.0
        });
        nodes.n2.go_on();
        assert_switched(client);
    });
}

/// The owner closes what waits too long: the node finds the ends of all of them beside clients that want one.
#[test]
fn a_node_that_goes_on_passes_no_client_on_over_a_connection_that_has_ended() {
    with_connections_that_came_back(|nodes, arn| {
        let used = count(&nodes.n1, "used");
        nodes.n1.stop();
        until_within(IDLE, "the end of those that wait", || {
            (waiting(&nodes.n2, "in") == 0.0).then_some(())
        });
        let clients = ["v5", "v6", "v7", "v8"].map(|client| begin(nodes, arn, client));
        nodes.n1.go_on();
        clients.into_iter().for_each(assert_switched);
        assert_eq!(count(&nodes.n1, "used"), used);
    });
}

/// The node in front closes what waits too long; the owner that goes on finds their ends.
#[test]
fn an_owner_that_goes_on_is_rid_of_connections_that_have_ended() {
    with_connections_that_came_back(|nodes, arn| {
        nodes.n2.stop();
        until_within(IDLE, "the end of those that wait", || {
            (waiting(&nodes.n1, "out") == 0.0).then_some(())
        });
        nodes.n2.go_on();
        until_true("the same at the owner", || waiting(&nodes.n2, "in") == 0.0);
        assert_switched(begin(nodes, arn, "v9"));
    });
}
