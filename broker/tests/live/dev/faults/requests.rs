//! Faults of API calls and upgrades.

use super::{clock, error_of, make, until_hits};
use crate::http::{Connection, admin, call, create, get};
use crate::peer::{Peer, answer, to_viewer, upgrade, viewer_query};
use crate::process::{Broker, arn};
use serde_json::{Value, json};
use testkit::until;

on_shards!(
    requests_are_refused_as_often_as_the_fault_says,
    upgrades_are_refused_delayed_hung_and_reset,
    a_refusal_by_a_fault_names_it,
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
    assert_eq!(shown["active"], false);
    assert_eq!(shown["on"], "api");
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
        let why = broker.asked(&["why", id]).stdout;
        let named = format!("by fault {}", fault.as_str().expect("a text"));
        testkit::assert_has(&why, &["fault_injected", &named]);
    }
    // A refusal that is no fault's names none.
    let absent = json!({ "ChannelName": "absent" });
    call(broker.plain, "/describeSignalingChannel", &absent)
        .refused(404, "ResourceNotFoundException");
    let found = until("the refusal", || {
        let found = get(broker.admin, "/refusals?check=channel_absent").json();
        (found["refusals"] != json!([])).then_some(found)
    });
    assert_eq!(found["refusals"][0]["fault"], Value::Null);
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
