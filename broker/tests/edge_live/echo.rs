//! Bytes that go in come out, in any shape and at any pace.

use crate::edge_live::support::{Bench, HEAD, close, echo, frame, read_head};
use broker::edge::{EdgeCounts, EdgeSettings};
use std::io::{Read, Write};
use testkit::until_true;
use tungstenite::{Bytes, Message};

#[test]
fn every_size_plain() {
    sizes(false);
}

#[test]
fn every_size_over_tls() {
    sizes(true);
}

fn sizes(tls: bool) {
    let bench = Bench::start(1);
    let mut socket = bench.websocket(tls);
    #[rustfmt::skip] // a list
    let cases = [0, 1, 125, 126, 4095, 8191, 8192, 16_383, 16_384, 65_535, 65_536, 1 << 20, 16 << 20];
    for size in cases {
        let bytes: Vec<u8> = (0..size)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        echo(&mut socket, &Message::Binary(Bytes::from(bytes)));
        echo(&mut socket, &Message::text("é".repeat(size / 2)));
    }
    close(socket);
    bench.finish();
}

#[test]
fn fragments_come_back_whole_and_pings_in_between() {
    let bench = Bench::start(1);
    for tls in [false, true] {
        let mut wire = bench.wire(tls);
        let mut bytes = HEAD.to_vec();
        bytes.extend(frame(false, 1, b"one "));
        bytes.extend(frame(true, 9, b"ping"));
        bytes.extend(frame(false, 0, b""));
        bytes.extend(frame(true, 0, b"two"));
        wire.write_all(&bytes).unwrap();
        wire.flush().unwrap();
        assert!(read_head(&mut wire).starts_with("HTTP/1.1 101 "));
        let mut answer = [0; 15];
        wire.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"\x8a\x04ping\x81\x07one two");
    }
    bench.finish();
}

#[test]
fn a_head_and_frames_byte_by_byte() {
    let bench = Bench::start(1);
    for tls in [false, true] {
        let mut wire = bench.wire(tls);
        for byte in HEAD {
            wire.write_all(&[*byte]).unwrap();
            wire.flush().unwrap();
        }
        read_head(&mut wire);
        for byte in frame(true, 2, b"slowly") {
            wire.write_all(&[byte]).unwrap();
            wire.flush().unwrap();
        }
        let mut answer = [0; 8];
        wire.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"\x82\x06slowly");
    }
    bench.finish();
}

#[test]
fn a_burst_is_read_and_answered_in_few_calls() {
    const BURST: usize = 4000;
    let bench = Bench::start(1);
    for tls in [false, true] {
        let mut wire = bench.wire(tls);
        wire.write_all(HEAD).unwrap();
        wire.flush().unwrap();
        read_head(&mut wire);
        let before = bench.counts();
        let payload = [b'x'; 100];
        let burst = frame(true, 2, &payload).repeat(BURST);
        wire.write_all(&burst).unwrap();
        wire.flush().unwrap();
        let mut answer = vec![0; BURST * 102];
        wire.read_exact(&mut answer).unwrap();
        assert!(
            answer
                .chunks(102)
                .all(|echo| echo[..2] == [0x82, 100] && echo[2..] == payload)
        );
        let after = bench.counts();
        let receives = after.receives - before.receives;
        let sends = after.sends - before.sends;
        // 424 KB in 8 KiB buffers are 52 receives when nothing is lost to timing: 0.1 a message is 400.
        assert!(
            receives < BURST as u64 / 10 && sends < BURST as u64 / 10,
            "{receives} receives, {sends} sends"
        );
    }
    bench.finish();
}

#[test]
fn a_pool_that_runs_dry_delays_and_loses_nothing() {
    let counts = forty_floods(ring::RingSettings {
        buffers: 2,
        buffer_bytes: 128,
        ..ring::RingSettings::default()
    });
    assert!(counts.no_buffers > 0, "the pool did run dry");
}

/// A shard begins with few receive buffers. That the kernel gets more of them is no shortage.
#[test]
fn a_pool_that_grows_delays_and_loses_nothing() {
    let counts = forty_floods(ring::RingSettings {
        buffers: 2048,
        buffer_bytes: 128,
        buffers_at_start: 2,
        ..ring::RingSettings::default()
    });
    assert_eq!(counts.no_buffers, 0);
}

/// Completions that find no room wait in a list of the kernel's, and multishot operations that do are ended; entries
/// that find none wait in the ring's.
#[test]
fn queues_that_run_over_delay_and_lose_nothing() {
    forty_floods(ring::RingSettings {
        submissions: 4,
        completions: 4,
        buffers: 64,
        buffer_bytes: 128,
        ..ring::RingSettings::default()
    });
}

/// Forty peers send all at once; each gets all of its own back.
fn forty_floods(ring: ring::RingSettings) -> EdgeCounts {
    let settings = EdgeSettings {
        ring,
        ..EdgeSettings::default()
    };
    let bench = Bench::with(1, settings, (64, 8));
    let mut wires: Vec<_> = (0..40).map(|number| bench.wire(number % 4 == 3)).collect();
    for wire in &mut wires {
        wire.write_all(HEAD).unwrap();
        wire.flush().unwrap();
    }
    for wire in &mut wires {
        read_head(wire);
    }
    let burst = frame(true, 2, &[b'y'; 50]).repeat(60);
    for wire in &mut wires {
        wire.write_all(&burst).unwrap();
        wire.flush().unwrap();
    }
    for wire in &mut wires {
        let mut answer = vec![0; 60 * 52];
        wire.read_exact(&mut answer).unwrap();
        assert!(
            answer
                .chunks(52)
                .all(|echo| echo[..2] == [0x82, 50] && echo[51] == b'y')
        );
    }
    let counts = bench.server.scrape()[0].edge;
    drop(wires);
    bench.finish();
    counts
}

#[test]
fn one_flooding_peer_leaves_room_for_others() {
    let bench = Bench::start(1);
    let mut flood = bench.tcp();
    flood.write_all(HEAD).unwrap();
    read_head(&mut flood);
    let mut quiet = bench.websocket(false);
    let one = frame(true, 2, &vec![0; 64_000]);
    let mut reader = flood.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..300).try_for_each(|_| flood.write_all(&one)).unwrap());
        scope.spawn(|| reader.read_exact(&mut vec![0; 300 * 64_004]).unwrap());
        for _ in 0..200 {
            echo(&mut quiet, &Message::text("still served"));
        }
    });
    close(quiet);
    drop((flood, reader));
    bench.finish();
}

#[test]
fn a_newcomer_that_floods_is_read_one_buffer_at_a_time() {
    let bench = Bench::start(1);
    let mut flood = bench.tcp();
    flood.write_all(HEAD).unwrap();
    read_head(&mut flood);
    let all = frame(true, 2, &vec![0; 64_000]).repeat(3);
    let mut reader = flood.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| flood.write_all(&all).unwrap());
        reader.read_exact(&mut vec![0; 3 * 64_004]).unwrap();
    });
    let most = bench.server.scrape()[0].edge.most_work;
    assert!(most < FEW_BUFFERS, "a turn of {most}");
    drop((flood, reader));
    bench.finish();
}

#[test]
fn a_peer_that_was_calm_is_capped_when_it_floods() {
    let bench = Bench::start(1);
    let mut peer = bench.tcp();
    peer.write_all(HEAD).unwrap();
    read_head(&mut peer);
    let (small, large) = (frame(true, 2, &[0; 100]), frame(true, 2, &vec![0; 64_000]));
    for _ in 0..100 {
        peer.write_all(&small).unwrap();
        peer.read_exact(&mut [0; 102]).unwrap();
    }
    let mut reader = peer.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..300).try_for_each(|_| peer.write_all(&large)).unwrap());
        reader.read_exact(&mut vec![0; 300 * 64_004]).unwrap();
    });
    assert!(bench.server.scrape()[0].edge.capped > 0);
    drop((peer, reader));
    bench.finish();
}

#[test]
fn who_does_not_read_is_not_read_from_and_loses_nothing() {
    const TOTAL: usize = 48 << 20;
    let bench = Bench::start(1);
    for tls in [false, true] {
        let socket = bench.websocket(tls);
        let mut reader = socket.get_ref().tcp().try_clone().unwrap();
        drop(reader.set_read_timeout(Some(crate::edge_live::support::PATIENCE)));
        if tls {
            // One TLS stream cannot be read and written by two threads: write until it would block, then read.
            stall_then_drain(socket, &bench);
            continue;
        }
        let mut writer = reader.try_clone().unwrap();
        let payload = vec![b'z'; 60_000];
        let one = frame(true, 2, &payload);
        let messages = TOTAL / payload.len();
        let sender =
            std::thread::spawn(move || (0..messages).try_for_each(|_| writer.write_all(&one)));
        // The sender can only finish while somebody reads; what the server keeps meanwhile is bounded by its pause.
        until_true("the server to have a full socket", || {
            bench.counts().queued_sends > 0
        });
        let mut expected = vec![0x82, 0x7e];
        expected.extend(60_000_u16.to_be_bytes());
        expected.extend(&payload);
        let mut answer = vec![0; expected.len()];
        for _ in 0..messages {
            reader.read_exact(&mut answer).unwrap();
            assert!(answer == expected);
        }
        sender.join().unwrap().unwrap();
        drop(socket);
    }
    bench.finish();
}

fn stall_then_drain(
    mut socket: tungstenite::WebSocket<Box<dyn crate::edge_live::support::Wire>>,
    bench: &Bench,
) {
    let message = Message::Binary(Bytes::from(vec![9; 100_000]));
    let before = bench.counts().queued_sends;
    let mut sent = 0;
    while bench.counts().queued_sends == before && sent < 400 {
        socket.send(message.clone()).unwrap();
        sent += 1;
    }
    for _ in 0..sent {
        assert!(socket.read().unwrap() == message);
    }
    echo(&mut socket, &Message::text("still here"));
}

/// Less work than four receive buffers of 8 KiB take in a turn.
const FEW_BUFFERS: u64 = 4 * 8192 / broker_core::work_units::RECEIVED_BYTES_PER_UNIT;
