//! Refusals by the edge before there is a request: counted, and found like every other refusal.

use crate::http::{Connection, get};
use crate::peer::{Peer, tcp_from};
use crate::process::{Broker, arn, until};
use broker_core::check::Check;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

/// The only refusal for this check, as it is shown; it is from [`FROM`], and counted.
fn refused(broker: &Broker, check: Check) -> Value {
    let id = check.id();
    let path = format!("/refusals?check={id}&remote={FROM}");
    let row = until("the refusal", || {
        let list = get(broker.admin, &path).json();
        list["refusals"].get(0).cloned()
    });
    assert_eq!(
        (&row["says"], &row["operation"]),
        (&check.says().into(), &Value::Null),
        "{row}"
    );
    let series = format!("heliograph_refusals_total{{check=\"{id}\"}}");
    assert!(broker.scrape().sum(&series) > 0.5);
    row
}

/// The id of an answer leads to this refusal.
fn assert_found_by(broker: &Broker, id: Option<&str>, row: &Value, status: u16) {
    let id = id.expect("an id");
    assert_eq!(
        (&row["requestId"], &row["status"]),
        (&id.into(), &status.into()),
        "{row}"
    );
    let by_id = get(broker.admin, &format!("/refusals/{id}")).json();
    assert_eq!(
        (&by_id["check"], &by_id["source"]),
        (&row["check"], &"kept".into()),
        "{by_id}"
    );
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
