//! Effects of a configuration file on the wire: endpoints, deadlines, bounds of requests.

use crate::http::{Connection, create, exchange, request};
use crate::peer::{Peer, upgrade, viewer_query};
use crate::process::{Broker, arn};
use std::time::Instant;

/// AWS' Linux reference signs the path of its endpoint and connects to `/`, the Android sample puts it into the query.
#[test]
fn a_client_that_cannot_sign_a_path_gets_none() {
    let file = "[advertise]\nwss = \"wss://signaling.example.test\"\n\
                [clients.doorbell]\nuser_agent = \"Mine*\"\nrole_path = false\n";
    let broker = Broker::configured(file, 1);
    let arn = create(broker.plain, "demo", 60);
    let configuration = r#"{"Protocols":["WSS"],"Role":"MASTER"}"#;
    let body = format!(
        r#"{{"ChannelARN":"{arn}","SingleMasterChannelEndpointConfiguration":{configuration}}}"#
    );
    let call = String::from_utf8(request("/getSignalingChannelEndpoint", &body)).expect("ASCII");
    for (agent, path) in [
        ("Boto3/1.44.5", "/master"),
        ("AWS-SDK-KVS/1.16.0 GCC/12.2.0", "/master"),
        ("AWS-SDK-KVS", ""),
        ("aws-sdk-android/2.81.0 Linux/6.1", ""),
        ("Mine 1.0", ""),
    ] {
        let call = call.replacen("\r\n", &format!("\r\nUser-Agent: {agent}\r\n"), 1);
        let found = exchange(broker.plain, call.as_bytes()).ok();
        let url = &found["ResourceEndpointList"][0]["ResourceEndpoint"];
        assert_eq!(
            *url,
            format!("wss://signaling.example.test{path}"),
            "{agent}"
        );
    }
}

#[test]
fn deadlines_follow_the_file() {
    let file = "[timeouts]\nhead = \"2s\"\nidle = \"3s\"\nping = \"1s\"\n";
    let broker = Broker::configured(file, 1);
    let started = Instant::now();
    let mut slow = Connection::open(broker.plain);
    slow.send(&request("/describeSignalingChannel", "{}")[..20]);
    slow.answer()
        .expect("an answer")
        .refused(408, "InvalidArgumentException");
    let took = started.elapsed().as_secs_f64();
    assert!((1.5..4.0).contains(&took), "{took} s");
    // A peer that answers pings stays, one that is silent goes.
    let mut lively = Peer::master(&broker, &arn("demo"));
    let (answer, mut silent) = upgrade(&broker, &viewer_query(&arn("demo"), "silent"), "");
    assert_eq!(answer.status, 101);
    let since = Instant::now();
    lively.answer_pings(5);
    lively.expect_silence();
    // Idle for three seconds, then five for a close handshake that it does not take part in.
    silent.read_to_end();
    assert!(since.elapsed().as_secs_f64() < 12.0);
}

/// As many header lines and as long a body as the configuration permits, and one more of each.
#[test]
fn bounds_of_requests_are_those_of_the_configuration() {
    let broker = Broker::configured("[limits]\nbody_bytes = 1024\nheader_lines = 8\n", 1);
    let lacks = "ResourceNotFoundException";
    let wrong = "InvalidArgumentException";
    for (lines, length, status, kind) in [
        (8, 1024, 404, lacks),
        (8, 1025, 413, wrong),
        (9, 1024, 431, wrong),
    ] {
        let body = format!("{:length$}", r#"{"ChannelName":"a"}"#);
        let call = String::from_utf8(request("/describeSignalingChannel", &body)).expect("text");
        let own = call.lines().filter(|line| line.contains(": ")).count();
        let more = "\r\nX-Filler: 1".repeat(lines - own);
        let call = call.replacen("\r\n\r\n", &format!("{more}\r\n\r\n"), 1);
        exchange(broker.plain, call.as_bytes()).refused(status, kind);
    }
}
