//! `/dev/clock`: time that passes at once, for tests of clients.

use crate::http::{Answer, admin, call, create, get};
use crate::peer::{Peer, offer, to_master, viewer_query};
use crate::process::{Broker, arn};
use serde_json::json;
use testkit::until_true;

const GO_AWAY: &str = r#"{"messageType":"GO_AWAY"}"#;

each_on_shards!(
    an_advance_ends_what_is_kept_before_it_is_answered,
    an_advance_brings_all_that_is_due_in_its_order,
    a_skew_moves_the_calendar_alone,
    an_id_of_the_future_is_read,
);

fn an_advance_ends_what_is_kept_before_it_is_answered(broker: &Broker) {
    // On every shard.
    let names: Vec<String> = (0..8).map(|number| format!("kept-{number}")).collect();
    let mut arns = Vec::new();
    for name in &names {
        let arn = create(broker.plain, name, 60);
        let mut viewer = Peer::viewer(broker, &arn, "v1");
        viewer.send(&offer("b2ZmZXI="));
        viewer.expect_silence();
        viewer.close();
        arns.push(arn);
    }
    let kept = || -> usize {
        let shown = |name: &String| get(broker.admin, &format!("/channels/{name}")).json();
        let pending = |name| shown(name)["pending"].as_array().map_or(0, Vec::len);
        names.iter().map(pending).sum()
    };
    clock(broker, "POST", r#"{"advance":"50s"}"#);
    assert_eq!(kept(), 8, "MessageTtlSeconds is 60");
    let moved = clock(broker, "POST", r#"{"advance":"11s"}"#).json();
    assert_eq!(kept(), 0);
    assert_eq!(moved["advanced"], "61s");
    let expired = r#"heliograph_messages_total{action="SDP_OFFER",outcome="expired"}"#;
    assert!((broker.scrape().sum(expired) - 8.0).abs() < 0.5);
    // Later messages have their whole time.
    let mut viewer = Peer::viewer(broker, &arns[0], "v1");
    viewer.send(&offer("b2ZmZXI="));
    viewer.expect_silence();
    assert_eq!(kept(), 1);
    viewer.close();
}

/// Messages that a fault holds back, GO_AWAY, and the end of the connection: each before the next, in one advance.
fn an_advance_brings_all_that_is_due_in_its_order(broker: &Broker) {
    let arn = arn("hours");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::secure(broker, &viewer_query(&arn, "v1"));
    let fault = r#"{"on":"delivery","match":{"channel":"hours"},"do":{"delay":"10s"}}"#;
    let made = admin(broker.admin, "POST", "/dev/faults", fault);
    assert_eq!(made.status, 201, "{}", made.text());
    viewer.send(&offer("b2ZmZXI="));
    viewer.expect_silence();
    clock(broker, "POST", r#"{"advance":"2h"}"#);
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    for peer in [&mut master, &mut viewer] {
        peer.expect(GO_AWAY);
        assert_eq!(peer.expect_close(1001), "Going away");
    }
}

#[test]
fn why_names_the_proxy_on_whose_time_a_connection_ended() {
    let broker = Broker::configured("[timeouts]\nping = \"off\"\n", 1);
    for (advance, proxy) in [
        ("30s", "application load balancers of Google Cloud"),
        ("50s", "HAProxy"),
        (
            "60s",
            "nginx (proxy_read_timeout) and AWS' application load balancers",
        ),
        ("100s", "Cloudflare"),
        ("40s", ""),
    ] {
        let arn = arn(&format!("after-{advance}"));
        let viewer = Peer::viewer(&broker, &arn, "v1");
        clock(&broker, "POST", &format!(r#"{{"advance":"{advance}"}}"#));
        drop(viewer);
        let trace = format!("/channels/after-{advance}/trace");
        until_true("its end", || {
            !get(broker.admin, &trace).json()["viewers"][0]["left"].is_null()
        });
        for named in [&*arn, &format!("after-{advance}")] {
            let said = broker.asked(&["why", "--channel", named]).stdout;
            assert_eq!(said.is_empty(), proxy.is_empty(), "{advance}: {said}");
            assert!(said.contains(proxy), "{advance}: {said}");
        }
    }
}

fn a_skew_moves_the_calendar_alone(broker: &Broker) {
    let date = || {
        let answer = call(broker.plain, "/listSignalingChannels", &json!({}));
        answer.header("date").expect("a date").to_owned()
    };
    let mut master = Peer::master(broker, &arn("skewed"));
    let year = |text: &str| text.split(' ').nth(3).map(str::to_owned);
    let before = date();
    let shown = clock(broker, "POST", r#"{"wallSkew":"-7d"}"#).json();
    assert_eq!(shown["wallSkew"], "-7d");
    assert_eq!(shown["advanced"], "0s");
    let now = shown["now"].as_str().expect("a date").to_owned();
    let skewed = date();
    assert_ne!(skewed.get(..11), before.get(..11), "another day");
    assert_eq!(year(&skewed).as_deref(), now.get(..4));
    assert_eq!(clock(broker, "DELETE", "").json()["wallSkew"], "0s");
    assert_eq!(date().get(..11), before.get(..11));
    master.expect_silence();
    master.close();
}

/// Ids of refusals say when they were made, by the calendar that was moved, and are read also after it was set back.
fn an_id_of_the_future_is_read(broker: &Broker) {
    clock(broker, "POST", r#"{"wallSkew":"10m"}"#);
    let absent = json!({ "ChannelName": "nobody-made-it" });
    let refused = call(broker.plain, "/describeSignalingChannel", &absent);
    assert_eq!(refused.status, 404);
    let id = refused.header("x-amzn-requestid").expect("an id");
    clock(broker, "DELETE", "");
    let refusal = get(broker.admin, &format!("/refusals/{id}")).json();
    assert!(refusal["shard"].is_number(), "{refusal}");
}

fn clock(broker: &Broker, method: &str, body: &str) -> Answer {
    let answer = admin(broker.admin, method, "/dev/clock", body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}
