//! Connections that move to another shard lose nothing on the way.

use crate::edge_live::support::{Bench, HEAD, close, echo, frame, read_head};
use broker::edge::EdgeSettings;
use std::io::{Read, Write};
use tungstenite::Message;

#[test]
fn a_thousand_connections_lose_no_byte() {
    let bench = Bench::start(2);
    for round in 0..1000_usize {
        let tls = round % 4 == 3;
        let mut wire = bench.wire(tls);
        // Frames right behind the head are in the same receive, or come while the connection is on its way.
        let text = format!("message {round}");
        let mut bytes = HEAD.to_vec();
        bytes.extend(frame(true, 1, text.as_bytes()));
        let cut = HEAD.len() + round % (bytes.len() - HEAD.len() + 1);
        wire.write_all(&bytes[..cut]).unwrap();
        wire.flush().unwrap();
        wire.write_all(&bytes[cut..]).unwrap();
        wire.flush().unwrap();
        assert!(read_head(&mut wire).starts_with("HTTP/1.1 101 "));
        let mut answer = vec![0; text.len() + 2];
        wire.read_exact(&mut answer).unwrap();
        assert_eq!(&answer[2..], text.as_bytes());
    }
    let counts = bench.counts();
    assert_eq!((counts.accepted, counts.mailbox_refused), (1000, 0));
    // Each machine sends every second of its own on.
    assert!(
        (499..=500).contains(&counts.handovers),
        "{} handovers",
        counts.handovers
    );
    bench.finish();
}

#[test]
fn moved_connections_live_on_like_all_others() {
    let bench = Bench::start(3);
    let mut sockets: Vec<_> = (0..24)
        .map(|number| bench.websocket(number % 2 == 1))
        .collect();
    for round in 0..3 {
        for (number, socket) in sockets.iter_mut().enumerate() {
            echo(
                socket,
                &Message::text(format!("{round} {number}").repeat(1 + 3000 * number)),
            );
        }
    }
    assert!(bench.counts().handovers >= 8);
    sockets.into_iter().for_each(close);
    bench.finish();
}

#[test]
fn a_full_mailbox_is_answered_503_and_nobody_hangs() {
    let settings = EdgeSettings::default();
    // One open place: of a burst of handovers most find it taken.
    let bench = Bench::with(2, settings, (65, 64));
    let mut wires: Vec<_> = (0..400).map(|number| bench.wire(number % 8 == 7)).collect();
    for wire in &mut wires {
        wire.write_all(HEAD).unwrap();
        wire.flush().unwrap();
    }
    let (mut open, mut refused) = (0, 0);
    for mut wire in wires {
        let head = read_head(&mut wire);
        if head.starts_with("HTTP/1.1 101 ") {
            wire.write_all(&frame(true, 1, b"in")).unwrap();
            wire.flush().unwrap();
            let mut answer = [0; 4];
            wire.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"\x81\x02in");
            open += 1;
        } else {
            assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
            assert_eq!(
                wire.read(&mut [0]).unwrap(),
                0,
                "the end follows the refusal"
            );
            refused += 1;
        }
    }
    let bounced: u64 = bench
        .server
        .scrape()
        .iter()
        .map(|scraped| scraped.snapshot.bounced)
        .sum();
    assert_eq!((open + refused, refused), (400, bounced));
    assert_eq!(bench.counts().mailbox_refused, bounced);
    bench.finish();
}
