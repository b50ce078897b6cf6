//! Headers between nodes made of written ones by seeded mutations: nothing panics, pieces mean the same as the whole,
//! and nothing that nobody signed is taken.

use super::seeded::{Seeded, runs};
use codec::proxy::{CHALLENGE_BYTES, Link, LinkKey, ProxyHeader, fuzzing, write, write_ahead};

#[test]
fn seeded_mutations_hold() {
    let (inputs, mut seeded) = (written(), Seeded(0x9807));
    for _ in 0..runs() {
        let mut input = inputs[seeded.below(inputs.len())].clone();
        seeded.mutate(&mut input, DICTIONARY);
        fuzzing::fuzz(&input);
    }
}

const DICTIONARY: &[&[u8]] = &[
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x20",
    b"\x21",
    b"\x11",
    b"\x21\x11\0\x35",
    b"\0\0",
    b"\xff\xff",
    b"\xe0\0\x03\0\0\x01",
    b"\xe1\0\x20",
    b"\x04\0\0",
    b"\x04\0\x01\0",
    b"\x20\0\x05\x01\0\0\0\0",
];

/// Headers without their HMAC, of both families, and with it; the same of a connection that is opened ahead.
fn written() -> Vec<Vec<u8>> {
    let key = LinkKey::derive(&[9; 32], "another");
    let link = Link {
        key: &key,
        challenge: &[2; CHALLENGE_BYTES],
        node: "n1",
    };
    let mut all = Vec::new();
    for (source, destination) in [
        ("192.0.2.1:4660", "198.51.100.2:443"),
        ("[2001:db8::1]:1", "[2001:db8::2]:2"),
    ] {
        let header = ProxyHeader {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            listener: 1,
            tls: true,
        };
        let mut bytes = Vec::new();
        write(&mut bytes, &header, &link);
        all.push(bytes[..bytes.len() - 35].to_vec());
        all.push(bytes);
    }
    let mut bytes = Vec::new();
    write_ahead(&mut bytes, &link);
    all.push(bytes[..bytes.len() - 35].to_vec());
    all.push(bytes);
    all
}
