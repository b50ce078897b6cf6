//! Two nodes of which one is slow, gone, or of another opinion.

use super::meeting::{assert_gone, exchange, meet_again};
use super::nodes::{Files, NONE, Nodes, call, create, with_tls};
use crate::listeners::tls::{BOTH, Identity};
use crate::peer::{HealthyPair, Peer, master_query, offer, to_master, viewer_query};
use crate::service::readers::longest_record;
use serde_json::json;
use testkit::until;
use tungstenite::protocol::frame::coding::CloseCode;

#[test]
fn clients_of_a_node_that_is_killed_see_an_end_and_the_other_node_lives() {
    let nodes = Nodes::start(2);
    let [own, others] = nodes.channels();
    let Nodes { n1, n2, files } = nodes;
    let mut healthy = HealthyPair::on(&n1, &own);
    let mut master = Peer::master(&n1, &others);
    let mut viewer = Peer::viewer(&n1, &others, "v1");
    exchange(&mut master, &mut viewer);
    n2.signal("KILL");
    for mut peer in [master, viewer] {
        let code = peer.drain().1;
        assert_eq!(code, Some(CloseCode::Away), "it may stand there");
    }
    assert_gone(&n1);
    healthy.relay();
    let refused = call(
        n1.plain,
        "/describeSignalingChannel",
        &json!({ "ChannelARN": others }),
    );
    refused.refused(503, "ServiceUnavailable");
    healthy.relay();
    // When it is back, its clients come back through any node.
    drop(n2);
    let n2 = files.start("n2", 2, "", NONE);
    meet_again(&n1, &n2);
    healthy.relay();
}

/// A peer of another node that does not read is closed by the owner as one of its own would be; nobody else waits.
#[test]
fn a_peer_that_stops_reading_holds_up_nobody_else() {
    let limits =
        "[limits]\noutbox_bytes = 65536\npending_bytes_per_channel = 65536\n[quotas]\noff = true";
    let nodes = Nodes::configured(1, [limits, limits]);
    let [own, others] = nodes.channels();
    let mut on_first = HealthyPair::on(&nodes.n1, &own);
    let mut on_second = HealthyPair::on(&nodes.n2, &nodes_own(&nodes));
    let master = Peer::master(&nodes.n1, &others);
    let mut viewer = Peer::viewer(&nodes.n2, &others, "v1");
    let payload = "A".repeat(30_000);
    let ended = || {
        let ends = "heliograph_connection_ends_total{reason=\"slow_consumer\"}";
        nodes.n2.scrape().sum(ends) > 0.0
    };
    for _ in 0..200 {
        for _ in 0..10 {
            viewer.send(&offer(&payload));
        }
        on_first.relay();
        on_second.relay();
    }
    until("the end of the peer", || {
        on_first.relay();
        on_second.relay();
        ended().then_some(())
    });
    until("its end", || {
        (nodes.n1.scrape().sum("heliograph_cluster_link_clients") == 0.0).then_some(())
    });
    on_first.relay();
    on_second.relay();
    // An unsent message waits for the next master, on whichever node.
    let mut next = Peer::master(&nodes.n1, &others);
    next.expect(&to_master("SDP_OFFER", &payload, "v1"));
    drop(master);
}

/// A channel of the second node, made there.
fn nodes_own(nodes: &Nodes) -> String {
    (0..64)
        .map(|number| format!("pair{number}"))
        .find_map(|name| {
            let before = nodes.n2.scrape().sum("heliograph_channels");
            let arn = create(nodes.n2.plain, &name);
            (nodes.n2.scrape().sum("heliograph_channels") > before).then_some(arn)
        })
        .expect("half of all names are its own")
}

/// The maps differ: each sends to the other what neither has. Nothing goes round.
#[test]
fn nodes_that_do_not_agree_refuse_and_pass_nothing_back() {
    let files = Files::new();
    files.write_map("map", ["0", "1-4095"]);
    let n1 = files.start("n1", 1, "", NONE);
    files.write_map("map", ["1-4095", "0"]);
    let n2 = files.start("n2", 1, "", NONE);
    for node in [&n1, &n2] {
        let refused = call(
            node.plain,
            "/describeSignalingChannel",
            &json!({ "ChannelName": "cam" }),
        );
        refused.refused(503, "ServiceUnavailable");
    }
    for (node, other) in [(&n1, &n2), (&n2, &n1)] {
        other.logged(&["refused", "owner_elsewhere"], 1);
        let opened = node
            .scrape()
            .sum("heliograph_cluster_link_clients_opened_total");
        assert_eq!(opened, 1.0);
    }
}

#[test]
fn tls_ends_at_the_node_of_the_client() {
    let files = Files::new();
    let identity = Identity::new("localhost");
    let arguments = with_tls(&identity);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let nodes = Nodes {
        n1: files.start("n1", 2, "", &arguments),
        n2: files.start("n2", 2, "", &arguments),
        files,
    };
    let client = identity.client(BOTH, None);
    let channels = nodes.channels();
    for arn in &channels {
        for (one, other) in [(&nodes.n1, &nodes.n2), (&nodes.n2, &nodes.n1)] {
            let master = master_query(arn);
            let mut master = Peer::secure_as(one, &master, client.clone());
            let viewer = viewer_query(arn, "v1");
            let mut viewer = Peer::secure_as(other, &viewer, client.clone());
            exchange(&mut master, &mut viewer);
            viewer.close();
            master.close();
        }
    }
    for (agent, is_small) in [("ESP32 Websocket Client", true), ("Mozilla/5.0", false)] {
        for (owner, arn) in [&nodes.n1, &nodes.n2].into_iter().zip(&channels) {
            for front in [&nodes.n1, &nodes.n2] {
                let longest = longest_record(owner, (front, &client), arn, agent);
                assert_eq!(longest <= 4_096 + 16, is_small, "{agent}: {longest}");
            }
        }
    }
    super::meeting::assert_quiet(&nodes);
}

/// An owner that is stopped accepts by its kernel alone: clients get 503 in seconds, and are served when it goes on.
#[test]
fn a_node_that_is_stopped_is_503_until_it_goes_on() {
    let nodes = Nodes::start(1);
    let [own, others] = nodes.channels();
    let mut healthy = HealthyPair::on(&nodes.n1, &own);
    nodes.n2.stop();
    let ask = || {
        call(
            nodes.n1.plain,
            "/describeSignalingChannel",
            &json!({ "ChannelARN": others }),
        )
    };
    ask().refused(503, "ServiceUnavailable");
    healthy.relay();
    nodes.n2.go_on();
    until("an answer", || (ask().status == 200).then_some(()));
}
