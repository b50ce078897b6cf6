//! Requests that are begun and never ended, on many connections: heads, bodies, and what is pipelined behind a call.

use super::{ATTACKER, Attack, Trial, broker, healthy};
use crate::http::{Connection, request};
use crate::process::Broker;
use crate::signed::service::Service;
use crate::signed::signer::{Call, Signer};
use std::net::{IpAddr, Ipv4Addr};
use testkit::until_true;

/// The budget of the process in these tests: [`CROWD`] connections would hold one and a half times as much of heads,
/// and six of bodies.
const BUDGET: usize = 4 << 20;
const CROWD: usize = 400;
const CONFIGURATION: &str = "[limits]\nrequest_bytes = 4194304\n";

#[test]
fn unfinished_bodies_of_one_address_leave_room_for_others() {
    let broker = broker(CONFIGURATION, 2);
    Trial::new("unfinished bodies", &broker).run(|attack| {
        let body = "x".repeat(60_000);
        let whole = request("/describeSignalingChannel", &body);
        while !attack.over() {
            hoard(&broker, attack, &whole[..whole.len() - 1]);
        }
    });
    broker.assert_balanced();
}

#[test]
fn unfinished_heads_leave_room_for_others() {
    let broker = broker(CONFIGURATION, 1);
    Trial::new("unfinished heads", &broker).run(|attack| {
        let head = format!(
            "POST /describeSignalingChannel HTTP/1.1\r\nHost: localhost\r\nX: {}",
            "x".repeat(16_000)
        );
        while !attack.over() {
            hoard(&broker, attack, head.as_bytes());
        }
    });
    broker.assert_balanced();
}

/// Opens many connections that each send this much of a request, and holds them; a refused one connects again.
fn hoard(broker: &Broker, attack: &Attack, part: &[u8]) {
    let mut held = Vec::new();
    let mut most = 0.0_f64;
    for _ in 0..CROWD {
        let mut connection = Connection::open_from(ATTACKER, broker.plain);
        connection.send(part);
        held.push(connection);
        attack.did(1);
    }
    while !attack.over() {
        let Some(now) = broker.try_scrape() else {
            continue;
        };
        most = most.max(now.sum("heliograph_request_bytes"));
        if now.sum("heliograph_request_bytes_refused_total") > 0.0 && most > 0.0 {
            break;
        }
    }
    assert!(most <= BUDGET as f64, "{most} bytes of {BUDGET}");
    let refused = broker
        .scrape()
        .sum("heliograph_request_bytes_refused_total");
    assert!(refused > 0.0, "the budget was never full");
    // An honest caller's large request, in two parts, from an address of its own: while the budget is full.
    let body = format!(
        r#"{{"ChannelARN":"{}","Filler":"{}"}}"#,
        healthy::own("healthy-0"),
        "x".repeat(50_000)
    );
    let whole = request("/describeSignalingChannel", &body);
    let (first, rest) = whole.split_at(30_000);
    let mut honest = Connection::open_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), broker.plain);
    honest.send(first);
    std::thread::sleep(std::time::Duration::from_millis(50));
    honest.send(rest);
    let answer = honest.answer().expect("an answer to somebody honest");
    assert_eq!(answer.status, 200, "{answer:?} {}", answer.text());
    drop(held);
}

/// The head is kept for the signature until its body has come: it is charged like the rest.
#[test]
fn heads_kept_for_their_signature_are_charged() {
    let service = Service::start(1);
    let signer = Signer::new("admin");
    let body = serde_json::json!({"ChannelName": "demo"});
    let call = Call::api(&service.broker, "/describeSignalingChannel", &body);
    let call = signer.sign(call.header("X-Filler", &"x".repeat(14_000)));
    let held = || service.broker.scrape().sum("heliograph_request_bytes");
    let mut waiting: Vec<Connection> = (0..20)
        .map(|_| {
            let mut connection = Connection::open_from(ATTACKER, service.broker.plain);
            connection.send(call.head().as_bytes());
            connection
        })
        .collect();
    until_true("what they hold", || held() >= 20.0 * 14_000.0);
    for connection in &mut waiting {
        connection.send(call.body.as_bytes());
        assert_eq!(connection.answer().expect("an answer").status, 404);
    }
    assert!(held() < 1.0, "{} bytes are still charged", held());
    drop(waiting);
    service.end();
}
