//! SendAlexaOfferToMaster: an HTTP call that waits for the master's answer (codec/PROTOCOL.md, ALEXA).

use crate::http::{Answer, Connection, call, create};
use crate::peer::{Peer, answer, candidate_to, offer, to_master, to_viewer};
use crate::process::{Broker, arn};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

const PATH: &str = "/v1/send-alexa-offer-to-master";

on_shards!(
    the_answer_comes_back,
    several_calls_wait_at_once,
    an_offer_waits_for_the_master,
    a_newer_call_of_a_sender_ends_the_older,
    a_caller_that_leaves_withdraws_its_offer,
    the_next_master_gets_an_unanswered_offer,
    refusals_have_their_types,
);

fn the_answer_comes_back(broker: &Broker) {
    let arn = arn("demo");
    let mut master = Peer::master(broker, &arn);
    let mut waiting = wait(broker, &arn, "alexa.1", "b2ZmZXI=");
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "alexa.1"));
    master.send(&candidate_to("alexa.1", "Y2Fu"));
    master.send(&answer("alexa.1", "YW5zd2Vy"));
    assert_eq!(
        waiting.answer().expect("an answer").ok(),
        json!({"Answer": "YW5zd2Vy"})
    );
    // The connection is kept alive, the candidate went nowhere, and a second answer finds nobody waiting.
    master.expect_silence();
    let again =
        json!({"ChannelARN": arn, "SenderClientId": "alexa.1", "MessagePayload": "c2Vjb25k"});
    waiting.send(&crate::http::request(PATH, &again.to_string()));
    master.expect(&to_master("SDP_OFFER", "c2Vjb25k", "alexa.1"));
    master.send(&answer("alexa.1", "YWdhaW4="));
    assert_eq!(
        waiting.answer().expect("an answer").ok(),
        json!({"Answer": "YWdhaW4="})
    );
}

fn several_calls_wait_at_once(broker: &Broker) {
    let arn = arn("demo");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    let mut waiting: Vec<Connection> = (0..6)
        .map(|n| wait(broker, &arn, &format!("alexa{n}"), &format!("offer{n}==")))
        .collect();
    let mut offers: Vec<String> = (0..6)
        .map(|_| master.receive().into_text().expect("text").to_string())
        .collect();
    offers.sort();
    let mut expected: Vec<String> = (0..6)
        .map(|n| to_master("SDP_OFFER", &format!("offer{n}=="), &format!("alexa{n}")))
        .collect();
    expected.sort();
    assert_eq!(offers, expected);
    viewer.send(&offer("dmlld2Vy"));
    master.expect(&to_master("SDP_OFFER", "dmlld2Vy", "v1"));
    for n in (0..6).rev() {
        master.send(&answer(&format!("alexa{n}"), &format!("answer{n}=")));
    }
    master.send(&answer("v1", "dG8tdmlld2Vy"));
    for (n, connection) in waiting.iter_mut().enumerate() {
        assert_eq!(
            connection.answer().expect("an answer").ok(),
            json!({"Answer": format!("answer{n}=")})
        );
    }
    viewer.expect(&to_viewer("SDP_ANSWER", "dG8tdmlld2Vy"));
}

fn an_offer_waits_for_the_master(broker: &Broker) {
    let arn = create(broker.plain, "absent", 60);
    let mut waiting = wait(broker, &arn, "alexa.1", "b2ZmZXI=");
    wait_for_waiting_calls(broker, &arn);
    let mut master = Peer::master(broker, &arn);
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "alexa.1"));
    master.send(&answer("alexa.1", "YW5zd2Vy"));
    assert_eq!(
        waiting.answer().expect("an answer").ok(),
        json!({"Answer": "YW5zd2Vy"})
    );
}

fn a_newer_call_of_a_sender_ends_the_older(broker: &Broker) {
    let arn = arn("demo");
    let mut master = Peer::master(broker, &arn);
    let mut older = wait(broker, &arn, "alexa.1", "b2xk");
    master.expect(&to_master("SDP_OFFER", "b2xk", "alexa.1"));
    let mut newer = wait(broker, &arn, "alexa.1", "bmV3");
    assert_eq!(
        older.answer().expect("an answer").ok(),
        json!({"Answer": null})
    );
    master.expect(&to_master("SDP_OFFER", "bmV3", "alexa.1"));
    master.send(&answer("alexa.1", "YW5zd2Vy"));
    assert_eq!(
        newer.answer().expect("an answer").ok(),
        json!({"Answer": "YW5zd2Vy"})
    );
}

fn a_caller_that_leaves_withdraws_its_offer(broker: &Broker) {
    let arn = arn("demo");
    // A master has been here, so that the channel exists; it is gone when the call comes.
    Peer::master(broker, &arn).close();
    let leaving = wait(broker, &arn, "alexa.1", "d2l0aGRyYXdu");
    wait_for_waiting_calls(broker, &arn);
    drop(leaving);
    // The end of a connection is noticed in its own time: a master that comes too early still gets the offer, one that
    // comes after it does not.
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let mut viewer = Peer::viewer(broker, &arn, "marker");
        viewer.send(&offer("bWFya2Vy"));
        viewer.expect_silence();
        let mut master = Peer::master(broker, &arn);
        let first = master.receive().into_text().expect("a text").to_string();
        if first == to_master("SDP_OFFER", "bWFya2Vy", "marker") {
            break;
        }
        assert_eq!(first, to_master("SDP_OFFER", "d2l0aGRyYXdu", "alexa.1"));
        assert!(
            Instant::now() < until,
            "the offer of a caller that left is still there"
        );
        master.close();
    }
}

fn the_next_master_gets_an_unanswered_offer(broker: &Broker) {
    let arn = arn("demo");
    let mut first = Peer::master(broker, &arn);
    let mut waiting = wait(broker, &arn, "alexa.1", "b2ZmZXI=");
    first.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "alexa.1"));
    first.close();
    let mut second = Peer::master(broker, &arn);
    second.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "alexa.1"));
    let mut third = Peer::master(broker, &arn);
    third.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "alexa.1"));
    // The first answer wins, also a superseded master's.
    second.send(&answer("alexa.1", "YW5zd2Vy"));
    assert_eq!(
        waiting.answer().expect("an answer").ok(),
        json!({"Answer": "YW5zd2Vy"})
    );
}

fn refusals_have_their_types(broker: &Broker) {
    let arn = arn("demo");
    let _master = Peer::master(broker, &arn);
    let good =
        json!({"ChannelARN": arn, "SenderClientId": "alexa.1", "MessagePayload": "b2ZmZXI="});
    let refuse = |member: &str, value: Value| -> Answer {
        let mut bad = good.clone();
        bad[member] = value;
        call(broker.plain, PATH, &bad)
    };
    for (member, value) in [
        ("ChannelARN", json!("not an ARN")),
        ("ChannelARN", Value::Null),
        (
            "ChannelARN",
            json!(crate::process::arn("demo").replace(":channel/", ":stream/")),
        ),
        ("SenderClientId", json!("")),
        ("SenderClientId", json!("a b")),
        ("SenderClientId", json!("a".repeat(257))),
        ("MessagePayload", json!("")),
        ("MessagePayload", json!("not base64!")),
        ("MessagePayload", json!("A".repeat(10_001))),
    ] {
        let text = refuse(member, value.clone()).refused(400, "InvalidArgumentException");
        assert!(text.contains(member), "{member} = {value}: {text}");
    }
    refuse("MessagePayload", json!(7)).refused(400, "SerializationException");
    let unknown = arn.replace("/demo/", "/unknown/");
    refuse("ChannelARN", json!(unknown)).refused(404, "ResourceNotFoundException");
    let recreated = arn.replace("1700000000123", "1700000000124");
    refuse("ChannelARN", json!(recreated)).refused(404, "ResourceNotFoundException");
}

/// Nothing came: the call ends with its message, and the offer does not outlive it.
#[test]
fn a_call_ends_with_its_message() {
    let broker = Broker::dev(2);
    let arn = create(broker.plain, "short", 5);
    let calls: Vec<_> = (0..3)
        .map(|n| {
            let mut waiting = wait(&broker, &arn, &format!("alexa{n}"), "b2ZmZXI=");
            thread::spawn(move || {
                let started = Instant::now();
                let answer = waiting.answer().expect("an answer").ok();
                (answer, started.elapsed())
            })
        })
        .collect();
    for waiting in calls {
        let (answer, took) = waiting.join().expect("the caller");
        assert_eq!(answer, json!({"Answer": null}));
        assert!((4.0..8.0).contains(&took.as_secs_f64()), "{took:?}");
    }
    Peer::master(&broker, &arn).expect_silence();
}

/// Makes the call and leaves it waiting.
fn wait(broker: &Broker, arn: &str, sender: &str, payload: &str) -> Connection {
    let body = json!({"ChannelARN": arn, "SenderClientId": sender, "MessagePayload": payload});
    let mut connection = Connection::open(broker.plain);
    connection.send(&crate::http::request(PATH, &body.to_string()));
    connection
}

/// Gives a call just sent the time to reach its channel: calls sent later, on other connections, have been answered
/// since.
fn wait_for_waiting_calls(broker: &Broker, arn: &str) {
    for _ in 0..20 {
        call(
            broker.plain,
            "/describeSignalingChannel",
            &json!({"ChannelARN": arn}),
        )
        .ok();
    }
}
