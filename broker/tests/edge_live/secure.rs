//! TLS: handshakes of every outcome.

use crate::edge_live::support::{Bench, HEAD, close, connect, echo, frame, read_head, upgrade};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ClientConfig, ConnectionTrafficSecrets, version};
use std::io::{Read, Write};
use std::sync::Arc;
use testkit::until_true;
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
        assert_eq!(after.full - before.full, 1);
        assert_eq!(after.resumed - before.resumed, 2);
    }
    bench.finish();
}

#[test]
fn what_is_not_tls_is_refused_and_closed() {
    let bench = Bench::start(1);
    let alert = &[0x15][..];
    for (garbage, begins) in [
        (
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            &b"HTTP/1.1 400 "[..],
        ),
        (&[0x16, 3, 1, 0, 4, 1, 0, 0, 0], alert),
        (&[0xff; 300], alert),
    ] {
        let mut stream = connect(bench.server.addrs[1]);
        stream.write_all(garbage).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(begins), "{answer:?}");
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
    until_true("20 handshakes to fail", || {
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

/// A peer may begin a handshake message at any time and not finish it. What it had asked for before is still answered.
#[test]
fn an_unfinished_handshake_message_does_not_stop_what_is_sent() {
    let bench = Bench::start(1);
    let mut config = ClientConfig::clone(&bench.trust);
    config.enable_secret_extraction = true;
    let mut stream = bench.tls(&Arc::new(config));
    stream.write_all(HEAD).unwrap();
    stream.flush().unwrap();
    read_head(&mut stream);
    let (engine, mut socket) = (stream.conn, stream.sock);
    let (sequence, keys) = engine.dangerous_extract_secrets().unwrap().tx;
    let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = keys else {
        panic!("the suite that rustls prefers")
    };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
    // A whole message, and the first two bytes of a key update behind it.
    let mut bytes = seal(
        &key,
        iv.as_ref(),
        sequence,
        23,
        &frame(true, 1, b"answer me"),
    );
    bytes.extend(seal(&key, iv.as_ref(), sequence + 1, 22, &[24, 0]));
    socket.write_all(&bytes).unwrap();
    let mut answer = [0; 5 + 11 + 1 + 16];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..5], [23, 3, 3, 0, 28], "one record with the echo");
    assert!(bench.counts().partial_record_bytes > 0);
    drop(socket);
    bench.finish();
}

/// One TLS 1.3 record (RFC 8446 section 5.2).
fn seal(key: &LessSafeKey, iv: &[u8], sequence: u64, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut nonce: [u8; 12] = iv.try_into().unwrap();
    nonce[4..]
        .iter_mut()
        .zip(sequence.to_be_bytes())
        .for_each(|(iv, byte)| *iv ^= byte);
    let mut sealed = content.to_vec();
    sealed.push(kind);
    let len = u16::try_from(sealed.len() + 16).unwrap().to_be_bytes();
    let mut record = vec![23, 3, 3, len[0], len[1]];
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(&record),
        &mut sealed,
    )
    .unwrap();
    record.extend(sealed);
    record
}

fn only_tls12(bench: &Bench) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_protocol_versions(&[&version::TLS12])
        .with_root_certificates(bench.roots.clone())
        .with_no_client_auth();
    Arc::new(config)
}
