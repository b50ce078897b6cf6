//! Frames that break RFC 6455: each to its close code, and a healthy pair beside them goes on relaying.

use crate::peer::{HealthyPair, Peer};
use crate::process::{Broker, arn};

on_shards!(
    each_violation_has_its_close_code,
    endless_fragments_end,
    a_declared_length_costs_nothing
);

fn each_violation_has_its_close_code(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let large = {
        let mut frame = vec![0x81, 0xff];
        frame.extend_from_slice(&65_537_u64.to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame
    };
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("unmasked", vec![0x81, 0x02, b'h', b'i'], 1002),
        ("reserved bit 1", masked(0xc1, b"hi"), 1002),
        ("reserved bit 2", masked(0xa1, b"hi"), 1002),
        ("reserved bit 3", masked(0x91, b"hi"), 1002),
        ("unknown data opcode", masked(0x83, b"hi"), 1002),
        ("unknown control opcode", masked(0x8b, b"hi"), 1002),
        ("fragmented ping", masked(0x09, b"hi"), 1002),
        ("long ping", vec![0x89, 0xfe, 0, 126, 0, 0, 0, 0], 1002),
        (
            "length not minimal",
            vec![0x81, 0xfe, 0, 2, 0, 0, 0, 0, b'h', b'i'],
            1002,
        ),
        (
            "length with its top bit",
            vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            1002,
        ),
        ("continuation of nothing", masked(0x80, b"hi"), 1002),
        (
            "a message inside a message",
            [masked(0x01, b"a"), masked(0x81, b"b")].concat(),
            1002,
        ),
        ("close with one byte", masked(0x88, &[3]), 1002),
        (
            "close with a reserved code",
            masked(0x88, &1005_u16.to_be_bytes()),
            1002,
        ),
        (
            "close reason not UTF-8",
            masked(0x88, &[0x03, 0xe8, 0xff]),
            1007,
        ),
        ("text not UTF-8", masked(0x81, &[0xc3, 0x28]), 1007),
        (
            "text not UTF-8 across fragments",
            [masked(0x01, &[0xe2, 0x82]), masked(0x80, &[0x28])].concat(),
            1007,
        ),
        (
            "text cut inside a character",
            masked(0x81, &[0xe2, 0x82]),
            1007,
        ),
        ("binary", masked(0x82, b"hi"), 1003),
        ("a frame over the limit", large, 1009),
    ];
    for (what, bytes, code) in cases {
        let mut viewer = Peer::viewer(broker, &arn("attacked"), "v1");
        viewer.send_bytes(&bytes).expect("sent");
        eprintln!("{what}");
        viewer.expect_close(code);
        pair.relay();
    }
}

/// A message may be cut finely, but not without end: by bytes or by count the broker puts an end to it.
fn endless_fragments_end(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    for (what, piece) in [
        ("one byte each", masked(0x00, b"a")),
        ("empty", masked(0x00, b"")),
        ("large", masked(0x00, &[b'a'; 120])),
    ] {
        let mut viewer = Peer::viewer(broker, &arn("attacked"), "v1");
        viewer.send_bytes(&masked(0x01, b"{")).expect("sent");
        let burst = piece.repeat(64);
        for _ in 0..4_096 {
            if viewer.send_bytes(&burst).is_err() {
                break;
            }
        }
        let (texts, code) = viewer.drain();
        assert_eq!(texts, Vec::<String>::new(), "{what}");
        let code = code.map(u16::from);
        // A broker that closes while bytes are still coming may end in a reset before its close frame is read.
        assert!(
            code.is_none_or(|code| code == 1008 || code == 1009),
            "{what}: {code:?}"
        );
        pair.relay();
    }
}

fn a_declared_length_costs_nothing(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    for declared in [65_537, u64::from(u32::MAX), (1 << 63) - 1] {
        let mut frame = vec![0x82, 0xff];
        frame.extend_from_slice(&declared.to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        let mut viewer = Peer::viewer(broker, &arn("attacked"), "v1");
        viewer.send_bytes(&frame).expect("sent");
        // The payload is not there yet: the header alone decides.
        let (_, code) = viewer.drain();
        assert!(
            matches!(code.map(u16::from), Some(1003 | 1009)),
            "{declared}: {code:?}"
        );
        pair.relay();
    }
}

/// A frame masked with the key zero, which changes nothing.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short payload");
    assert!(length < 126);
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}
