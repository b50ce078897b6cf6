//! A process that is stopped for seconds and goes on: what its sockets held meanwhile (codec/PROTOCOL.md, TAKE-4 and
//! TAKE-5).

use crate::http::Connection;
use crate::peer::{Peer, candidate, master_query, offer, to_master, upgrade_head, viewer_query};
use crate::process::{Broker, arn};
use std::thread;
use std::time::{Duration, Instant};
use testkit::until_true;
use tungstenite::Message;

/// Messages that are sent into the stopped process: more than it reads of one peer in a turn.
const HELD: usize = 500;

/// Longer than a shard sleeps.
const STOPPED: Duration = Duration::from_millis(2_500);

/// A viewer sends, and connects again; its newer connection has sent before the older one's messages are all read.
#[test]
fn what_was_held_does_not_come_behind_newer_messages() {
    let broker = Broker::configured("[quotas]\noff = true\n", 1);
    let arn = arn("demo");
    let mut master = Peer::master(&broker, &arn);
    let mut older = Peer::viewer(&broker, &arn, "v1");
    broker.stop();
    let begun = Instant::now();
    let held = thread::spawn(move || {
        let payload = "A".repeat(1600);
        (0..HELD).for_each(|_| older.send(&candidate(&payload)));
        older
    });
    let mut newer = Connection::open(broker.plain);
    let first = candidate("bmV3");
    newer.send(upgrade_head(&broker, &viewer_query(&arn, "v1")).as_bytes());
    newer.send(&masked(&first));
    until_true("a stop of seconds", || begun.elapsed() > STOPPED);
    broker.go_on();
    assert_eq!(
        newer.answer().expect("an answer to the upgrade").status,
        101
    );
    let older = held.join().expect("a client");
    let mut newer = Peer::after_upgrade(newer);
    let ended = |outcome: &str| {
        let name = r#"heliograph_messages_total{action="ICE_CANDIDATE",outcome=""#;
        broker.scrape().sum(&format!("{name}{outcome}\"}}"))
    };
    let mut texts = Vec::new();
    let first = to_master("ICE_CANDIDATE", "bmV3", "v1");
    let last = to_master("ICE_CANDIDATE", "bGFzdA==", "v1");
    until_true("an end of every message", || {
        ended("withdrawn") + ended("delivered") > HELD as f64
    });
    newer.send(&candidate("bGFzdA=="));
    while texts.last() != Some(&last) {
        if let Message::Text(text) = master.receive() {
            texts.push(text.as_str().to_owned());
        }
    }
    let place = texts.iter().position(|text| *text == first);
    assert_eq!(
        place,
        Some(texts.len() - 2),
        "behind it comes the last one alone"
    );
    let delivered = texts.len() as f64;
    assert_eq!(ended("withdrawn") + delivered, HELD as f64 + 2.0);
    drop(older);
}

/// A frame of a client.
fn masked(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    assert!(length < 126, "a length in one byte");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

/// Upgrades whose clients have left take nobody's place.
#[test]
fn upgrades_whose_clients_left_are_not_admitted() {
    let broker = Broker::dev(4);
    let arn = arn("demo");
    let mut master = Peer::master(&broker, &arn);
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    broker.stop();
    for _ in 0..8 {
        let mut ghost = Connection::open(broker.plain);
        ghost.send(upgrade_head(&broker, &master_query(&arn)).as_bytes());
    }
    broker.go_on();
    let accepted = || broker.scrape().sum("heliograph_accepted_total");
    let http = "heliograph_connections{role=\"http\"}";
    until_true("the end of all of them", || {
        accepted() >= 10.0 && broker.scrape().sum(http) == 0.0
    });
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    let upgrades = "heliograph_upgrades_total{role=\"master\",outcome=\"accepted\"}";
    assert_eq!(broker.scrape().sum(upgrades), 1.0);
}
