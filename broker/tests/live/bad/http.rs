//! Heads, bodies and calls that are wrong: each has its status and type, and a neighbour notices nothing.

use crate::http::{Connection, exchange, request};
use crate::peer::HealthyPair;
use crate::process::Broker;
use std::time::{Duration, Instant};

on_shards!(
    wrong_bytes_are_answered_and_the_connection_ends,
    wrong_calls_leave_the_connection_open,
    half_a_head_and_an_end_harm_nobody,
    slow_heads_and_bodies_end_at_their_deadline,
    what_is_not_tls_ends_on_a_tls_port,
);

/// Bytes that cannot be understood as HTTP, or not within bounds, end their connection.
fn wrong_bytes_are_answered_and_the_connection_ends(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    for (what, head, status) in wrong_heads() {
        let mut connection = Connection::open(broker.plain);
        connection.send(format!("{head}\r\n\r\n{{}}").as_bytes());
        let answer = connection
            .answer()
            .unwrap_or_else(|| panic!("{what}: closed without an answer"));
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        answer.refused(status, "InvalidArgumentException");
        connection.assert_closed();
        pair.relay();
    }
}

fn wrong_heads() -> Vec<(&'static str, String, u16)> {
    let start = "POST /describeSignalingChannel HTTP/1.1\r\nHost: localhost";
    let long = "a".repeat(17 * 1024);
    vec![
        ("garbage", "\x01\x02\x03 garbage".into(), 400),
        (
            "no version",
            "POST /describeSignalingChannel\r\nHost: localhost".into(),
            400,
        ),
        ("no colon", format!("{start}\r\nX-Filler 1"), 400),
        ("a long target", format!("POST /{long} HTTP/1.1"), 431),
        ("a long header", format!("{start}\r\nX-Long: {long}"), 431),
        (
            "many headers",
            format!("{start}{}", "\r\nX-Filler: 1".repeat(65)),
            431,
        ),
        ("no length", start.into(), 411),
        (
            "a large body",
            format!("{start}\r\nContent-Length: 65537"),
            413,
        ),
        (
            "a huge body",
            format!("{start}\r\nContent-Length: 9223372036854775807"),
            413,
        ),
        (
            "two lengths",
            format!("{start}\r\nContent-Length: 2\r\nContent-Length: 3"),
            400,
        ),
        (
            "a signed length",
            format!("{start}\r\nContent-Length: +2"),
            400,
        ),
        (
            "length and chunks",
            format!("{start}\r\nContent-Length: 2\r\nTransfer-Encoding: chunked"),
            400,
        ),
    ]
}

fn wrong_calls_leave_the_connection_open(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let mut connection = Connection::open(broker.plain);
    for line in WRONG_CALLS.trim().lines() {
        let mut fields = line.split(" | ");
        let mut field = || {
            fields
                .next()
                .unwrap_or_else(|| panic!("four fields: {line}"))
        };
        let (path, body, status, kind) = (field(), field(), field(), field());
        connection.send(&request(path, body));
        let answer = connection
            .answer()
            .unwrap_or_else(|| panic!("no answer: {line}"));
        assert_eq!(
            answer.status.to_string(),
            status,
            "{line}: {answer:?} {}",
            answer.text()
        );
        answer.refused(answer.status, kind);
        // A caller of an operation that does not exist may be no client at all.
        if kind == "UnknownOperationException" && answer.header("connection") == Some("close") {
            connection.assert_closed();
            connection = Connection::open(broker.plain);
        }
    }
    let broken = request("/describeSignalingChannel", "{\"ChannelName\":\"??\"}");
    let broken: Vec<u8> = broken
        .iter()
        .map(|byte| if *byte == b'?' { 0xff } else { *byte })
        .collect();
    connection.send(&broken);
    connection
        .answer()
        .expect("an answer")
        .refused(400, "SerializationException");
    for method in ["PUT", "DELETE"] {
        let bytes = format!(
            "{method} /describeSignalingChannel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        exchange(broker.plain, bytes.as_bytes()).refused(404, "UnknownOperationException");
    }
    pair.relay();
}

fn half_a_head_and_an_end_harm_nobody(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let whole = String::from_utf8(request(
        "/describeSignalingChannel",
        "{\"ChannelName\":\"a\"}",
    ))
    .expect("text");
    for length in [0, 1, 4, 20, whole.len() - 1] {
        let mut connection = Connection::open(broker.plain);
        connection.send(&whole.as_bytes()[..length]);
        connection.finish();
        if let Some(answer) = connection.answer() {
            assert!((400..500).contains(&answer.status), "{answer:?}");
            connection.assert_closed();
        }
        pair.relay();
    }
    // One byte a packet is a whole head all the same.
    let mut connection = Connection::open(broker.plain);
    for byte in whole.bytes() {
        connection.send(&[byte]);
    }
    connection
        .answer()
        .expect("an answer")
        .refused(404, "ResourceNotFoundException");
}

/// Ten seconds for a head and for a body, however the bytes trickle in. A connection that never said a word may end
/// without an answer.
fn slow_heads_and_bodies_end_at_their_deadline(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let body = request("/describeSignalingChannel", "{\"ChannelName\":\"a\"}");
    let starts: [&[u8]; 4] = [
        b"",
        b"GET /?X-Amz-ChannelARN=",
        b"POST / HTTP/1.1\r\nHost: localhost\r\n",
        &body[..body.len() - 3],
    ];
    let started = Instant::now();
    let mut slow: Vec<Connection> = starts
        .iter()
        .map(|start| {
            let mut connection = Connection::open(broker.plain);
            connection.send(start);
            connection
        })
        .collect();
    while started.elapsed() < Duration::from_secs(8) {
        std::thread::sleep(Duration::from_secs(1));
        slow[2].send(b"X");
        pair.relay();
    }
    for (connection, start) in slow.iter_mut().zip(starts) {
        match connection.answer() {
            Some(answer) => {
                answer.refused(408, "InvalidArgumentException");
                connection.assert_closed();
            }
            None => assert!(
                start.is_empty(),
                "no answer after {:?}",
                String::from_utf8_lossy(start)
            ),
        }
        let took = started.elapsed().as_secs_f64();
        assert!(
            (9.0..13.0).contains(&took),
            "{took} s after {:?}",
            String::from_utf8_lossy(start)
        );
    }
    pair.relay();
}

/// Plain HTTP, garbage, a record that is announced and never comes, and silence. Nobody there can be answered.
fn what_is_not_tls_ends_on_a_tls_port(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let started = Instant::now();
    let attempts: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &[0xff; 600],
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"",
    ];
    let mut connections: Vec<Connection> = attempts
        .iter()
        .map(|bytes| {
            let mut connection = Connection::open(broker.tls);
            connection.send(bytes);
            connection
        })
        .collect();
    pair.relay();
    for connection in &mut connections {
        connection.read_to_end();
        pair.relay();
    }
    assert!(
        started.elapsed() < Duration::from_secs(13),
        "{:?}",
        started.elapsed()
    );
    assert!(
        broker
            .scrape()
            .sum("heliograph_tls_handshakes_total{outcome=\"failed\"}")
            > 0.0
    );
    assert!(
        broker
            .scrape()
            .sum("heliograph_tls_handshakes_total{outcome=\"timeout\"}")
            > 0.0
    );
}

/// As many header lines and as long a body as the configuration permits, and one more of each.
#[test]
fn bounds_of_requests_are_those_of_the_configuration() {
    let broker = Broker::configured("[limits]\nbody_bytes = 1024\nheader_lines = 8\n", 1);
    let mut pair = HealthyPair::new(&broker);
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
        pair.relay();
    }
}

/// Path, body, status and type of the answer.
const WRONG_CALLS: &str = r#"
/nope | {} | 404 | UnknownOperationException
/DescribeSignalingChannel | {} | 404 | UnknownOperationException
/describeSignalingChannel |  | 400 | SerializationException
/describeSignalingChannel | { | 400 | SerializationException
/describeSignalingChannel | [] | 400 | SerializationException
/describeSignalingChannel | "text" | 400 | SerializationException
/describeSignalingChannel | {} {} | 400 | SerializationException
/describeSignalingChannel | {"ChannelName":7} | 400 | SerializationException
/describeSignalingChannel | {"ChannelName":{"a":1}} | 400 | SerializationException
/describeSignalingChannel | {} | 400 | InvalidArgumentException
/describeSignalingChannel | {"ChannelName":null} | 400 | InvalidArgumentException
/describeSignalingChannel | {"ChannelName":""} | 400 | InvalidArgumentException
/describeSignalingChannel | {"ChannelName":"a/b"} | 400 | InvalidArgumentException
/describeSignalingChannel | {"ChannelARN":"arn:aws:s3:::bucket"} | 400 | InvalidArgumentException
/describeSignalingChannel | {"ChannelName":"unknown","more":[1,{}]} | 404 | ResourceNotFoundException
/createSignalingChannel | {} | 400 | InvalidArgumentException
/createSignalingChannel | {"ChannelName":"a","ChannelType":"FULL_MESH"} | 400 | InvalidArgumentException
/createSignalingChannel | {"ChannelName":"a","ChannelType":"STAR"} | 400 | InvalidArgumentException
/createSignalingChannel | {"ChannelName":"a","SingleMasterConfiguration":{"MessageTtlSeconds":4}} | 400 | InvalidArgumentException
/createSignalingChannel | {"ChannelName":"a","SingleMasterConfiguration":{"MessageTtlSeconds":121}} | 400 | InvalidArgumentException
/createSignalingChannel | {"ChannelName":"a","SingleMasterConfiguration":{"MessageTtlSeconds":"5"}} | 400 | SerializationException
/createSignalingChannel | {"ChannelName":"a","SingleMasterConfiguration":5} | 400 | SerializationException
/listSignalingChannels | {"MaxResults":0} | 400 | InvalidArgumentException
/listSignalingChannels | {"NextToken":"****"} | 400 | InvalidArgumentException
/listSignalingChannels | {"ChannelNameCondition":{}} | 400 | InvalidArgumentException
/deleteSignalingChannel | {} | 400 | InvalidArgumentException
/getSignalingChannelEndpoint | {} | 400 | InvalidArgumentException
/v1/get-ice-server-config | {} | 400 | InvalidArgumentException
"#;
