//! The word of a proxy in front on where a client is: by the PROXY protocol, and by headers of requests.

use crate::http::{Connection, create, get};
use crate::peer::{client_config, master_query, tcp_from, upgrade_head};
use crate::process::{Broker, arn};
use broker_core::check::Check;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use testkit::{until, until_true};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10));
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\x0a\0\0\x01\xc8\x22\x01\xbb";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
/// What is refused, so that its address is shown.
const REQUEST: &[u8] = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn behind(more: &str) -> Broker {
    Broker::configured(
        &format!("[proxy]\nprotocol_from = [\"127.0.0.9\"]\n{more}"),
        2,
    )
}

/// The refusal of an answer.
fn refusal(broker: &Broker, id: &str) -> Value {
    get(broker.admin, &format!("/refusals/{id}")).json()
}

/// The refusal of this check from this address.
fn refused(broker: &Broker, check: Check, from: IpAddr) -> Value {
    let path = format!("/refusals?check={}&remote={from}", check.id());
    until("the refusal", || {
        get(broker.admin, &path).json()["refusals"].get(0).cloned()
    })
}

fn outcomes(broker: &Broker) -> [f64; 4] {
    let scrape = broker.scrape();
    ["read", "foreign", "malformed", "incomplete"].map(|it| {
        scrape.sum(&format!(
            "heliograph_proxy_headers_total{{outcome=\"{it}\"}}"
        ))
    })
}

#[test]
fn a_header_says_where_the_client_is_however_it_comes() {
    let broker = behind("");
    let six = b"PROXY TCP6 2001:db8::7 ::1 51234 443\r\n";
    for (header, client) in [
        (LINE, "192.0.2.7:51234"),
        (six, "[2001:db8::7]:51234"),
        (BINARY, "192.0.2.8:51234"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.9:"),
        (LOCAL, "127.0.0.9:"),
    ] {
        for size in [1, 13, 1000] {
            let mut connection = Connection::open_from(PROXY, broker.plain);
            for piece in [header, REQUEST].concat().chunks(size) {
                connection.send(piece);
            }
            // The next one has the same client.
            connection.send(REQUEST);
            for _ in 0..2 {
                let answer = connection.answer().expect("an answer");
                assert_eq!(answer.status, 404);
                let id = answer.header("x-amzn-requestid").expect("an id");
                let remote = refusal(&broker, id)["remote"].clone();
                assert!(
                    remote.as_str().is_some_and(|it| it.starts_with(client)),
                    "{remote}"
                );
            }
        }
    }
    assert_eq!(outcomes(&broker), [15.0, 0.0, 0.0, 0.0]);
}

#[test]
fn a_header_comes_before_tls_on_the_listeners_that_are_named() {
    let broker = behind("protocol_on = [\"https://127.0.0.1:0\"]\n");
    assert_eq!(get(broker.plain, "/ping").status, 200);
    for size in [1, 1000] {
        let mut tcp = tcp_from(PROXY, broker.tls);
        for piece in BINARY.chunks(size) {
            tcp.write_all(piece).expect("sent");
        }
        let name = "localhost".try_into().expect("a name");
        let session = ClientConnection::new(client_config(&broker), name).expect("a TLS session");
        let mut stream = StreamOwned::new(session, tcp);
        stream.write_all(REQUEST).expect("sent");
        let mut head = [0; 4096];
        let length = stream.read(&mut head).expect("an answer");
        assert!(head[..length].starts_with(b"HTTP/1.1 404 "));
    }
    let client = IpAddr::from([192, 0, 2, 8]);
    assert_eq!(
        refused(&broker, Check::OperationUnknown, client)["remote"],
        "192.0.2.8:51234"
    );
}

#[test]
fn a_connection_has_its_client_also_on_another_shard() {
    let broker = behind("");
    broker.until_handed_over(|number| {
        let name = format!("proxied-{number}");
        let mut connection = Connection::open_from(PROXY, broker.plain);
        connection.send(
            &[
                LINE,
                upgrade_head(&broker, &master_query(&arn(&name))).as_bytes(),
            ]
            .concat(),
        );
        assert_eq!(connection.answer().expect("an answer").status, 101);
        let channel = get(broker.admin, &format!("/channels/{name}")).json();
        assert_eq!(channel["master"]["remote"], "192.0.2.7:51234", "{channel}");
    });
}

#[test]
fn whoever_is_no_proxy_or_sends_no_header_is_closed_and_counted() {
    let broker = behind("[timeouts]\ntls = \"300ms\"\n");
    for to in [broker.plain, broker.tls] {
        let mut connection = Connection::open_from(OTHER, to);
        connection.read_to_end();
        let mut connection = Connection::open_from(PROXY, to);
        connection.send(REQUEST);
        connection.read_to_end();
        let mut connection = Connection::open_from(PROXY, to);
        connection.send(b"PROXY TCP4 192.0.2.7");
        connection.read_to_end();
        // A header, and then nothing of TLS, or no request.
        let mut connection = Connection::open_from(PROXY, to);
        connection.send(LINE);
        drop(connection);
    }
    refused(&broker, Check::ProxyForeign, OTHER);
    refused(&broker, Check::ProxyMalformed, PROXY);
    until_true("the counters", || outcomes(&broker) == [2.0, 2.0, 2.0, 2.0]);
}

#[test]
fn a_header_that_nobody_awaits_is_named() {
    let broker = Broker::dev(2);
    for header in [LINE, BINARY] {
        let mut connection = Connection::open_from(PROXY, broker.plain);
        connection.send(&[header, REQUEST].concat());
        let answer = connection.answer().expect("an answer");
        answer.refused(400, "InvalidArgumentException");
        let id = answer.header("x-amzn-requestid").expect("an id");
        assert_eq!(refusal(&broker, id)["check"], "proxy_unexpected");
    }
    for (header, from) in [(LINE, [127, 0, 0, 11]), (BINARY, [127, 0, 0, 12])] {
        let mut connection = Connection::open_from(from.into(), broker.tls);
        connection.send(header);
        connection.read_to_end();
        refused(&broker, Check::ProxyUnexpected, from.into());
    }
}

#[test]
fn headers_of_a_proxy_say_where_the_client_of_one_request_is() {
    let broker = Broker::configured(
        "[proxy]\nforwarded_from = [\"127.0.0.9\", \"10.0.0.0/8\"]\n",
        2,
    );
    let mut connection = Connection::open_from(PROXY, broker.plain);
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.0.0.2\r\n", "192.0.2.7:0", ""),
        ("", "127.0.0.9:", ""),
        ("Forwarded: for=\"[2001:db8::7]:99\";proto=https\r\n", "[2001:db8::7]:0", ""),
        ("X-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.7\r\n", "127.0.0.9:", "are both present"),
        ("X-Forwarded-For: 192.0.2.7, nonsense\r\n", "127.0.0.9:", "is not an address"),
    ];
    for (lines, client, unclear) in cases {
        connection
            .send(format!("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").as_bytes());
        let answer = connection.answer().expect("an answer");
        let row = refusal(&broker, answer.header("x-amzn-requestid").expect("an id"));
        assert!(
            row["remote"]
                .as_str()
                .is_some_and(|it| it.starts_with(client)),
            "{row}"
        );
        assert!(
            row["proxy"].as_str().unwrap_or_default().contains(unclear),
            "{row}"
        );
        assert_eq!(row["proxy"].is_null(), unclear.is_empty(), "{row}");
    }
    let spoofed = "X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\n";
    let mut stranger = Connection::open_from(OTHER, broker.plain);
    stranger.send(format!("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n{spoofed}\r\n").as_bytes());
    let answer = stranger.answer().expect("an answer");
    let row = refusal(&broker, answer.header("x-amzn-requestid").expect("an id"));
    assert!(
        row["remote"]
            .as_str()
            .is_some_and(|it| it.starts_with("127.0.0.10:")),
        "{row}"
    );
    // The client of an upgrade is that of its connection, on any shard.
    for number in 0..4 {
        let name = format!("forwarded-{number}");
        let head = upgrade_head(&broker, &master_query(&arn(&name)));
        let head = head.replacen("\r\n", "\r\nX-Forwarded-For: 192.0.2.7\r\n", 1);
        let mut upgraded = Connection::open_from(PROXY, broker.plain);
        upgraded.send(head.as_bytes());
        assert_eq!(upgraded.answer().expect("an answer").status, 101);
        let channel = get(broker.admin, &format!("/channels/{name}")).json();
        assert_eq!(channel["master"]["remote"], "192.0.2.7:0", "{channel}");
    }
}

/// Where TLS ends at a proxy, clients would be sent to the plain listener behind it.
#[test]
fn a_proxy_that_nobody_named_is_told_of_at_the_first_request_for_an_endpoint() {
    let broker = Broker::strict_channels(1);
    broker.logged(&["no listener has TLS, so discovery returns ws://HOST:"], 1);
    let body = json!({"ChannelARN": create(broker.plain, "camera", 60)}).to_string();
    let direct = format!("localhost:{}", broker.plain.port());
    for (host, header) in [
        (&*direct, ""),
        ("localhost", ""),
        (&*direct, "X-Forwarded-Proto: https\r\n"),
    ] {
        let mut connection = Connection::open(broker.plain);
        let request = format!(
            "POST /getSignalingChannelEndpoint HTTP/1.1\r\nHost: {host}\r\n{header}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.send(request.as_bytes());
        assert_eq!(connection.answer().expect("an answer").status, 200);
    }
    broker.logged(&["endpoint_unadvertised", "127.0.0.1"], 1);
    let told = "heliograph_refusals_total{check=\"endpoint_unadvertised\"}";
    assert_eq!(broker.scrape().sum(told), 1.0);
}
