//! Faults of messages, as they arrive and as they are delivered.

use super::{clock, make, until_hits};
use crate::http::get;
use crate::peer::{Peer, answer, candidate, offer, status, to_master, to_viewer};
use crate::process::{Broker, arn};
use serde_json::{Value, json};

each_on_shards!(
    messages_are_dropped_expired_refused_and_delayed,
    deliveries_are_dropped_doubled_swapped_and_delayed,
    a_connection_that_ends_with_held_messages_loses_none,
    kept_messages_meet_faults_when_they_are_delivered,
);

fn messages_are_dropped_expired_refused_and_delayed(broker: &Broker) {
    let arn = arn("messages");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    for act in ["drop", "expire"] {
        make(
            broker,
            &json!({ "on": "message", "match": { "action": "SDP_OFFER" }, "do": act }),
        );
        viewer.send(&offer("AAAA"));
        viewer.expect_silence();
        master.expect_silence();
    }
    let act = json!({ "status": { "errorType": "InternalFailure", "statusCode": 500, "description": "Broken." } });
    make(
        broker,
        &json!({ "on": "message", "match": { "role": "viewer" }, "do": act }),
    );
    viewer.send(r#"{"action":"SDP_OFFER","messagePayload":"AAAA","correlationId":"c1"}"#);
    viewer.expect(&status("c1", "InternalFailure", "500", "Broken."));
    make(
        broker,
        &json!({ "on": "message", "match": { "clientId": "v1" }, "do": { "delay": "30s" } }),
    );
    viewer.send(&offer("b25l"));
    viewer.send(&candidate("dHdv"));
    master.expect(&to_master("ICE_CANDIDATE", "dHdv", "v1"));
    master.expect_silence();
    assert!((broker.scrape().sum("heliograph_pending_messages") - 1.0).abs() < 0.5);
    clock(broker, "31s");
    master.expect(&to_master("SDP_OFFER", "b25l", "v1"));
    clock(broker, "2s"); // what was sent is confirmed by then
    assert_eq!(
        outcomes(broker, "messages"),
        ["dropped", "expired", "refused", "delivered", "delivered"]
    );
    let total = |outcome: &str| {
        let name =
            format!(r#"heliograph_messages_total{{action="SDP_OFFER",outcome="{outcome}"}}"#);
        broker.scrape().sum(&name)
    };
    for (outcome, count) in [
        ("withdrawn", 1.0),
        ("expired", 1.0),
        ("refused", 1.0),
        ("delivered", 1.0),
    ] {
        assert!(
            (total(outcome) - count).abs() < 0.5,
            "{outcome}: {}",
            total(outcome)
        );
    }
    master.close();
    viewer.close();
}

fn deliveries_are_dropped_doubled_swapped_and_delayed(broker: &Broker) {
    let arn = arn("deliveries");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    let on = |act: Value| json!({ "on": "delivery", "match": { "role": "viewer", "clientId": "v1" }, "do": act });
    make(broker, &on(json!("drop")));
    master.send(&answer("v1", "ZHJvcA=="));
    make(broker, &on(json!("duplicate")));
    master.send(&answer("v1", "dHdv"));
    viewer.expect(&to_viewer("SDP_ANSWER", "dHdv"));
    viewer.expect(&to_viewer("SDP_ANSWER", "dHdv"));
    // It comes behind the next one, not behind the second it waits at most: so before the third.
    make(broker, &on(json!("reorder")));
    let three = ["b25l", "dHdv", "dHJl"].map(|payload| answer("v1", payload));
    master.send_together(&three);
    for payload in ["dHdv", "b25l", "dHJl"] {
        viewer.expect(&to_viewer("SDP_ANSWER", payload));
    }
    // Without a next one it is sent all the same.
    make(broker, &on(json!("reorder")));
    master.send(&answer("v1", "bGFzdA=="));
    viewer.expect(&to_viewer("SDP_ANSWER", "bGFzdA=="));
    make(broker, &on(json!({ "delay": "50s" })));
    master.send(&answer("v1", "bGF0ZQ=="));
    master.expect_silence();
    viewer.expect_silence();
    clock(broker, "51s");
    viewer.expect(&to_viewer("SDP_ANSWER", "bGF0ZQ=="));
    master.close();
    viewer.close();
}

fn a_connection_that_ends_with_held_messages_loses_none(broker: &Broker) {
    let arn = arn("held");
    let master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    make(
        broker,
        &json!({ "on": "message", "do": { "delay": "5s" }, "times": 3 }),
    );
    for payload in ["b25l", "dHdv", "dHJl"] {
        viewer.send(&candidate(payload));
    }
    viewer.expect_silence();
    viewer.close();
    master.close();
    clock(broker, "6s");
    let mut master = Peer::master(broker, &arn);
    for payload in ["b25l", "dHdv", "dHJl"] {
        master.expect(&to_master("ICE_CANDIDATE", payload, "v1"));
    }
    master.close();
}

fn kept_messages_meet_faults_when_they_are_delivered(broker: &Broker) {
    let arn = arn("kept");
    let on = |payloads: &[&str]| {
        let mut viewer = Peer::viewer(broker, &arn, "v1");
        for payload in payloads {
            viewer.send(&candidate(payload));
        }
        viewer.expect_silence();
        viewer.close();
    };
    let fault = |act: Value| {
        let about = json!({ "channel": "kept", "role": "master" });
        make(
            broker,
            &json!({ "on": "delivery", "match": about, "do": act }),
        );
    };
    let expect = |master: &mut Peer, payloads: &[&str]| {
        for payload in payloads {
            master.expect(&to_master("ICE_CANDIDATE", payload, "v1"));
        }
    };
    let [one, two, three] = ["b25l", "dHdv", "dHJl"];
    for (act, comes) in [
        ("drop", vec![two, three]),
        ("duplicate", vec![one, one, two, three]),
        ("reorder", vec![two, one, three]),
    ] {
        fault(json!(act));
        on(&[one, two, three]);
        let mut master = Peer::master(broker, &arn);
        expect(&mut master, &comes);
        master.expect_silence();
        master.close();
        if act == "drop" {
            assert_eq!(
                outcomes(broker, "kept"),
                ["kept", "kept", "kept", "dropped"]
            );
        }
    }
    // One that no other follows goes on a second later.
    fault(json!("reorder"));
    on(&[one]);
    let mut master = Peer::master(broker, &arn);
    until_hits(broker, 1);
    clock(broker, "2s");
    expect(&mut master, &[one]);
    master.close();
    // A delayed message goes to the master of that time; without one it is kept again.
    fault(json!({ "delay": "30s" }));
    on(&[one, two]);
    let mut master = Peer::master(broker, &arn);
    expect(&mut master, &[two]);
    master.expect_silence();
    master.close();
    clock(broker, "31s");
    assert!((broker.scrape().sum("heliograph_pending_messages") - 1.0).abs() < 0.5);
    let mut master = Peer::master(broker, &arn);
    expect(&mut master, &[one]);
    master.close();
    let total = |outcome: &str| {
        let name =
            format!(r#"heliograph_messages_total{{action="ICE_CANDIDATE",outcome="{outcome}"}}"#);
        broker.scrape().sum(&name)
    };
    // Of twelve one was dropped; copies do not count.
    for (outcome, count) in [("withdrawn", 1.0), ("delivered", 11.0)] {
        let found = total(outcome);
        assert!((found - count).abs() < 0.5, "{outcome}: {found}");
    }
}

/// The outcomes of a channel's messages, of those that were understood.
fn outcomes(broker: &Broker, channel: &str) -> Vec<String> {
    let page = get(broker.admin, &format!("/dev/messages?channel={channel}")).json();
    let rows = page["messages"].as_array().expect("a list").iter();
    let understood = rows.filter(|row| !row["action"].is_null());
    let outcome = |row: &Value| row["outcome"].as_str().expect("a text").to_owned();
    understood.map(outcome).collect()
}
