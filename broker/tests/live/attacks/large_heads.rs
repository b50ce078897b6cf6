//! Heads as long as they may be, sent byte by byte by many connections. What a byte costs depends above all on how many
//! arrive together, so costs are printed, not judged; that none is looked at twice is held by the unit tests of
//! `HeadScanner`.

use super::gauges::Watched;
use super::{ATTACKER, Attack, Trial, broker};
use crate::http::Connection;
use crate::process::Broker;
use std::time::Duration;

/// The longest head, and a short one to compare with.
const LARGE: usize = 16 * 1024 - 1;
const SMALL: usize = 1024;

/// Attackers at a time.
const CROWD: usize = 16;

#[test]
fn large_heads_byte_by_byte_are_answered() {
    let broker = broker("[timeouts]\nhead = \"5m\"\n", 1);
    let (mut small, mut large) = (f64::MAX, f64::MAX);
    let trial = Trial::new("16 KiB heads byte by byte", &broker).without_newcomers();
    let before = bytes_received(&broker);
    let outcome = trial.run(|attack| {
        // The best of each in turn: the healthy take their part of the shard's time as well.
        while !attack.over() || large > f64::MAX / 2.0 {
            for _ in 0..LARGE / SMALL {
                small = small.min(micros_per_byte(&broker, attack, SMALL));
            }
            large = large.min(micros_per_byte(&broker, attack, LARGE));
        }
    });
    let after = bytes_received(&broker);
    assert!(after - before >= outcome.did as f64, "all bytes were taken");
    assert_eq!(broker.scrape().sum("heliograph_request_bytes"), 0.0);
    eprintln!("a byte costs {small:.2} µs in small heads, {large:.2} µs in large ones");
    broker.assert_balanced();
}

/// A crowd sends a head each, one byte after the other, each connection one byte in turn; every one is answered.
fn micros_per_byte(broker: &Broker, attack: &Attack, size: usize) -> f64 {
    let head = head(size);
    let watched = Watched::new(broker);
    let mut crowd: Vec<Connection> = (0..CROWD)
        .map(|_| Connection::open_from(ATTACKER, broker.plain))
        .collect();
    let before = watched.thread_times();
    for byte in head.chunks(1) {
        for connection in &mut crowd {
            connection.send(byte);
        }
    }
    for connection in &mut crowd {
        let answer = connection.answer().expect("an answer to a whole head");
        answer.refused(404, "UnknownOperationException");
    }
    let spent = watched.busiest_since(&before, Duration::from_secs(1));
    let bytes = (CROWD * size) as u64;
    attack.did(bytes);
    spent * 1e6 / bytes as f64
}

/// A head of this size with as many lines as it may have: a scanner or a parser that began again would meet them all
/// again.
fn head(size: usize) -> Vec<u8> {
    let lines = 60;
    let each = (size - 100) / lines;
    let mut head = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n".to_vec();
    for number in 0..lines {
        let line = format!("X-{number:02}: ");
        head.extend_from_slice(line.as_bytes());
        let filler = each.saturating_sub(line.len() + 2);
        head.extend(std::iter::repeat_n(b'x', filler));
        head.extend_from_slice(b"\r\n");
    }
    let last = size - head.len() - 2;
    head.extend_from_slice(&[&b"Y: "[..], &vec![b'y'; last - 5], b"\r\n\r\n"].concat());
    assert_eq!(head.len(), size);
    head
}

fn bytes_received(broker: &Broker) -> f64 {
    broker.scrape().sum("heliograph_received_bytes_total")
}
