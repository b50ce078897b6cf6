//! How connections end, and how shards do.

use crate::machine::Letter;
use crate::support::{Bench, HEAD, close, echo, frame, open_files, read_head, wait_for};
use broker::edge::ShardEvent;
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;
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
fn descriptors_are_flat_after_many_connections() {
    let bench = Bench::start(2);
    let round = || {
        for number in 0..50 {
            let mut socket = bench.websocket(number % 2 == 0);
            echo(&mut socket, &Message::text("hello"));
            close(socket);
        }
        wait_for("all to be closed", || bench.server.descriptors.count() == 0);
    };
    round();
    let before = open_files();
    round();
    // Other tests of this process open and close meanwhile; a leak would be 50.
    assert!(open_files() < before + 40 || cfg!(not(target_os = "linux")));
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

/// The server asks every shard for its counters every other second.
#[test]
fn a_question_wakes_an_idle_shard_once() {
    let bench = Bench::start(1);
    let edge = || bench.server.scrape().first().unwrap().edge;
    wait_for("deep sleep", || edge().parks_in_glommio > 0);
    let before = edge();
    for asked in 1..=20 {
        // Asked again only when it sleeps again.
        wait_for("deep sleep", || {
            edge().parks_in_glommio > before.parks_in_glommio + asked
        });
    }
    let after = edge();
    assert_eq!(
        after.parks_in_ring, 0,
        "nobody else is there to be awake for"
    );
    let (parks, turns) = (
        after.parks_in_glommio - before.parks_in_glommio,
        after.turns - before.turns,
    );
    assert!(turns <= 2 * parks, "{turns} turns in {parks} sleeps");
    bench.finish();
}

#[test]
fn a_drain_is_reported_by_every_shard_also_by_sleeping_ones() {
    let bench = Bench::start(3);
    // Without traffic a shard sleeps through its executor.
    wait_for("deep sleep", || {
        bench.server.events.is_empty()
            && bench
                .server
                .scrape()
                .iter()
                .all(|scraped| scraped.edge.parks_in_glommio > 0)
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
            .all(|scraped| scraped.edge.parks_in_glommio > 0)
    );
    let mut socket = bench.websocket(false);
    echo(&mut socket, &Message::text("awake again"));
    close(socket);
    bench.finish();
}
