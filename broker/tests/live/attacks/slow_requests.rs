//! Heads and bodies that come byte by byte and never end: their deadline is not moved by bytes.

use super::{ATTACKER, Attack, Trial, broker};
use crate::http::{Connection, request};
use crate::process::Broker;
use std::thread;
use std::time::Duration;

const CROWD: usize = 150;

#[test]
fn heads_and_bodies_byte_by_byte_end_at_their_deadline() {
    let broker = broker("[timeouts]\nhead = \"1s\"\nbody = \"1s\"", 2);
    let body = request("/describeSignalingChannel", &"x".repeat(10_000));
    let start = body.len() - 10_000;
    #[rustfmt::skip] // a table, a case per row
    let parts: [(&'static str, &[u8], u8); 2] = [
        ("heads byte by byte", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b'x'),
        ("bodies byte by byte", &body[..start], b' '),
    ];
    for (name, begun, byte) in parts {
        let outcome = Trial::new(name, &broker).run(|attack| crawl(&broker, attack, begun, byte));
        assert!(outcome.did >= CROWD as u64, "{outcome:?}");
    }
    broker.assert_balanced();
}

/// Each connection sends a byte every 20 ms, and comes again when it was ended; every one must be, with a 408.
fn crawl(broker: &Broker, attack: &Attack, begun: &[u8], byte: u8) {
    let mut ended = 0;
    while !attack.over() || ended == 0 {
        let mut crowd: Vec<Connection> = (0..CROWD)
            .map(|_| {
                let mut connection = Connection::open_from(ATTACKER, broker.plain);
                connection.send(begun);
                connection
            })
            .collect();
        for _ in 0..60 {
            crowd
                .iter_mut()
                .for_each(|connection| connection.send(&[byte]));
            thread::sleep(Duration::from_millis(20));
        }
        for mut connection in crowd {
            if let Some(answer) = connection.answer() {
                assert_eq!(answer.status, 408, "{answer:?}");
            }
            connection.assert_closed();
            ended += 1;
            attack.did(1);
        }
    }
}
