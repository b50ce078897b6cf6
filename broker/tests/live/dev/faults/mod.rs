//! `/dev/faults`: what clients see when a test has something go wrong.

mod messages;
mod requests;
mod rerouted;
mod sessions;
mod triggered;

use crate::http::{Answer, admin, call, get};
use crate::peer::{Peer, offer};
use crate::process::{Broker, arn};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::until;

each_on_shards!(
    counts_hold_for_all_shards,
    faults_have_a_bound_and_name_what_is_wrong
);

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
    assert_eq!(full.status, 409);
    assert_eq!(full.json()["ids"].as_array().map(Vec::len), Some(64));
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
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("{}", "on: missing; expected connect"),
        (
            r#"{"on":"delivery","do":{"corupt":"base64"}}"#,
            "do.corupt: not with this \"on\"; expected drop, delay, duplicate, reorder, corrupt, goAway, close, reset, \
             stall, halfOpen, reconnectIce, send; the nearest is corrupt",
        ),
        (r#"{"on":"message","do":"explode"}"#, "do.explode: not with this"),
        (r#"{"on":"message","do":"drop","tiems":3}"#, "tiems: unknown key; expected on, match"),
        ("drop", "the body is not JSON"),
    ];
    for (fault, text) in cases {
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

/// The error by which a connection ends without an answer.
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
