//! The share that one address may use up, and who makes room for others.

use crate::edge_live::support::{
    Bench, HEAD, close, connect, connect_from, echo, frame, read_head,
};
use broker::edge::EdgeSettings;
use broker_core::address_shares::GRACE_MS;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use testkit::until_true;
use tungstenite::Message;

/// The beginning of a record with a ClientHello of 16 KiB.
const HALF_HELLO: [u8; 9] = [22, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb];

/// The beginning of a record with application data of 16 KiB.
const HALF_RECORD: [u8; 5] = [23, 3, 3, 0x40, 0];

fn bench(settings: EdgeSettings) -> Bench {
    Bench::with(1, settings, (64, 8))
}

/// Connections of 127.0.0.2 to the TLS listener that say `first` and nothing more.
fn crowd(bench: &Bench, many: usize, first: &[u8]) -> Vec<TcpStream> {
    let crowd: Vec<_> = (0..many)
        .map(|_| {
            let mut stream = connect_from(2, bench.server.addrs[1]);
            stream.write_all(first).unwrap();
            stream
        })
        .collect();
    until_true("the crowd", || bench.counts().handshaking >= many as u64);
    crowd
}

/// The number of them that the server ended.
fn ended(crowd: &mut [TcpStream]) -> usize {
    let ended = |stream: &mut TcpStream| {
        stream.set_nonblocking(true).unwrap();
        match stream.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    };
    crowd.iter_mut().map(ended).filter(|ended| *ended).count()
}

#[test]
fn an_address_that_holds_all_handshakes_makes_room_for_another() {
    for first in [&b""[..], &HALF_HELLO] {
        let bench = bench(EdgeSettings {
            handshakes: 16,
            ..EdgeSettings::default()
        });
        let mut held = crowd(&bench, 16, first);
        for _ in 0..3 {
            let mut socket = bench.websocket(true);
            echo(&mut socket, &Message::text("in"));
            close(socket);
            held.extend(crowd(&bench, 1, first)); // fills the table again
        }
        let counts = bench.counts();
        assert_eq!((counts.evicted, counts.accept_errors.limit), (3, 0));
        assert_eq!(ended(&mut held), 3);
        drop(held);
        bench.finish();
    }
}

#[test]
fn who_is_silent_for_long_makes_room_for_its_own_address() {
    let bench = bench(EdgeSettings {
        handshakes: 4,
        ..EdgeSettings::default()
    });
    let silent: Vec<_> = (0..4).map(|_| connect(bench.server.addrs[1])).collect();
    until_true("the handshakes", || bench.counts().handshaking == 4);
    let mut early = connect(bench.server.addrs[1]);
    assert!(matches!(early.read(&mut [0]), Ok(0) | Err(_)));
    assert_eq!(bench.counts().accept_errors.limit, 1);
    std::thread::sleep(Duration::from_millis(GRACE_MS));
    let mut socket = bench.websocket(true);
    echo(&mut socket, &Message::text("in"));
    assert_eq!(bench.counts().evicted, 1);
    drop((silent, socket));
    bench.finish();
}

#[test]
fn silent_connections_of_one_address_make_room_for_another() {
    let bench = bench(EdgeSettings {
        connections: 12,
        ..EdgeSettings::default()
    });
    let mut pair: Vec<_> = (0..2).map(|_| bench.websocket(false)).collect();
    let held: Vec<_> = (0..20)
        .map(|_| connect_from(2, bench.server.addrs[0]))
        .collect();
    until_true("a refusal", || bench.counts().accept_errors.limit > 0);
    for _ in 0..5 {
        let mut stream = bench.tcp();
        stream.write_all(HEAD).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
        stream.write_all(&frame(true, 1, b"in")).unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        for socket in &mut pair {
            echo(socket, &Message::text("still here"));
        }
    }
    assert!(bench.counts().evicted >= 1);
    drop(held);
    pair.into_iter().for_each(close);
    bench.finish();
}

#[test]
fn unfinished_hellos_cost_their_own_address_alone() {
    let bench = bench(EdgeSettings {
        handshake_bytes: 64 << 10,
        partial_record_bytes: 64 << 10,
        ..EdgeSettings::default()
    });
    let mut viewer = bench.websocket(true);
    let hello = [&HALF_HELLO[..], &[0; 10_000]].concat();
    let mut held: Vec<_> = (0..30)
        .map(|_| connect_from(2, bench.server.addrs[1]))
        .collect();
    for stream in &mut held {
        let _ = stream.write_all(&hello);
        let mut socket = bench.websocket(true);
        echo(&mut socket, &Message::text("x".repeat(40_000)));
        echo(&mut viewer, &Message::text("x".repeat(40_000)));
        assert!(bench.counts().handshake_bytes <= 64 << 10);
        close(socket);
    }
    let counts = bench.counts();
    assert!(counts.evicted >= 20, "{counts:?}");
    assert_eq!(counts.handshakes.full + counts.handshakes.resumed, 31);
    assert_eq!(ended(&mut held) as u64, counts.evicted);
    close(viewer);
    drop(held);
    bench.finish();
}

/// Connections of 127.0.0.2 whose handshake is over, with most of a record behind it.
fn half_records(bench: &Bench, many: usize, bytes: usize) -> Vec<TcpStream> {
    let record = [&HALF_RECORD[..], &vec![0; bytes]].concat();
    (0..many)
        .map(|_| {
            let name = "localhost".try_into().unwrap();
            let mut engine = rustls::ClientConnection::new(bench.trust.clone(), name).unwrap();
            let mut socket = connect_from(2, bench.server.addrs[1]);
            engine.complete_io(&mut socket).unwrap();
            socket.write_all(&record).unwrap();
            socket
        })
        .collect()
}

#[test]
fn unfinished_records_of_guests_never_cost_who_was_let_in() {
    let bench = bench(EdgeSettings {
        partial_record_bytes: 64 << 10,
        ..EdgeSettings::default()
    });
    let mut viewer = bench.websocket(true);
    for _ in 0..5 {
        let held = half_records(&bench, 6, 15_000);
        echo(&mut viewer, &Message::text("x".repeat(60_000)));
        until_true("the budget", || {
            bench.counts().partial_record_bytes <= 64 << 10
        });
        drop(held);
    }
    assert!(bench.counts().evicted >= 5);
    close(viewer);
    bench.finish();
}

#[test]
fn a_record_that_is_begun_is_to_end_in_time() {
    let bench = bench(EdgeSettings {
        record_ms: 300,
        ..EdgeSettings::default()
    });
    let mut held = half_records(&bench, 3, 100);
    let mut viewer = bench.websocket(true);
    until_true("the end of the three", || bench.counts().overdue == 3);
    for stream in &mut held {
        loop {
            match stream.read(&mut [0; 4096]) {
                Ok(0) | Err(_) => break,
                Ok(_) => {} // the answer to the handshake: tickets
            }
        }
    }
    // Silence is no unfinished record.
    echo(&mut viewer, &Message::text("x".repeat(60_000)));
    assert_eq!(bench.counts().overdue, 3);
    close(viewer);
    bench.finish();
}
