//! Headers between nodes: what is written is read, at every cut, and nothing else is.
#![expect(clippy::unwrap_used, reason = "support code of tests")]

use codec::proxy::{
    AHEAD_BYTES, CALL_BYTES_MAX, CHALLENGE_BYTES, CallEntry, Entry, HEADER_BYTES_MAX, Introduction,
    Link, LinkKey, ProxyError, ProxyHeader, introduced, is_ahead, parse_ahead, write, write_ahead,
    write_call, write_upgrade,
};
use proptest::prelude::*;
use std::net::SocketAddr;

const CHALLENGE: [u8; CHALLENGE_BYTES] = [42; CHALLENGE_BYTES];

fn key() -> LinkKey {
    LinkKey::derive(&[7; 32], "prod")
}

fn link(key: &LinkKey) -> Link<'_> {
    Link {
        key,
        challenge: &CHALLENGE,
        node: "n2",
    }
}

fn header(source: &str, destination: &str) -> ProxyHeader {
    ProxyHeader {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        listener: 1,
        tls: true,
    }
}

fn written(header: &ProxyHeader) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, header, &link(&key()));
    bytes
}

fn read(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyError> {
    let read = introduced(bytes, &link(&key()))?;
    Ok(read.map(|it| (it.header, it.length)))
}

/// The header with `entry` before its HMAC, which stays as it is.
fn with_entry(bytes: &[u8], entry: &[u8]) -> Vec<u8> {
    let (before, mac) = bytes.split_at(bytes.len() - 35);
    let mut all = [before, entry, mac].concat();
    let length = u16::try_from(all.len() - 16).unwrap();
    all[14..16].copy_from_slice(&length.to_be_bytes());
    all
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    let bytes = written(&header("192.0.2.1:4660", "198.51.100.2:443"));
    let expected = [
        b"\r\n\r\n\0\r\nQUIT\n".as_slice(),
        &[0x21, 0x11, 0, 12 + 6 + 35],
        &[192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x34, 0x01, 0xbb],
        &[0xe0, 0, 3, 0, 1, 1, 0xe1, 0, 32],
    ];
    assert_eq!(bytes[..bytes.len() - 32], expected.concat());
    let bytes = written(&header("[2001:db8::1]:1", "192.0.2.9:2"));
    assert_eq!(bytes[13..16], [0x21, 0, 36 + 6 + 35]);
    let (read, _) = read(&bytes).unwrap().unwrap();
    assert_eq!(read.destination, "[::ffff:192.0.2.9]:2".parse().unwrap());
}

#[test]
fn every_cut_waits_and_what_follows_is_left() {
    let header = header("[2001:db8::1]:1", "[2001:db8::2]:2");
    let bytes = written(&header);
    for cut in 0..bytes.len() {
        assert_eq!(read(&bytes[..cut]), Ok(None), "{cut}");
    }
    let more = [&bytes[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
    assert_eq!(read(&more), Ok(Some((header, bytes.len()))));
}

#[test]
fn every_changed_bit_is_refused() {
    let bytes = written(&header("192.0.2.1:4660", "198.51.100.2:443"));
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // A longer length waits for more, which does not make it better.
        changed.resize(HEADER_BYTES_MAX + 1, 0);
        assert!(read(&changed).is_err(), "bit {bit}: {:?}", read(&changed));
    }
}

#[test]
fn a_header_is_for_one_connection_to_one_node_of_one_cluster() {
    let bytes = written(&header("192.0.2.1:4660", "198.51.100.2:443"));
    let right = key();
    let replayed = Link {
        challenge: &[43; CHALLENGE_BYTES],
        ..link(&right)
    };
    let elsewhere = Link {
        node: "n3",
        ..link(&right)
    };
    let (secret, cluster) = (
        LinkKey::derive(&[8; 32], "prod"),
        LinkKey::derive(&[7; 32], "test"),
    );
    for wrong in [replayed, elsewhere, link(&secret), link(&cluster)] {
        assert_eq!(
            introduced(&bytes, &wrong),
            Err(ProxyError::Forged),
            "{wrong:?}"
        );
    }
}

#[test]
fn what_is_no_such_header_is_refused_at_its_first_wrong_byte() {
    let good = written(&header("192.0.2.1:4660", "198.51.100.2:443"));
    let with = |place: usize, byte: u8| {
        let mut bytes = good[..=place].to_vec();
        bytes[place] = byte;
        read(&bytes)
    };
    assert_eq!(read(b"GET / HTTP/1.1\r\n"), Err(ProxyError::NotProxy));
    assert_eq!(read(b"PROXY TCP4 "), Err(ProxyError::NotProxy));
    assert_eq!(with(11, b'!'), Err(ProxyError::NotProxy));
    assert_eq!(with(12, 0x11), Err(ProxyError::NotProxy));
    assert_eq!(with(12, 0x20), Err(ProxyError::Unsupported), "LOCAL");
    assert_eq!(with(13, 0x00), Err(ProxyError::Unsupported), "no family");
    assert_eq!(with(13, 0x12), Err(ProxyError::Unsupported), "datagrams");
    assert_eq!(with(13, 0x31), Err(ProxyError::Unsupported), "Unix sockets");
    let mut long = good[..16].to_vec();
    long[14] = 1;
    assert_eq!(read(&long), Err(ProxyError::TooLong));
}

#[test]
fn entries_that_do_not_fit_are_refused() {
    let good = written(&header("192.0.2.1:4660", "198.51.100.2:443"));
    let unsigned = &good[..good.len() - 35];
    let mut without = unsigned.to_vec();
    without[14..16].copy_from_slice(&18u16.to_be_bytes());
    assert_eq!(read(&without), Err(ProxyError::Forged), "no HMAC");
    for (entry, why) in [
        (&[0xe0, 0, 3, 0, 1, 1][..], "twice"),
        (&[0xe0, 0, 2, 0, 1], "too short"),
        (&[0x04, 0xff, 0xff], "beyond the header"),
        (&[0xe1, 0, 1, 0], "the HMAC before the end"),
    ] {
        let bytes = with_entry(&good, entry);
        assert_eq!(read(&bytes), Err(ProxyError::Malformed), "{why}");
    }
    let bytes = with_entry(&good, &[0x04, 0, 1, 0]);
    assert_eq!(read(&bytes), Err(ProxyError::Forged), "not signed with it");
    let mut half = good[..16 + 11].to_vec();
    half[14..16].copy_from_slice(&11u16.to_be_bytes());
    assert_eq!(read(&half), Err(ProxyError::Malformed), "half an address");
}

#[test]
fn a_frame_of_a_connection_that_is_opened_ahead_is_for_that_connection_alone() {
    let right = key();
    let mut frame = Vec::new();
    write_ahead(&mut frame, &link(&right));
    assert_eq!(frame.len(), AHEAD_BYTES);
    assert_eq!(frame[12..19], [0x20, 0, 0, 35, 0xe1, 0, 32]);
    for cut in 0..frame.len() {
        assert_eq!(parse_ahead(&frame[..cut], &link(&right)), Ok(None), "{cut}");
    }
    let header = written(&header("192.0.2.1:4660", "198.51.100.2:443"));
    let both = [&frame[..], &header].concat();
    assert_eq!(parse_ahead(&both, &link(&right)), Ok(Some(AHEAD_BYTES)));
    for bit in 0..frame.len() * 8 {
        let mut changed = frame.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(parse_ahead(&changed, &link(&right)).is_err(), "bit {bit}");
    }
    let replayed = Link {
        challenge: &[43; CHALLENGE_BYTES],
        ..link(&right)
    };
    let elsewhere = Link {
        node: "n3",
        ..link(&right)
    };
    let secret = LinkKey::derive(&[8; 32], "prod");
    for wrong in [replayed, elsewhere, link(&secret)] {
        assert_eq!(parse_ahead(&frame, &wrong), Err(ProxyError::Forged));
    }
}

#[test]
fn a_frame_and_a_header_are_never_taken_for_each_other() {
    let right = key();
    let mut frame = Vec::new();
    write_ahead(&mut frame, &link(&right));
    let header = written(&header("192.0.2.1:4660", "198.51.100.2:443"));
    assert_eq!(read(&frame), Err(ProxyError::Unsupported));
    assert_eq!(
        parse_ahead(&header, &link(&right)),
        Err(ProxyError::Malformed)
    );
    assert_eq!(
        parse_ahead(b"GET / ", &link(&right)),
        Err(ProxyError::NotProxy)
    );
    assert!(is_ahead(&frame[..13]) && !is_ahead(&frame[..12]) && !is_ahead(&header));
}

/// The header of a call says its number and its length, and nothing of that can be changed.
#[test]
fn a_header_of_a_call_is_for_that_call_alone() {
    let header = header("192.0.2.1:4660", "[2001:db8::2]:2");
    let (right, call) = (
        key(),
        CallEntry {
            number: 7,
            length: 99,
        },
    );
    let mut bytes = Vec::new();
    write_call(&mut bytes, &header, call, &link(&right));
    let read = |bytes: &[u8]| introduced(bytes, &link(&right));
    for cut in 0..bytes.len() {
        assert_eq!(read(&bytes[..cut]), Ok(None), "{cut}");
    }
    let introduction = read(&bytes).unwrap().unwrap();
    assert_eq!(
        (introduction.entry, introduction.length),
        (Some(Entry::Call(call)), bytes.len())
    );
    let entry = bytes.len() - 35 - 15;
    assert_eq!(
        bytes[entry..][..15],
        [0xe2, 0, 12, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 99]
    );
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed.resize(HEADER_BYTES_MAX + 1, 0);
        assert!(read(&changed).is_err(), "bit {bit}");
    }
    // Without the entry it is not signed.
    let mut plain = [&bytes[..entry], &bytes[entry + 15..]].concat();
    let length = u16::try_from(plain.len() - 16).unwrap();
    plain[14..16].copy_from_slice(&length.to_be_bytes());
    assert_eq!(read(&plain), Err(ProxyError::Forged));
    let twice = with_entry(&bytes, &bytes[entry..][..15]);
    assert_eq!(read(&twice), Err(ProxyError::Malformed), "twice");
}

/// The header of an upgrade says its number, and a connection is for a call or an upgrade, never both.
#[test]
fn a_header_of_an_upgrade_says_its_number() {
    let header = header("192.0.2.1:4660", "198.51.100.2:443");
    let right = key();
    let mut bytes = Vec::new();
    write_upgrade(&mut bytes, &header, 7, &link(&right));
    let read = |bytes: &[u8]| introduced(bytes, &link(&right));
    for cut in 0..bytes.len() {
        assert_eq!(read(&bytes[..cut]), Ok(None), "{cut}");
    }
    let introduction = read(&bytes).unwrap().unwrap();
    assert_eq!(
        (introduction.entry, introduction.length),
        (Some(Entry::Upgrade(7)), bytes.len())
    );
    let entry = bytes.len() - 35 - 11;
    assert_eq!(bytes[entry..][..11], [0xe3, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7]);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed.resize(HEADER_BYTES_MAX + 1, 0);
        assert!(read(&changed).is_err(), "bit {bit}");
    }
    let call = [0xe2, 0, 12, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 99];
    for more in [&bytes[entry..][..11], &call, &[0xe3, 0, 1, 7]] {
        let both = with_entry(&bytes, more);
        assert_eq!(read(&both), Err(ProxyError::Malformed), "{more:x?}");
    }
}

#[test]
fn a_call_of_no_bytes_or_too_many_is_refused() {
    let header = header("192.0.2.1:4660", "198.51.100.2:443");
    for (length, is_read) in [
        (0, false),
        (CALL_BYTES_MAX, true),
        (CALL_BYTES_MAX + 1, false),
    ] {
        let length = u32::try_from(length).unwrap();
        let (right, call) = (key(), CallEntry { number: 0, length });
        let mut bytes = Vec::new();
        write_call(&mut bytes, &header, call, &link(&right));
        let read = introduced(&bytes, &link(&right));
        assert_eq!(read.is_ok(), is_read, "{read:?}");
        let taken = |it: Introduction| it.entry.is_some();
        assert_eq!(read.ok().flatten().is_some_and(taken), is_read);
    }
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let v4 = (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| (ip, port).into());
    let v6 = (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| (ip, port).into());
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        source in address(),
        destination in address(),
        listener: u16,
        tls: bool,
        secret: [u8; 32],
        challenge: [u8; 32],
        node in "[a-z0-9.-]{1,64}",
        before in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let key = LinkKey::derive(&secret, "prod");
        let link = Link { key: &key, challenge: &challenge, node: &node };
        let header = ProxyHeader { source, destination, listener, tls };
        let mut bytes = before.clone();
        write(&mut bytes, &header, &link);
        let bytes = &bytes[before.len()..];
        prop_assert!(bytes.len() <= HEADER_BYTES_MAX);
        let Introduction { header: read, length, .. } = introduced(bytes, &link).unwrap().unwrap();
        prop_assert_eq!(length, bytes.len());
        prop_assert_eq!((read.listener, read.tls), (listener, tls));
        prop_assert_eq!(read.source.ip().to_canonical(), source.ip().to_canonical());
        prop_assert_eq!(read.source.port(), source.port());
    }

    #[test]
    fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), valid in 0usize..17) {
        let good = written(&header("192.0.2.1:4660", "198.51.100.2:443"));
        let valid = valid.min(bytes.len());
        bytes[..valid].copy_from_slice(&good[..valid]);
        prop_assert!(!matches!(read(&bytes), Ok(Some(_))));
    }
}
