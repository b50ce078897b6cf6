//! Messages that cannot be carried: a status response if a correlation id can be echoed, else silence; the connection
//! stays (codec/PROTOCOL.md, STAT).

use crate::peer::{HealthyPair, Peer, answer, offer, status, to_master, to_viewer};
use crate::process::{Broker, arn};

const INVALID: &str = "InvalidArgumentException";
const ACTION: &str = "Unsupported action.";
const PAYLOAD: &str = "messagePayload must be 1 to 32768 base64 characters.";
const RECIPIENT: &str = "recipientClientId is required and must match [a-zA-Z0-9_.-]{1,256}.";
const MALFORMED: &str = "Malformed message.";

on_shards!(
    viewers_learn_what_was_wrong,
    masters_learn_what_was_wrong,
    without_a_usable_correlation_id_there_is_silence,
    payloads_have_a_limit,
    an_answer_to_an_unknown_client_is_kept_quietly,
);

fn viewers_learn_what_was_wrong(broker: &Broker) {
    let cases = [
        (r#""messagePayload":"eA==""#, ACTION),
        (r#""action":"","messagePayload":"eA==""#, ACTION),
        (r#""action":"sdp_offer","messagePayload":"eA==""#, ACTION),
        (r#""action":"SDP_OFFER2","messagePayload":"eA==""#, ACTION),
        (r#""action":null,"messagePayload":"eA==""#, ACTION),
        (r#""action":"SDP_OFFER""#, PAYLOAD),
        (r#""action":"SDP_OFFER","messagePayload":"""#, PAYLOAD),
        (r#""action":"SDP_OFFER","messagePayload":null"#, PAYLOAD),
        (r#""action":"SDP_OFFER","messagePayload":"a b=""#, PAYLOAD),
        (r#""action":"SDP_OFFER","messagePayload":"eA=\n=""#, PAYLOAD),
        (r#""action":"SDP_OFFER","messagePayload":"e*A=""#, PAYLOAD),
        (
            r#""action":"SDP_OFFER","messagePayload":"\u00e9===""#,
            PAYLOAD,
        ),
        (r#""action":7,"messagePayload":"eA==""#, MALFORMED),
        (r#""action":"SDP_OFFER","messagePayload":7"#, MALFORMED),
        (
            r#""action":"SDP_OFFER","messagePayload":{"a":1}"#,
            MALFORMED,
        ),
        (r#""action":"SDP_OFFER","messagePayload":true"#, MALFORMED),
        (
            r#""action":"SDP_OFFER","messagePayload":"eA==","messagePayload":"eA==""#,
            MALFORMED,
        ),
        (
            r#""action":"SDP_OFFER","Action":"SDP_OFFER","messagePayload":"eA==""#,
            MALFORMED,
        ),
        (
            r#""action":"SDP_OFFER","MessagePayload":"eA==","messagePayload":"eA==""#,
            MALFORMED,
        ),
    ];
    refused_one_by_one(broker, &cases, true);
}

fn masters_learn_what_was_wrong(broker: &Broker) {
    let long = format!(
        r#""action":"SDP_ANSWER","messagePayload":"eA==","recipientClientId":"{}""#,
        "v".repeat(257)
    );
    let cases = [
        (
            r#""action":"SDP_ANSWER","messagePayload":"eA==""#,
            RECIPIENT,
        ),
        (
            r#""action":"SDP_ANSWER","messagePayload":"eA==","recipientClientId":"""#,
            RECIPIENT,
        ),
        (
            r#""action":"SDP_ANSWER","messagePayload":"eA==","recipientClientId":null"#,
            RECIPIENT,
        ),
        (
            r#""action":"ICE_CANDIDATE","messagePayload":"eA==","recipientClientId":"a b""#,
            RECIPIENT,
        ),
        (
            r#""action":"ICE_CANDIDATE","messagePayload":"eA==","recipientClientId":"a/b""#,
            RECIPIENT,
        ),
        (
            r#""action":"ICE_CANDIDATE","messagePayload":"eA==","recipientClientId":"\u00e9""#,
            RECIPIENT,
        ),
        (long.as_str(), RECIPIENT),
        (
            r#""action":"SDP_ANSWER","messagePayload":"eA==","recipientClientId":7"#,
            MALFORMED,
        ),
        (
            r#""action":"SDP_ANSWER","messagePayload":"eA==","recipientClientId":"well","RecipientClientId":"well""#,
            MALFORMED,
        ),
        (
            r#""action":"SDP_ANSWER","messagePayload":"","recipientClientId":"well""#,
            PAYLOAD,
        ),
    ];
    refused_one_by_one(broker, &cases, false);
}

/// Sends each case with a correlation id at its beginning and again at its end, and expects the same answer.
fn refused_one_by_one(broker: &Broker, cases: &[(&str, &str)], as_viewer: bool) {
    let mut pair = HealthyPair::new(broker);
    let arn = arn("attacked");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "well");
    for (n, (members, text)) in cases.iter().enumerate() {
        let (sender, other) = if as_viewer {
            (&mut viewer, &mut master)
        } else {
            (&mut master, &mut viewer)
        };
        eprintln!("{members}");
        sender.send(&format!(r#"{{"correlationId":"first.{n}",{members}}}"#));
        sender.expect(&status(&format!("first.{n}"), INVALID, "400", text));
        sender.send(&format!(
            "{{\n\t{members},\n\t\"CorrelationId\": \"last.{n}\"\n}}"
        ));
        sender.expect(&status(&format!("last.{n}"), INVALID, "400", text));
        other.expect_silence();
        pair.relay();
    }
}

fn without_a_usable_correlation_id_there_is_silence(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let arn = arn("attacked");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    let deep = format!("{}{}", "[".repeat(60_000), "]");
    let long = format!(
        r#"{{"action":"NONE","messagePayload":"eA==","correlationId":"{}"}}"#,
        "c".repeat(257)
    );
    let cases = [
        "",
        "not JSON",
        "null",
        "7",
        "[]",
        "{",
        "{}",
        "{\"action\":\"SDP_OFFER\",\"messagePayload\":\"eA==\"",
        r#"{"action":"SDP_OFFER","messagePayload":"eA=="}}"#,
        r#"{"action":"SDP_OFFER","messagePayload":"eA=="} {}"#,
        r#"{"action":"SDP_OFFER","messagePayload":"eA==",}"#,
        r#"{'action':'SDP_OFFER','messagePayload':'eA=='}"#,
        r#"{"action":"SDP_OFFER"}"#,
        r#"{"action":"NONE","messagePayload":"eA==","correlationId":""}"#,
        r#"{"action":"NONE","messagePayload":"eA==","correlationId":null}"#,
        r#"{"action":"NONE","messagePayload":"eA==","correlationId":"a b"}"#,
        r#"{"action":"NONE","messagePayload":"eA==","correlationId":"a\"b"}"#,
        long.as_str(),
        deep.as_str(),
    ];
    for text in cases {
        eprintln!("{}", text.get(..60).unwrap_or(text));
        viewer.send(text);
        viewer.expect_silence();
        master.expect_silence();
        pair.relay();
    }
}

fn payloads_have_a_limit(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let arn = arn("attacked");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    for length in [1, 4, 10_240, 10_241, 32_767, 32_768] {
        let payload = "A".repeat(length);
        viewer.send(&offer(&payload));
        master.expect(&to_master("SDP_OFFER", &payload, "v1"));
        master.send(&answer("v1", &payload));
        viewer.expect(&to_viewer("SDP_ANSWER", &payload));
    }
    for length in [32_769, 60_000] {
        let payload = "A".repeat(length);
        viewer.send(&format!(
            r#"{{"action":"SDP_OFFER","messagePayload":"{payload}","correlationId":"long"}}"#
        ));
        viewer.expect(&status("long", INVALID, "400", PAYLOAD));
        viewer.send(&offer(&payload));
        viewer.expect_silence();
    }
    // Beyond 64 KiB it is no longer a message.
    viewer
        .send_bytes(&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0])
        .expect("sent");
    viewer.expect_close(1009);
    master.expect_silence();
    pair.relay();
}

fn an_answer_to_an_unknown_client_is_kept_quietly(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let mut master = Peer::master(broker, &arn("attacked"));
    let text = r#"{"action":"SDP_ANSWER","messagePayload":"eA==","recipientClientId":"nobody","correlationId":"c1"}"#;
    master.send(text);
    master.expect_silence();
    pair.relay();
    Peer::viewer(broker, &arn("attacked"), "nobody").expect(&to_viewer("SDP_ANSWER", "eA=="));
}
