//! `POST /dev/reset`: tests that share a broker.

use crate::http::{Answer, admin, call, get};
use crate::peer::{Peer, offer};
use crate::process::{Broker, arn};
use serde_json::{Value, json};
use std::thread;

on_shards!(
    a_prefix_ends_what_is_its_own_and_nothing_else,
    everything_ends_without_a_prefix,
    many_tests_share_a_broker,
);

fn a_prefix_ends_what_is_its_own_and_nothing_else(broker: &Broker) {
    let fault = |channel: &str| {
        let fault =
            json!({ "on": "message", "match": { "channel": channel }, "do": { "delay": "10m" } });
        admin(broker.admin, "POST", "/dev/faults", &fault.to_string());
    };
    for channel in ["t1-*", "t2-*"] {
        fault(channel);
    }
    let mut viewers: Vec<Peer> = ["t1-a", "t1-b", "t2-a"]
        .iter()
        .map(|name| {
            let mut viewer = Peer::viewer(broker, &arn(name), "v1");
            viewer.send(&offer("AAAA"));
            viewer.send(&offer("AAAA"));
            viewer.expect_silence();
            viewer
        })
        .collect();
    let mut other = viewers.pop().expect("three");
    let done = reset(broker, json!({ "channelPrefix": "t1-" }));
    // Of each viewer two offers and what asked for silence; its channel's fault held one offer back.
    assert_eq!(
        done,
        json!({ "connections": 2, "channels": 2, "faults": 1, "messages": 6 })
    );
    for mut viewer in viewers {
        assert_eq!(viewer.expect_close(1001), "Channel deleted");
    }
    assert!((broker.scrape().sum("heliograph_pending_messages") - 2.0).abs() < 0.5);
    other.expect_silence();
    let faults = get(broker.admin, "/dev/faults").json();
    assert_eq!(faults["faults"].as_array().map(Vec::len), Some(1));
    assert_eq!(get(broker.admin, "/channels/t1-a").status, 404);
    assert_eq!(get(broker.admin, "/channels/t2-a").status, 200);
    let copies = get(broker.admin, "/dev/messages").json();
    assert_eq!(copies["messages"].as_array().map(Vec::len), Some(4));
    let nothing = json!({ "connections": 0, "channels": 0, "faults": 0, "messages": 0 });
    assert_eq!(reset(broker, json!({ "channelPrefix": "t1-" })), nothing);
    other.close();
}

fn everything_ends_without_a_prefix(broker: &Broker) {
    let mut master = Peer::master(broker, &arn("one"));
    let fault = json!({ "on": "session", "do": "stall" });
    admin(broker.admin, "POST", "/dev/faults", &fault.to_string());
    admin(broker.admin, "POST", "/dev/clock", r#"{"wallSkew":"-10m"}"#);
    for number in 0..100 {
        let wanted = json!({ "ChannelName": format!("many-{number}") });
        call(broker.plain, "/createSignalingChannel", &wanted).ok();
    }
    let done = reset(broker, json!({}));
    assert_eq!(done["connections"], 1);
    assert_eq!(done["channels"], 101);
    // Also one that a fault keeps silent.
    master.expect_close(1001);
    let list = call(broker.plain, "/listSignalingChannels", &json!({})).ok();
    assert_eq!(list["ChannelInfoList"], json!([]));
    assert_eq!(get(broker.admin, "/dev/clock").json()["wallSkew"], "0s");
    let answer = admin(broker.admin, "POST", "/dev/reset", r#"{"prefix":"x"}"#);
    assert_eq!(answer.status, 400);
    testkit::assert_has(
        &answer.text(),
        &["prefix: unknown key; expected channelPrefix"],
    );
}

fn many_tests_share_a_broker(broker: &Broker) {
    let tests = (0..8).map(|test| {
        let prefix = format!("w{test}-");
        move || {
            for round in 0..4 {
                let name = format!("{prefix}{round}");
                let mut master = Peer::master(broker, &arn(&name));
                let mut viewer = Peer::viewer(broker, &arn(&name), "v1");
                viewer.send(&offer("AAAA"));
                viewer.expect_silence();
                let done = reset(broker, json!({ "channelPrefix": prefix }));
                assert_eq!(done["connections"], 2);
                assert_eq!(done["channels"], 1);
                master.expect_close(1001);
                viewer.expect_close(1001);
            }
        }
    });
    thread::scope(|scope| {
        for test in tests {
            scope.spawn(test);
        }
    });
}

fn reset(broker: &Broker, body: Value) -> Value {
    let answer: Answer = admin(broker.admin, "POST", "/dev/reset", &body.to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}
