//! TLS: handshakes of every outcome.

use crate::support::{Bench, close, connect, echo, upgrade, wait_for};
use rustls::{ClientConfig, version};
use std::io::{Read, Write};
use std::sync::Arc;
use tungstenite::Message;

#[test]
fn both_versions_and_resumption_are_counted() {
    let bench = Bench::start(1);
    for config in [Arc::clone(&bench.trust), only_tls12(&bench)] {
        let before = bench.counts().handshakes;
        for _ in 0..3 {
            let mut socket = upgrade(Box::new(bench.tls(&config)));
            echo(&mut socket, &Message::text("hello"));
            close(socket);
        }
        let after = bench.counts().handshakes;
        assert_eq!(
            (after.full - before.full, after.resumed - before.resumed),
            (1, 2)
        );
    }
    bench.finish();
}

#[test]
fn what_is_not_tls_is_told_so_and_closed() {
    let bench = Bench::start(1);
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0x16, 3, 1, 0, 4, 1, 0, 0, 0],
        &[0xff; 300],
    ] {
        let mut stream = connect(bench.server.addrs[1]);
        stream.write_all(garbage).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.first(), Some(&0x15), "an alert record");
    }
    assert_eq!(bench.counts().handshakes.failed, 3);
    bench.finish();
}

#[test]
fn who_leaves_during_the_handshake_is_forgotten() {
    let bench = Bench::start(1);
    for _ in 0..20 {
        let mut stream = connect(bench.server.addrs[1]);
        stream.write_all(&[0x16, 3, 1, 1, 0]).unwrap();
        drop(stream);
    }
    wait_for("20 handshakes to fail", || {
        bench.counts().handshakes.failed == 20
    });
    bench.finish();
}

#[test]
fn a_storm_of_handshakes_waits_its_turn_and_all_succeed() {
    let bench = Bench::start(1);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut config = ClientConfig::clone(&bench.trust);
                    config.resumption = rustls::client::Resumption::disabled();
                    let mut socket = upgrade(Box::new(bench.tls(&Arc::new(config))));
                    echo(&mut socket, &Message::text("through"));
                    close(socket);
                }
            });
        }
    });
    assert_eq!(bench.counts().handshakes.full, 80);
    bench.finish();
}

#[test]
fn key_updates_are_followed() {
    let bench = Bench::start(1);
    let mut stream = bench.tls(&bench.trust);
    stream.flush().unwrap();
    stream.conn.complete_io(&mut stream.sock).unwrap();
    let mut socket = tungstenite::client("wss://localhost/", stream).unwrap().0;
    for round in 0..20 {
        socket.get_mut().conn.refresh_traffic_keys().unwrap();
        let message = Message::text("x".repeat(round * 1000));
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    drop(socket);
    bench.finish();
}

fn only_tls12(bench: &Bench) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_protocol_versions(&[&version::TLS12])
        .with_root_certificates(bench.roots.clone())
        .with_no_client_auth();
    Arc::new(config)
}
