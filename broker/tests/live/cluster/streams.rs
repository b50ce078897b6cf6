//! Clients of another node as streams of links.

use super::meeting::{assert_gone, assert_quiet, exchange, meet_again, meet_in_all_ways};
use super::nodes::{Files, NONE, Nodes, call};
use crate::http::{Connection, request};
use crate::peer::{
    HealthyPair, Peer, answer, candidate, offer, to_master, to_viewer, upgrade_head, viewer_query,
};
use crate::process::Broker;
use serde_json::json;
use std::time::{Duration, Instant};
use testkit::{until, until_true};

/// Two nodes with links between them, and more lines of their configuration.
fn nodes(shards: [u16; 2], more: &str) -> Nodes {
    let files = Files::new();
    Nodes {
        n1: files.start("n1", shards[0], more, NONE),
        n2: files.start("n2", shards[1], more, NONE),
        files,
    }
}

fn links(node: &Broker) -> f64 {
    node.scrape().sum("heliograph_cluster_links")
}

#[test]
fn a_master_on_one_node_meets_a_viewer_on_the_other() {
    let nodes = nodes([2, 3], "");
    meet_in_all_ways(&nodes);
    assert_quiet(&nodes);
    assert!(links(&nodes.n1) >= 2.0, "one each way at least");
    assert_eq!(links(&nodes.n1), links(&nodes.n2));
}

/// Of a connection that is kept alive each request may be for another node, also those that come together.
#[test]
fn calls_are_streams_and_their_connection_goes_on() {
    let nodes = nodes([1, 2], "");
    let [own, others] = nodes.channels();
    let path = "/describeSignalingChannel";
    let mut connection = Connection::open(nodes.n1.plain);
    let asked = |arn: &String| json!({ "ChannelARN": arn });
    for arn in [&own, &others, &others, &own] {
        let answer = connection.call(path, &asked(arn));
        assert_eq!((answer.status, answer.header("connection")), (200, None));
        assert_eq!(answer.ok()["ChannelInfo"]["ChannelARN"], arn.as_str());
    }
    let request = |arn: &String| {
        let body = asked(arn).to_string();
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let together = [&others, &own, &others, &others];
    let bytes: String = together.map(request).concat();
    connection.send(bytes.as_bytes());
    for arn in together {
        let answer = connection.answer().expect("an answer").ok();
        assert_eq!(answer["ChannelInfo"]["ChannelARN"], arn.as_str());
    }
    let gone = call(
        nodes.n1.plain,
        path,
        &json!({ "ChannelARN": others.replace("cam", "no") }),
    );
    assert_eq!(gone.status, 404);
    drop(connection);
    let handshakes = "heliograph_tls_handshakes_total"; // one for each link, and none for a call
    assert!(nodes.n1.scrape().sum(handshakes) <= 4.0);
    assert_quiet(&nodes);
}

/// A call that waits for a master: its answer, the connection behind it, and a caller that leaves.
#[test]
fn a_call_of_alexa_waits_at_the_owner_for_as_long_as_its_caller() {
    let nodes = nodes([2, 2], "");
    let [_, others] = nodes.channels();
    let ask = |connection: &mut Connection, sender: &str| {
        let body =
            json!({ "ChannelARN": others, "SenderClientId": sender, "MessagePayload": "b2Zm" });
        let path = "/v1/send-alexa-offer-to-master";
        connection.send(&request(path, &body.to_string()));
    };
    let waiting = |calls: f64| {
        let all = || nodes.n2.scrape().sum("heliograph_waiting_calls");
        until_true("calls that wait", || all() == calls);
    };
    let [mut caller, mut leaves] = [(), ()].map(|()| Connection::open(nodes.n1.plain));
    ask(&mut caller, "alexa.1");
    ask(&mut leaves, "alexa.2");
    waiting(2.0);
    drop(leaves);
    waiting(1.0);
    let mut master = Peer::master(&nodes.n1, &others);
    for round in ["YQ==", "Yg=="] {
        master.expect(&to_master("SDP_OFFER", "b2Zm", "alexa.1"));
        master.send(&answer("alexa.1", round));
        let answered = caller.answer().expect("an answer").ok();
        assert_eq!(answered, json!({ "Answer": round }));
        ask(&mut caller, "alexa.1");
    }
    master.expect(&to_master("SDP_OFFER", "b2Zm", "alexa.1"));
    nodes.n2.signal("KILL");
    let unknown = caller.answer().expect("an answer");
    unknown.refused(503, "ServiceUnavailable");
}

/// A player's token and form go to the owner, which judges, waits and answers.
#[test]
fn a_player_is_answered_by_the_owner() {
    let nodes = nodes([2, 2], "[whep]\non = true\n");
    let [_, others] = nodes.channels();
    let name = others.split('/').nth(1).expect("as written");
    let mut master = Peer::master(&nodes.n2, &others);
    let head = format!("/whep/{name}?X-Amz-ClientId=tv HTTP/1.1\r\nHost: localhost\r\n");
    let mut player = Connection::open(nodes.n1.plain);
    let offer = "Content-Type: application/sdp\r\nContent-Length: 7\r\n\r\nm=video";
    for _ in 0..2 {
        player.send(format!("POST {head}{offer}").as_bytes());
        let text = master.receive().into_text().expect("a text");
        let text: serde_json::Value = serde_json::from_str(&text).expect("a message");
        let id = text["senderClientId"].as_str().expect("an id");
        assert!(id.starts_with("tv-"), "{id}");
        // {"type":"answer","sdp":"m=\r\na=end-of-candidates\r\n"}
        let sdp = "eyJ0eXBlIjoiYW5zd2VyIiwic2RwIjoibT1cclxuYT1lbmQtb2YtY2FuZGlkYXRlc1xyXG4ifQ==";
        master.send(&answer(id, sdp));
        let answered = player.answer().expect("an answer");
        assert_eq!(answered.status, 201, "{}", answered.text());
        assert_eq!(answered.text(), "m=\r\na=end-of-candidates\r\n");
        player.send(format!("OPTIONS {head}\r\n").as_bytes());
        assert_eq!(player.answer().expect("an answer").status, 200);
    }
    let absent = head.replace(name, "absent");
    for node in [&nodes.n1, &nodes.n2] {
        let mut player = Connection::open(node.plain);
        player.send(format!("POST {absent}{offer}").as_bytes());
        assert_eq!(player.answer().expect("an answer").status, 404);
    }
    // A player that hangs up: the owner withdraws its offer.
    master.close();
    player.send(format!("POST {head}{offer}").as_bytes());
    let waiting = || nodes.n2.scrape().sum("heliograph_waiting_calls");
    until_true("the call waits", || waiting() == 1.0);
    drop(player);
    until_true("the call is withdrawn", || waiting() == 0.0);
}

#[test]
fn clients_of_a_node_that_is_killed_are_closed_and_come_back_to_it() {
    let nodes = nodes([2, 2], "");
    let [own, others] = nodes.channels();
    let Nodes { n1, n2, files } = nodes;
    let mut healthy = HealthyPair::on(&n1, &own);
    let mut master = Peer::master(&n1, &others);
    let mut viewer = Peer::viewer(&n1, &others, "v1");
    exchange(&mut master, &mut viewer);
    n2.signal("KILL");
    master.expect_close(1001);
    viewer.expect_close(1001);
    drop((master, viewer));
    assert_gone(&n1);
    let asked = json!({ "ChannelARN": others });
    let refused = call(n1.plain, "/describeSignalingChannel", &asked);
    refused.refused(503, "ServiceUnavailable");
    healthy.relay();
    drop(n2);
    let n2 = files.start("n2", 1, "", NONE); // with fewer shards
    meet_again(&n1, &n2);
    healthy.relay();
}

/// An owner that hangs for some seconds: what is new is refused, and nobody who was there is closed.
#[test]
fn an_owner_that_hangs_is_doubted_and_not_given_up() {
    let nodes = nodes([1, 1], "");
    let [_, others] = nodes.channels();
    let mut master = Peer::master(&nodes.n1, &others);
    let mut viewer = Peer::viewer(&nodes.n1, &others, "v1");
    exchange(&mut master, &mut viewer);
    nodes.n2.stop();
    viewer.send(&offer("aGVsZA=="));
    let asked = json!({ "ChannelARN": others });
    let refused = call(nodes.n1.plain, "/describeSignalingChannel", &asked);
    refused.refused(503, "ServiceUnavailable");
    until_true("a link that is doubtful", || {
        nodes.n1.scrape().sum("heliograph_cluster_link_doubtful") == 1.0
    });
    let mut upgrade = Connection::open(nodes.n1.plain);
    upgrade.send(upgrade_head(&nodes.n1, &viewer_query(&others, "v2")).as_bytes());
    let answer = upgrade.answer().expect("an answer");
    answer.refused(503, "ServiceUnavailable");
    nodes.n2.go_on();
    master.expect(&to_master("SDP_OFFER", "aGVsZA==", "v1"));
    exchange(&mut master, &mut viewer);
    let mut newcomer = Peer::viewer(&nodes.n1, &others, "v2");
    newcomer.send(&offer("bmV3"));
    master.expect(&to_master("SDP_OFFER", "bmV3", "v2"));
    for peer in [newcomer, viewer, master] {
        peer.close();
    }
    assert_gone(&nodes.n1);
}

/// What the machine of a client has not confirmed when its front is gone comes again, on the next connection.
#[test]
fn messages_that_a_killed_front_held_go_to_the_next_connection() {
    let nodes = nodes([1, 1], "");
    let [_, others] = nodes.channels();
    let lost = Peer::master(&nodes.n1, &others);
    let mut viewer = Peer::viewer(&nodes.n2, &others, "v1");
    nodes.n1.stop();
    viewer.send(&offer("b2ZmZXI="));
    viewer.send(&candidate("Y2FuZA=="));
    until("messages that wait", || {
        let waits = nodes.n2.scrape().sum("heliograph_written_messages");
        (waits == 2.0).then_some(())
    });
    nodes.n1.signal("KILL");
    let mut master = Peer::master(&nodes.n2, &others);
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    master.expect(&to_master("ICE_CANDIDATE", "Y2FuZA==", "v1"));
    master.send(&answer("v1", "YW5zd2Vy"));
    viewer.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
    drop(lost);
}

/// A turn of a link writes one piece of each stream: what is left goes in the next one, not with the next event.
#[test]
fn a_client_on_a_link_gets_much_at_once() {
    let limits = "[limits]\noutbox_bytes = 8388608\n[quotas]\noff = true";
    let nodes = nodes([1, 1], limits);
    let [_, others] = nodes.channels();
    let mut master = Peer::master(&nodes.n1, &others);
    let mut viewer = Peer::viewer(&nodes.n2, &others, "v1");
    let payload = "A".repeat(30_000);
    let begun = Instant::now();
    for _ in 0..MUCH {
        viewer.send(&candidate(&payload));
    }
    for _ in 0..MUCH {
        master.expect(&to_master("ICE_CANDIDATE", &payload, "v1"));
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?} for 6 MB");
}

/// Messages of 30 KB: one piece for each tick of a shard would take more than a minute.
const MUCH: usize = 200;
