//! `/dev/faults`: what clients see when a test has something go wrong.

use crate::http::{Answer, Connection, admin, call, create, get};
use crate::peer::{
    Peer, answer, candidate, offer, status, to_master, to_viewer, upgrade, viewer_query,
};
use crate::process::{Broker, arn, command, until};
use serde_json::{Value, json};
use std::time::Duration;

on_shards!(
    requests_are_refused_as_often_as_the_fault_says,
    upgrades_are_refused_delayed_hung_and_reset,
    messages_are_dropped_expired_refused_and_delayed,
    deliveries_are_dropped_doubled_swapped_and_delayed,
    sessions_are_closed_and_told_to_go,
    a_stalled_session_is_sent_nothing_until_it_is_over,
    counts_hold_for_all_shards,
    a_connection_that_ends_with_held_messages_loses_none,
    kept_messages_meet_faults_when_they_are_delivered,
    a_refusal_by_a_fault_names_it,
    faults_have_a_bound_and_name_what_is_wrong,
);

fn requests_are_refused_as_often_as_the_fault_says(broker: &Broker) {
    let name = "refused";
    let arn = create(broker.plain, name, 60);
    let describe = |name: &str| {
        call(
            broker.plain,
            "/describeSignalingChannel",
            &json!({ "ChannelName": name }),
        )
    };
    let fault = json!({
        "on": "api",
        "match": { "channel": "ref*", "operation": "DescribeSignalingChannel" },
        "do": { "refuse": { "error": "AccessDeniedException", "message": "Not today." } },
        "skip": 1, "times": 2,
    });
    let id = make(broker, &fault)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    describe(name).ok();
    for _ in 0..2 {
        assert_eq!(
            describe(name).refused(401, "AccessDeniedException"),
            "Not today."
        );
    }
    describe(name).ok();
    let shown = get(broker.admin, "/dev/faults").json();
    let shown = &shown["faults"][0];
    assert_eq!((&shown["id"], &shown["hits"]), (&json!(id), &json!(2)));
    assert_eq!(
        (&shown["active"], &shown["on"]),
        (&json!(false), &json!("api"))
    );
    make(broker, &json!({ "on": "api", "do": "throttle" }));
    describe(name).refused(400, "ClientLimitExceededException");
    make(
        broker,
        &json!({ "on": "api", "do": { "refuse": { "status": 503 } } }),
    );
    describe(name).refused(503, "InternalFailure");
    // Its answer waits, on a connection that ends with it as well.
    make(
        broker,
        &json!({ "on": "api", "do": { "delay": "10m" }, "times": 2 }),
    );
    for close in ["", "Connection: close\r\n"] {
        let mut connection = Connection::open(broker.plain);
        let body = json!({ "ChannelARN": arn }).to_string();
        let head = "POST /describeSignalingChannel HTTP/1.1\r\nHost: 127.0.0.1\r\n";
        let length = format!("Content-Length: {}\r\n\r\n", body.len());
        connection.send([head, close, &length, &body].concat().as_bytes());
        until_hits(broker, 1);
        clock(broker, "11m");
        assert_eq!(
            connection.answer().expect("an answer").status,
            200,
            "{close}"
        );
        admin(broker.admin, "DELETE", "/dev/faults", "");
        make(broker, &json!({ "on": "api", "do": { "delay": "10m" } }));
    }
    admin(broker.admin, "DELETE", "/dev/faults", "");
    make(broker, &json!({ "on": "api", "do": "reset" }));
    let mut connection = Connection::open(broker.plain);
    connection.send(&crate::http::request("/listSignalingChannels", "{}"));
    connection.assert_closed();
}

fn upgrades_are_refused_delayed_hung_and_reset(broker: &Broker) {
    let arn = arn("connects");
    let query = viewer_query(&arn, "v1");
    let refuse = json!({ "error": "ResourceNotFoundException" });
    make(
        broker,
        &json!({
            "on": "connect",
            "match": { "channel": "connects", "role": "viewer", "clientId": "v?" },
            "do": { "refuse": refuse },
        }),
    );
    let mut master = Peer::master(broker, &arn);
    upgrade(broker, &query, "")
        .0
        .refused(404, "ResourceNotFoundException");
    make(
        broker,
        &json!({ "on": "connect", "do": { "throttle": { "message": "Slow down." } } }),
    );
    let (throttled, _) = upgrade(broker, &query, "");
    assert_eq!(
        throttled.refused(400, "ClientLimitExceededException"),
        "Slow down."
    );
    // Nothing comes until its time is over: then all that was sent meanwhile.
    make(broker, &json!({ "on": "connect", "do": { "delay": "9m" } }));
    let mut late = Connection::open(broker.plain);
    late.send(crate::peer::upgrade_head(broker, &query).as_bytes());
    until_connected(broker, "connects", 2);
    master.send(&answer("v1", "AAAA"));
    master.expect_silence();
    clock(broker, "9m");
    let answered = late.answer().expect("101");
    assert_eq!(answered.status, 101);
    let mut viewer = Peer::after_upgrade(late);
    viewer.expect(&to_viewer("SDP_ANSWER", "AAAA"));
    viewer.close();
    make(broker, &json!({ "on": "connect", "do": "hang" }));
    let mut hung = Connection::open(broker.plain);
    hung.send(crate::peer::upgrade_head(broker, &query).as_bytes());
    until_hits(broker, 1);
    hung.finish();
    hung.assert_closed();
    make(broker, &json!({ "on": "connect", "do": "reset" }));
    let mut reset = Connection::open(broker.plain);
    reset.send(crate::peer::upgrade_head(broker, &query).as_bytes());
    let (stream, _) = reset.into_parts();
    assert_eq!(error_of(stream), std::io::ErrorKind::ConnectionReset);
    drop(master);
}

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

fn sessions_are_closed_and_told_to_go(broker: &Broker) {
    let arn = arn("sessions");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    let on = |role: &str, act: Value| {
        let about = json!({ "channel": "sess*", "role": role });
        json!({ "on": "session", "match": about, "do": act })
    };
    make(
        broker,
        &on(
            "viewer",
            json!({ "close": { "code": 4001, "reason": "as scripted" } }),
        ),
    );
    assert_eq!(viewer.expect_close(4001), "as scripted");
    make(broker, &on("master", json!("reconnectIce")));
    master.expect(r#"{"messageType":"RECONNECT_ICE_SERVER"}"#);
    make(
        broker,
        &on("master", json!({ "goAway": { "grace": "20s" } })),
    );
    master.expect(r#"{"messageType":"GO_AWAY"}"#);
    master.expect_silence();
    clock(broker, "21s");
    master.expect_close(1001);
    // One that is yet to connect.
    make(
        broker,
        &on(
            "viewer",
            json!({ "close": { "code": 1001, "after": "5s" } }),
        ),
    );
    let mut viewer = Peer::viewer(broker, &arn, "v2");
    viewer.expect_silence();
    clock(broker, "6s");
    viewer.expect_close(1001);
}

fn a_stalled_session_is_sent_nothing_until_it_is_over(broker: &Broker) {
    let arn = arn("stalled");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    make(
        broker,
        &json!({ "on": "session", "match": { "role": "master" }, "do": { "stall": { "for": "10m" } } }),
    );
    viewer.send(&offer("AAAA"));
    viewer.expect_silence();
    let outbox = || get(broker.admin, "/channels/stalled").json()["master"]["outboxBytes"].as_u64();
    assert!(outbox() > Some(0), "the offer waits");
    master.send(&answer("v1", "AAAA"));
    viewer.expect(&to_viewer("SDP_ANSWER", "AAAA"));
    clock(broker, "9m");
    assert!(outbox() > Some(0), "it is not closed meanwhile");
    clock(broker, "2m");
    master.expect(&to_master("SDP_OFFER", "AAAA", "v1"));
    drop((master, viewer));
}

fn counts_hold_for_all_shards(broker: &Broker) {
    make(
        broker,
        &json!({ "on": "api", "do": { "refuse": { "status": 500 } }, "times": 20 }),
    );
    let mut refused = 0;
    for number in 0..60 {
        let wanted = json!({ "ChannelName": format!("spread-{number}") });
        refused += u32::from(call(broker.plain, "/createSignalingChannel", &wanted).status == 500);
    }
    assert_eq!(refused, 20);
    // Messages meet their fault where their channel lives.
    make(
        broker,
        &json!({ "on": "message", "do": "drop", "times": 5, "skip": 2 }),
    );
    let mut received = 0;
    for number in 0..12 {
        let arn = arn(&format!("home-{number}"));
        let master = Peer::master(broker, &arn);
        let mut viewer = Peer::viewer(broker, &arn, "v1");
        viewer.send(&offer("AAAA"));
        viewer.expect_silence();
        let shown = get(broker.admin, &format!("/channels/home-{number}")).json();
        received += shown["master"]["messagesOut"].as_u64().expect("a number");
        master.close();
        viewer.close();
    }
    assert_eq!(received, 7);
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
    // What was delayed goes to the master of that time; without one it is kept again.
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

fn a_refusal_by_a_fault_names_it(broker: &Broker) {
    let name = "named";
    create(broker.plain, name, 60);
    let refuse = json!({ "refuse": { "error": "NotAuthorizedException" } });
    let mut made = Vec::new();
    for on in ["connect", "api"] {
        let fault = json!({ "on": on, "match": { "channel": name }, "do": refuse });
        made.push(make(broker, &fault)["id"].clone());
    }
    let (refused, _) = upgrade(broker, &viewer_query(&arn(name), "v1"), "");
    refused.refused(401, "NotAuthorizedException");
    let wanted = json!({ "ChannelName": name });
    let called = call(broker.plain, "/describeSignalingChannel", &wanted);
    called.refused(401, "NotAuthorizedException");
    for (answer, fault) in [&refused, &called].into_iter().zip(&made) {
        let id = answer.header("x-amzn-requestid").expect("an id");
        let found = until("the refusal", || {
            let found = get(broker.admin, &format!("/refusals/{id}")).json();
            (found["source"] == "kept").then_some(found)
        });
        let shown = (&found["check"], &found["fault"], &found["channel"]);
        assert_eq!(shown, (&json!("fault_injected"), fault, &json!(name)));
        let admin = format!("http://{}", broker.admin);
        let why = command().args(["why", id, "--admin", &admin]).output();
        let why = String::from_utf8(why.expect("it runs").stdout).expect("UTF-8");
        let named = format!("by fault {}", fault.as_str().expect("a text"));
        assert!(
            why.contains("fault_injected") && why.contains(&named),
            "{why}"
        );
    }
    // What no fault refuses names none.
    let absent = json!({ "ChannelName": "absent" });
    call(broker.plain, "/describeSignalingChannel", &absent)
        .refused(404, "ResourceNotFoundException");
    let found = until("the refusal", || {
        let found = get(broker.admin, "/refusals?check=channel_absent").json();
        (found["refusals"] != json!([])).then_some(found)
    });
    assert_eq!(found["refusals"][0]["fault"], Value::Null);
}

fn faults_have_a_bound_and_name_what_is_wrong(broker: &Broker) {
    for number in 1..=64 {
        let made = make(
            broker,
            &json!({ "on": "message", "do": "drop", "match": { "channel": "x" } }),
        );
        assert_eq!(made["id"], format!("f{number}"));
    }
    let fault = json!({ "on": "message", "do": "drop" }).to_string();
    let full = admin(broker.admin, "POST", "/dev/faults", &fault);
    assert_eq!(
        (full.status, full.json()["ids"].as_array().map(Vec::len)),
        (409, Some(64))
    );
    assert_eq!(
        admin(broker.admin, "DELETE", "/dev/faults/f64", "").status,
        200
    );
    assert_eq!(
        admin(broker.admin, "DELETE", "/dev/faults/f64", "").status,
        404
    );
    make(
        broker,
        &json!({ "on": "message", "do": "drop", "match": { "channel": "x" } }),
    );
    assert_eq!(
        admin(broker.admin, "DELETE", "/dev/faults", "").json()["removed"],
        64
    );
    for (fault, text) in [
        ("{}", "on: missing; allowed connect"),
        (
            r#"{"on":"message","do":"explode"}"#,
            "do.explode: not with this",
        ),
        (
            r#"{"on":"message","do":"drop","tiems":3}"#,
            "tiems: unknown key; allowed on, match",
        ),
        ("drop", "the body is not JSON"),
    ] {
        let answer = admin(broker.admin, "POST", "/dev/faults", fault);
        let error = answer.json()["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(answer.status == 400 && error.starts_with(text), "{error}");
    }
    assert_eq!(get(broker.admin, "/dev/faults").json()["faults"], json!([]));
}

fn make(broker: &Broker, fault: &Value) -> Value {
    let answer: Answer = admin(broker.admin, "POST", "/dev/faults", &fault.to_string());
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

fn clock(broker: &Broker, advance: &str) {
    let body = json!({ "advance": advance }).to_string();
    assert_eq!(admin(broker.admin, "POST", "/dev/clock", &body).status, 200);
}

/// What became of the messages of a channel that were understood.
fn outcomes(broker: &Broker, channel: &str) -> Vec<String> {
    let page = get(broker.admin, &format!("/dev/messages?channel={channel}")).json();
    let rows = page["messages"].as_array().expect("a list").iter();
    let understood = rows.filter(|row| !row["action"].is_null());
    let outcome = |row: &Value| row["outcome"].as_str().expect("a text").to_owned();
    understood.map(outcome).collect()
}

/// Waits until the last fault has acted this often.
fn until_hits(broker: &Broker, hits: u64) {
    until("the fault", || {
        let shown = get(broker.admin, "/dev/faults").json();
        let last = shown["faults"]
            .as_array()
            .and_then(|all| all.last().cloned())?;
        (last["hits"].as_u64() == Some(hits)).then_some(())
    });
}

fn until_connected(broker: &Broker, channel: &str, number: usize) {
    let path = format!("/dev/connections?channel={channel}&min={number}&wait=20s");
    let shown = get(broker.admin, &path).json();
    assert_eq!(
        shown["connections"].as_array().map(Vec::len),
        Some(number),
        "{shown}"
    );
}

/// How a connection ends without an answer.
fn error_of(mut stream: std::net::TcpStream) -> std::io::ErrorKind {
    use std::io::Read;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    match stream.read(&mut [0; 64]) {
        Ok(bytes) => panic!("{bytes} bytes instead of a reset"),
        Err(error) => error.kind(),
    }
}
