//! Refusals by the edge before there is a request: counted, and found like every other refusal.

use crate::http::{Connection, get};
use crate::peer::{Peer, tcp_from};
use crate::process::{Broker, arn};
use broker_core::check::Check;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use testkit::until;

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

/// The only refusal for this check, as it is shown; it is from [`FROM`], and counted.
fn refused(broker: &Broker, check: Check) -> Value {
    let id = check.id();
    let path = format!("/refusals?check={id}&remote={FROM}");
    let row = until("the refusal", || {
        let list = get(broker.admin, &path).json();
        list["refusals"].get(0).cloned()
    });
    assert_eq!(row["says"], check.says(), "{row}");
    assert_eq!(row["operation"], Value::Null, "{row}");
    let series = format!("heliograph_refusals_total{{check=\"{id}\"}}");
    assert!(broker.scrape().sum(&series) > 0.5);
    row
}

/// The id of an answer leads to this refusal.
fn assert_found_by(broker: &Broker, id: Option<&str>, row: &Value, status: u16) {
    let id = id.expect("an id");
    assert_eq!(row["requestId"], id, "{row}");
    assert_eq!(row["status"], status, "{row}");
    let by_id = get(broker.admin, &format!("/refusals/{id}")).json();
    assert_eq!(by_id["check"], row["check"], "{by_id}");
    assert_eq!(by_id["source"], "kept", "{by_id}");
}

#[test]
fn plain_http_on_a_tls_port() {
    let broker = Broker::dev(1);
    let mut connection = Connection::open_from(FROM, broker.tls);
    connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = connection.answer().expect("an answer");
    assert_eq!(answer.status, 400);
    let row = refused(&broker, Check::TlsExpected);
    assert_found_by(&broker, answer.header("x-amzn-requestid"), &row, 400);
}

/// With all places of peers taken, and the one that is kept for others by a connection that makes room for nobody.
#[test]
fn no_room_for_a_connection() {
    let broker = Broker::configured("[limits]\nconnections = 3\n", 1);
    let name = |number: u8| arn(&format!("full-{number}"));
    let peers: Vec<Peer> = (0..2)
        .map(|number| Peer::master(&broker, &name(number)))
        .collect();
    let mut guest = Connection::open(broker.plain);
    guest.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(guest.answer().expect("an answer").status, 404);
    let mut connection = Connection::open_from(FROM, broker.plain);
    connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = connection.answer().expect("an answer");
    assert_eq!(answer.status, 503);
    let row = refused(&broker, Check::ConnectionsFull);
    assert_found_by(&broker, answer.header("x-amzn-requestid"), &row, 503);
    drop(peers);
}

/// A TLS port can say nothing to whom it has no room for.
#[test]
fn no_room_for_a_handshake() {
    let broker = Broker::configured("[limits]\nhandshakes_per_address = 1\n", 1);
    let hello = [22, 3, 1, 2, 0]; // the head of a record that never comes
    let mut first = tcp_from(FROM, broker.tls);
    first.write_all(&hello).expect("sent");
    let mut second = tcp_from(FROM, broker.tls);
    let _ = second.write_all(&hello);
    let ended = second.read(&mut [0; 16]);
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    let row = refused(&broker, Check::HandshakesFull);
    assert_eq!(
        row["remote"]
            .as_str()
            .map(|it| it.starts_with("127.0.0.9:")),
        Some(true)
    );
}

/// A TLS client that trusts no authority.
fn distrusting() -> ClientConnection {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::new(client), name).expect("a TLS session")
}

/// A client that speaks TLS 1.0 and one cipher of its time (RFC 2246 section 7.4.1.2).
fn hello_of_1999() -> Vec<u8> {
    let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 47, 1, 0]);
    hello
}

/// Failed handshakes are found by their reason, with the address: a camera without the authority is not one count among
/// all.
#[test]
fn failed_handshakes_are_found_by_their_reason() {
    let broker = Broker::dev(1);
    let from = |bytes: &[u8]| {
        let mut tcp = tcp_from(FROM, broker.tls);
        tcp.write_all(bytes).expect("sent");
        tcp
    };
    let mut stranger = distrusting();
    let mut tcp = tcp_from(FROM, broker.tls);
    let failed = stranger.complete_io(&mut tcp).expect_err("no authority");
    assert!(failed.to_string().contains("UnknownIssuer"), "{failed}");
    let _ = stranger.complete_io(&mut tcp); // its alert
    refused(&broker, Check::TlsDistrusted);
    let old = from(&hello_of_1999());
    refused(&broker, Check::TlsNothingCommon);
    let noise = from(&[23, 3, 3, 0, 2, 1, 2]);
    refused(&broker, Check::TlsBroken);
    let mut hello = Vec::new();
    distrusting().write_tls(&mut hello).expect("a hello");
    drop(from(&hello));
    refused(&broker, Check::TlsLeft);
    drop((old, noise));
    // A probe of the port is no failure.
    drop(tcp_from(FROM, broker.tls));
    let _ = get(broker.admin, "/live");
    let failed = broker
        .scrape()
        .sum("heliograph_tls_handshakes_total{outcome=\"failed\"}");
    assert!(failed >= 4.0, "{failed}");
    let all = get(broker.admin, &format!("/refusals?remote={FROM}")).json();
    assert_eq!(all["refusals"].as_array().map(Vec::len), Some(4), "{all}");
}
