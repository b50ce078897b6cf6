//! Frames between nodes, made of written ones by seeded mutations: nothing panics, and pieces mean the same as the
//! whole.

use super::seeded::{Seeded, runs};
use codec::link::{Ack, Client, End, Frame, Hello, How, Kind, NodeName, Open, fuzzing, write};

#[test]
fn seeded_mutations_hold() {
    let (inputs, mut seeded) = (written(), Seeded(0x119c));
    for _ in 0..runs() {
        let mut input = inputs[seeded.below(inputs.len())].clone();
        seeded.mutate(&mut input, DICTIONARY);
        fuzzing::fuzz(&input);
    }
}

const DICTIONARY: &[&[u8]] = &[
    b"HELIOLNK",
    b"\0\0\0\x05\0\0\0\x01",
    b"\0\0\x01\x02\0\0\0\x01x",
    b"\0\0\x14\x04\0\0\0\x02",
    b"\0\0\x0b\x06\0\0\0\x03\x06\x03\xe9",
    b"\0\0\x08\x07\0\0\0\0",
    b"\0\x40\0",
    b"\0\x40\x01",
    b"\xff\xff",
    b"\0\0\x02\xc8",
];

/// A hello, and a stream with a frame of each type behind the byte that says how it is cut.
fn written() -> Vec<Vec<u8>> {
    let node = NodeName {
        name: "n1",
        directory: 1,
        start: 2,
    };
    let hello = Hello {
        version: 6,
        cluster: "c",
        from: node,
        to: node,
        shard: 3,
        shards: 16,
    };
    let mut greeting = Vec::new();
    hello.write(&mut greeting);
    let client = Client {
        kind: Kind::Call,
        address: "192.0.2.1:4660".parse().unwrap(),
        listener: 1,
        tls: true,
        server_name: "a.example".into(),
        certificate: Some([3; 32]),
    };
    let open = Open {
        client,
        request_bytes: 9,
        begin: b"POST",
    };
    let mut stream = vec![11];
    for (number, frame) in [
        (1, Frame::Open(open)),
        (
            1,
            Frame::Data {
                bytes: b" / HT",
                whole: false,
            },
        ),
        (
            1,
            Frame::Data {
                bytes: b"\x81\0",
                whole: true,
            },
        ),
        (1, Frame::Ack(Ack::default())),
        (1, Frame::Ask),
        (0, Frame::Ping(4)),
        (0, Frame::Pong(4)),
        (
            1,
            Frame::End(End {
                how: How::Cut(1001),
                offset: 2,
            }),
        ),
        (0, Frame::Away),
    ] {
        write(&mut stream, number, &frame);
    }
    vec![greeting, stream]
}
