//! TLS records of an owner that come in pieces, on a connection that came back: a part of one says nothing.

use super::nodes::{NAME, SECRET};
use super::secured::{CHALLENGE, Owner, OwnerLink, client, keys, read_until};
use crate::process::Broker;
use codec::proxy::{Link, LinkKey, OwnerFrame, introduced, write_frame};
use codec::ws::{close_frame, close_frame_masked};
use std::io::{Read, Write};
use testkit::until;

const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

fn received(node: &Broker) -> f64 {
    node.scrape().sum("heliograph_received_bytes_total")
}

/// Sends bytes as one record: its first bytes, which the node reads by themselves, and the others.
fn say_in_pieces(node: &Broker, link: &mut OwnerLink, bytes: &[u8], first: u8) {
    link.conn.writer().write_all(bytes).expect("room");
    let mut record = Vec::new();
    while link.conn.wants_write() {
        link.conn.write_tls(&mut record).expect("bytes");
    }
    let before = received(node);
    let (one, other) = record.split_at(usize::from(first));
    link.sock.write_all(one).expect("sent");
    until("the first piece", || {
        (received(node) == before + f64::from(first)).then_some(())
    });
    link.sock.write_all(other).expect("sent");
}

/// Takes the header of the next upgrade; the bytes that came behind it.
fn take_header(link: &mut OwnerLink) -> Vec<u8> {
    let key = LinkKey::derive(&SECRET, NAME);
    let signed = Link {
        key: &key,
        challenge: &CHALLENGE,
        node: "n2",
    };
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(it) = introduced(&bytes, &signed).expect("a header") {
            return bytes.split_off(it.length);
        }
        let read = link.read(&mut buffer).expect("more");
        assert_ne!(read, 0, "the end before a header");
        bytes.extend_from_slice(&buffer[..read]);
    }
}

#[test]
fn an_answer_in_pieces_is_no_refusal() {
    let world = Owner::new();
    let mut came_back: Option<OwnerLink> = None;
    for (number, first) in [(0, 3), (1, 3), (2, 6), (3, 30)] {
        let (client, head) = client(&world.node);
        let (mut link, mut bytes) = match came_back.take() {
            None => {
                let mut link = world.accept(&keys(SECRET[0]));
                let (_, bytes) = world.greet(&mut link);
                (link, bytes)
            }
            Some(mut link) => {
                let bytes = take_header(&mut link);
                (link, bytes)
            }
        };
        read_until(&mut link, &mut bytes, head.len());
        say_in_pieces(&world.node, &mut link, SWITCHED, first);
        let (mut client, mut got) = client.into_parts();
        read_until(&mut client, &mut got, SWITCHED.len());
        assert_eq!(got, SWITCHED, "{number}");
        let mut close = Vec::new();
        close_frame_masked(&mut close, 1000, "", [1, 2, 3, 4]);
        client.write_all(&close).expect("sent");
        let mut read = vec![0; close.len()];
        link.read_exact(&mut read).expect("a close frame");
        let mut last = Vec::new();
        close_frame(&mut last, 1000, "");
        write_frame(&mut last, number, OwnerFrame::Free);
        say_in_pieces(&world.node, &mut link, &last, first);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("an end");
        assert_eq!(rest.len(), 4, "{rest:x?}");
        drop(client);
        let returned = "heliograph_cluster_ahead_total{event=\"returned\"}";
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        until("it comes back", || {
            (world.node.scrape().sum(returned) == (number + 1) as f64).then_some(())
        });
        came_back = Some(link);
    }
}
