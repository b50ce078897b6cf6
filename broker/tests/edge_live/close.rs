//! The ends of connections, and those of shards.

use crate::edge_live::machine::Letter;
use crate::edge_live::segments::segments_received;
use crate::edge_live::support::{Bench, HEAD, close, echo, frame, read_head};
use broker::edge::ShardEvent;
use socket2::SockRef;
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};
use testkit::until_true;
use tungstenite::Message;

#[test]
fn fin_follows_the_last_byte() {
    let bench = Bench::start(1);
    for tls in [false, true] {
        let mut wire = bench.wire(tls);
        wire.write_all(HEAD).unwrap();
        let mut bytes = frame(true, 2, &[1; 200_000]);
        bytes.extend(frame(true, 8, &[0x03, 0xe8]));
        wire.write_all(&bytes).unwrap();
        wire.flush().unwrap();
        read_head(&mut wire);
        let mut all = Vec::new();
        // With TLS this fails unless close_notify came.
        wire.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 200_010 + 4);
        assert_eq!(all[200_010..], [0x88, 2, 0x03, 0xe8]);
    }
    bench.finish();
}

/// The last bytes and the end of the stream are one segment: each costs its sender and its recipient what a message
/// costs.
#[test]
fn the_last_bytes_and_the_end_share_a_packet() {
    let bench = Bench::start(1);
    for messages in [0, 1] {
        let alone = |_| {
            let mut stream = bench.tcp();
            stream.write_all(HEAD).unwrap();
            read_head(&mut stream);
            for _ in 0..messages {
                stream.write_all(&frame(true, 2, &[1; 10])).unwrap();
                stream.read_exact(&mut [0; 12]).unwrap();
            }
            let before = segments_received(&stream);
            stream.write_all(&frame(true, 8, &[0x03, 0xe8])).unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            assert_eq!(all, [0x88, 2, 0x03, 0xe8]);
            segments_received(&stream) - before
        };
        // A server that is slow acknowledges the close frame by a segment of its own.
        let fewest = (0..50).map(alone).min();
        assert_eq!(fewest, Some(1), "after {messages} messages");
    }
    bench.finish();
}

/// Nobody waits for the end of a peer that has said that it sends nothing more.
#[test]
fn who_has_closed_by_the_protocol_is_not_waited_for() {
    let bench = Bench::start(1);
    let mut stream = bench.tcp();
    stream.write_all(HEAD).unwrap();
    read_head(&mut stream);
    let begin = Instant::now();
    stream.write_all(&frame(true, 8, &[0x03, 0xe8])).unwrap();
    until_true("the end", || bench.server.descriptors.count() == 0);
    // Else the machine's patience would be its end, after 10 s.
    assert!(begin.elapsed() < Duration::from_secs(8));
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(all, [0x88, 2, 0x03, 0xe8]);
    bench.finish();
}

/// A peer whose end is awaited does not lose the answer by what it sends on.
#[test]
fn who_is_refused_may_send_on_and_reads_the_answer() {
    let bench = Bench::start(1);
    let mut stream = bench.tcp();
    stream.write_all(b"nonsense\r\n\r\n").unwrap();
    let edge = || bench.server.scrape().first().unwrap().edge;
    until_true("the answer", || edge().sends == 1);
    stream.write_all(&[b'x'; 10_000]).unwrap();
    until_true("what came behind", || edge().received_bytes > 10_000);
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 400 "), "{all}");
    drop(stream);
    bench.finish();
}

#[test]
fn resets_at_any_moment_leave_nothing_behind() {
    let bench = Bench::start(2);
    let big = frame(true, 2, &[5; 100_000]);
    for round in 0..200 {
        let tls = round % 3 == 2;
        let mut wire = bench.wire(tls);
        let mut bytes = HEAD.to_vec();
        bytes.extend_from_slice(&big);
        let upto = (round * 997) % bytes.len();
        let _ = wire.write_all(&bytes[..upto]).and_then(|()| wire.flush());
        SockRef::from(wire.tcp())
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
    bench.finish();
}

#[test]
fn a_half_closed_peer_still_gets_its_answers() {
    let bench = Bench::start(1);
    let mut stream = bench.tcp();
    stream.write_all(HEAD).unwrap();
    read_head(&mut stream);
    stream.write_all(&frame(true, 2, &[3; 300_000])).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 300_010);
    bench.finish();
}

#[test]
fn who_sends_on_after_the_end_is_cut_off() {
    let bench = Bench::start(1);
    let mut stream = bench.tcp();
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        .unwrap();
    let cut = (0..10_000).find_map(|_| stream.write_all(&[b'x'; 10_000]).err());
    let kind = cut.expect("100 MB are not taken after the answer").kind();
    assert!(
        matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
        "{kind}"
    );
    bench.finish();
}

#[test]
fn a_stop_ends_shards_with_connections_of_every_kind() {
    let bench = Bench::start(2);
    let mut sockets: Vec<_> = (0..10)
        .map(|number| bench.websocket(number % 2 == 0))
        .collect();
    for socket in &mut sockets {
        echo(socket, &Message::text("hello"));
    }
    let _half = bench.tcp().write_all(b"GET /");
    let events = bench.server.events.clone();
    let descriptors = std::sync::Arc::clone(&bench.server.descriptors);
    bench.server.stop().unwrap();
    assert_eq!(descriptors.count(), 0);
    assert_eq!(
        events
            .iter()
            .filter(|event| matches!(event, ShardEvent::Ended(_)))
            .count(),
        2
    );
    for mut socket in sockets {
        assert!(socket.read().is_err());
    }
}

/// The server asks every shard for its counters every other second; silent connections ask for nothing.
#[test]
fn a_question_wakes_an_idle_shard_once() {
    let bench = Bench::start(1);
    for connections in [0, 100] {
        let sockets: Vec<_> = (0..connections).map(|_| bench.websocket(false)).collect();
        let questions = Cell::new(0);
        let edge = || {
            questions.set(questions.get() + 1);
            bench.server.scrape().first().unwrap().edge
        };
        let deep = edge().parks_deep;
        until_true("deep sleep", || edge().parks_deep > deep);
        questions.set(0);
        let before = edge();
        for asked in 1..=20 {
            // Asked again only when it sleeps again.
            until_true("deep sleep", || {
                edge().parks_deep > before.parks_deep + asked
            });
        }
        let after = edge();
        assert_eq!(
            after.parks_in_ring, before.parks_in_ring,
            "nobody else is there to be awake for"
        );
        let (parks, turns) = (
            after.parks_deep - before.parks_deep,
            after.turns - before.turns,
        );
        assert!(turns <= 2 * parks, "{turns} turns in {parks} sleeps");
        assert!(parks <= questions.get(), "{parks} sleeps by {questions:?}");
        drop(sockets);
    }
    bench.finish();
}

#[test]
fn a_drain_is_reported_by_every_shard_also_by_sleeping_ones() {
    let bench = Bench::start(3);
    // Without traffic a shard sleeps through its executor.
    until_true("deep sleep", || {
        bench.server.events.is_empty()
            && bench
                .server
                .scrape()
                .iter()
                .all(|scraped| scraped.edge.parks_deep > 0)
    });
    bench.server.post(|| Letter::Drain);
    for _ in 0..3 {
        let event = bench
            .server
            .events
            .recv_timeout(Duration::from_secs(5))
            .unwrap();
        assert!(matches!(event, ShardEvent::Drained(_)));
    }
    assert!(
        bench
            .server
            .scrape()
            .iter()
            .all(|scraped| scraped.edge.parks_deep > 0)
    );
    let mut socket = bench.websocket(false);
    echo(&mut socket, &Message::text("awake again"));
    close(socket);
    bench.finish();
}
