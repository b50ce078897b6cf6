//! Connections that take a place and say nothing, or half of something.

use super::{ATTACKER, Outcome, Trial, broker};
use crate::peer::tcp_from;
use crate::process::Broker;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// The beginning of a handshake message of 60 KiB, in records of 16 KiB, the last one not whole.
fn half_hello() -> Vec<u8> {
    let mut hello = vec![1, 0, 0xf0, 0];
    hello.resize(60 * 1024, 0);
    let record = |piece: &[u8]| [&[22, 3, 1, 0x40, 0][..], piece].concat();
    hello.chunks(16 * 1024).flat_map(record).collect()
}

/// Opens `many` connections that say `first`, and each again that was ended; returns how many were opened in all.
fn occupy(attack: &super::Attack, to: SocketAddr, many: usize, first: &[u8]) {
    let mut held: Vec<TcpStream> = Vec::new();
    // However slow the machine is, this many come.
    let over = || attack.over() && attack.count() >= many as u64;
    while !over() {
        held.retain_mut(is_open);
        while held.len() < many && !over() {
            let mut stream = tcp_from(ATTACKER, to);
            let _ = stream.write_all(first);
            stream.set_nonblocking(true).expect("a socket");
            held.push(stream);
            attack.did(1);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn is_open(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 512]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

fn evicted(broker: &Broker) -> f64 {
    broker
        .scrape()
        .sum("heliograph_connections_cut_total{reason=\"evicted\"}")
}

fn assert_made_room(broker: &Broker, outcome: &Outcome) {
    let evicted = evicted(broker);
    assert!(evicted > 0.0, "nobody made room: {outcome:?}");
    broker.assert_balanced();
}

#[test]
fn silent_sockets_do_not_keep_others_from_a_handshake() {
    let broker = broker("[limits]\nhandshakes_per_shard = 64\n", 1);
    let trial = Trial::new("silent TLS sockets", &broker).over_tls();
    let outcome = trial.run(|attack| occupy(attack, broker.tls, 100, b""));
    assert_made_room(&broker, &outcome);
}

#[test]
fn half_hellos_do_not_cost_others_their_records() {
    let broker = broker("", 1);
    let trial = Trial::new("half ClientHellos", &broker).over_tls();
    let outcome = trial.run(|attack| occupy(attack, broker.tls, 300, &half_hello()));
    assert_made_room(&broker, &outcome);
    let more = outcome.peak.resident_bytes - outcome.before.resident_bytes;
    assert!(more < 64 << 20, "{outcome:?}");
}

#[test]
fn silent_connections_do_not_keep_others_out() {
    let broker = broker("[limits]\nconnections = 60\n", 1);
    let trial = Trial::new("silent connections", &broker);
    let outcome = trial.run(|attack| occupy(attack, broker.plain, 100, b""));
    assert_made_room(&broker, &outcome);
}

#[test]
fn half_heads_do_not_keep_others_out() {
    let broker = broker("[limits]\nconnections = 60\n", 1);
    let trial = Trial::new("half heads", &broker);
    let head = b"GET /nowhere HTTP/1.1\r\n";
    let outcome = trial.run(|attack| occupy(attack, broker.plain, 100, head));
    assert_made_room(&broker, &outcome);
}
