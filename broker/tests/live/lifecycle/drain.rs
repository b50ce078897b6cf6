//! The drain: every client is notified, messages are relayed meanwhile, and what remains is closed
//! (codec/PROTOCOL.md, LIFE-4).

use crate::http::{Connection, get, request};
use crate::peer::{
    HealthyPair, Peer, answer, master_query, offer, to_master, to_viewer, upgrade, viewer_query,
};
use crate::process::{Broker, arn};
use serde_json::json;
use std::time::{Duration, Instant};
use testkit::until_true;

const GO_AWAY: &str = r#"{"messageType":"GO_AWAY"}"#;

#[test]
fn a_drain_sends_go_away_to_all_and_then_closes() {
    let mut broker = slowly_drained(2);
    let started = drained(&mut broker);
    assert!(
        started.elapsed() < Duration::from_secs(13),
        "{:?}",
        started.elapsed()
    );
}

/// With the drain of a server in service: that of `--dev` is over in a second.
fn slowly_drained(shards: u16) -> Broker {
    Broker::configured("[timeouts]\ndrain = \"12s\"\n", shards)
}

fn drained(broker: &mut Broker) -> Instant {
    let arn = arn("demo");
    let mut older = Peer::master(broker, &arn);
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::secure(broker, &viewer_query(&arn, "v1"));
    let mut waiting = Connection::open(broker.plain);
    let body = json!({"ChannelARN": arn, "SenderClientId": "alexa", "MessagePayload": "b2ZmZXI="});
    waiting.send(&request(
        "/v1/send-alexa-offer-to-master",
        &body.to_string(),
    ));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "alexa"));
    let mut kept = Connection::open(broker.plain);
    kept.call("/describeSignalingChannel", &json!({"ChannelARN": arn}))
        .ok();
    assert_eq!(get(broker.admin, "/ready").status, 200);

    let started = Instant::now();
    broker.signal("TERM");
    until_true("the drain", || get(broker.admin, "/ready").status == 503);
    assert_eq!(get(broker.admin, "/live").status, 200);
    // The process drains before its shards have learnt of it.
    let mut last = None;
    until_true("the drain of its shard", || {
        kept.send(&request("/describeSignalingChannel", "{}"));
        let answer = kept.answer().expect("an answer");
        last.insert(answer).status != 400
    });
    let refused = last.expect("an answer");
    refused.refused(503, "ServiceUnavailable");
    assert_eq!(
        refused
            .header("connection")
            .map(str::to_ascii_lowercase)
            .as_deref(),
        Some("close")
    );
    kept.assert_closed();
    upgrade(broker, &master_query(&arn), "")
        .0
        .refused(503, "ServiceUnavailable");
    // Relaying and waiting calls go on.
    viewer.send(&offer("bGFzdA=="));
    loop {
        let text = master.receive().into_text().expect("a text");
        if text.as_str() == to_master("SDP_OFFER", "bGFzdA==", "v1") {
            break;
        }
        assert_eq!(text.as_str(), GO_AWAY);
    }
    older.send(&answer("v1", "YW5zd2Vy"));
    viewer.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
    master.send(&answer("alexa", "YWxleGE="));
    assert_eq!(
        waiting.answer().expect("an answer").json(),
        json!({"Answer": "YWxleGE="})
    );
    // They stay until the last two seconds, and no client leaves by itself.
    viewer.expect(GO_AWAY);
    assert!(started.elapsed() > Duration::from_secs(9));
    for peer in [&mut master, &mut viewer, &mut older] {
        peer.expect_close(1001);
    }
    drop((master, viewer, older));
    assert_eq!(broker.ended_within(Duration::from_secs(20)).code(), Some(0));
    started
}

#[test]
fn a_drain_ends_when_everybody_has_left() {
    let mut broker = slowly_drained(2);
    let pair = HealthyPair::new(&broker);
    broker.signal("TERM");
    while get(broker.admin, "/ready").status != 503 {}
    drop(pair);
    assert_eq!(broker.ended_within(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut broker = slowly_drained(2);
    let _pair = HealthyPair::new(&broker);
    broker.signal("TERM");
    while get(broker.admin, "/ready").status != 503 {}
    broker.signal("INT");
    assert_eq!(broker.ended_within(Duration::from_secs(5)).code(), Some(1));
}
