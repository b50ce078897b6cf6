//! Frames between two nodes: written ones are read as they are at every cut, against a second, plain reader; each rule
//! has its error.

use codec::link::fuzzing::run;
use codec::link::{
    Ack, Client, End, Frame, FrameError, HEADER_BYTES, HELLO_BYTES_MAX, Hello, How, Kind,
    NAME_BYTES_MAX, NodeName, NotHello, Open, PAYLOAD_BYTES_MAX, Reader, write,
};

pub(crate) fn written(stream: u32, frame: Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, stream, &frame);
    bytes
}

/// One frame of each type, with its stream.
pub(crate) fn frames() -> Vec<(u32, Frame<'static>)> {
    let data = |bytes, whole| Frame::Data { bytes, whole };
    let mut all = vec![
        (u32::MAX, data(&[7; PAYLOAD_BYTES_MAX], false)),
        (1, data(b"x", true)),
        (2, Frame::Ack(ack())),
        (3, Frame::Ask),
        (0, Frame::Ping(u64::MAX)),
        (0, Frame::Pong(5)),
        (0, Frame::Away),
    ];
    let v6 = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9).into();
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        client(),
        Client { kind: Kind::Call, address: v6, tls: false,..client() },
        Client { kind: Kind::AlexaCall, server_name: "".into(),..client() },
        Client {
            certificate: Some([9; 32]),
            ..client()
        },
    ];
    for client in cases {
        all.push((4, Frame::Open(Open { client, ..open() })));
    }
    all.push((
        4,
        Frame::Open(Open {
            begin: b"",
            ..open()
        }),
    ));
    for how in [
        How::Fin,
        How::Reset,
        How::Timeout,
        How::Slow,
        How::Finish,
        How::Cut(0),
        How::Cut(1001),
        How::NotBegun,
    ] {
        all.push((
            5,
            Frame::End(End {
                how,
                offset: 1 << 40,
            }),
        ));
    }
    all
}

fn ack() -> Ack {
    Ack {
        offset: u64::MAX,
        window: 1,
        round_trip_ms: 2,
        oldest_ms: u32::MAX,
    }
}

fn client() -> Client {
    Client {
        kind: Kind::Upgrade,
        address: ([192, 0, 2, 1], 4660).into(),
        listener: 513,
        tls: true,
        server_name: "camera.example".into(),
        certificate: None,
    }
}

fn open() -> Open<'static> {
    let client = client();
    Open {
        client,
        request_bytes: 300,
        begin: b"GET / HTTP/1.1\r\n",
    }
}

#[test]
fn each_frame_is_read_as_it_was_written_at_every_cut() {
    for (stream, frame) in frames() {
        let bytes = written(stream, frame.clone());
        let step = bytes.len().div_ceil(200);
        for cut in (0..bytes.len()).step_by(step) {
            let mut reader = Reader::default();
            assert_eq!(reader.next(&bytes[..cut]), Ok((cut, None)), "{frame:?}");
            let more = [&bytes[cut..], b"more"].concat();
            let rest = bytes.len() - cut;
            let found = reader.next(&more);
            assert_eq!(found, Ok((rest, Some((stream, frame.clone())))), "{cut}");
        }
    }
}

#[test]
fn a_whole_frame_is_lent_from_what_was_read() {
    let bytes = written(
        1,
        Frame::Data {
            bytes: b"payload",
            whole: false,
        },
    );
    let mut reader = Reader::default();
    let Ok((_, Some((1, Frame::Data { bytes: lent, .. })))) = reader.next(&bytes) else {
        panic!("no frame");
    };
    assert!(bytes.as_ptr_range().contains(&lent.as_ptr()));
}

#[test]
fn an_ipv4_address_stays_one_in_whatever_form_it_comes() {
    let address = "[::ffff:192.0.2.1]:4660".parse().unwrap();
    let mapped = Open {
        client: Client {
            address,
            ..client()
        },
        ..open()
    };
    let found = written(1, Frame::Open(mapped));
    assert_eq!(found, written(1, Frame::Open(open())));
}

#[test]
fn open_takes_as_much_of_a_request_as_fits() {
    let name = "n".repeat(255);
    #[rustfmt::skip] // a table, a case per row
    let rows = [
        client(),
        Client {
            certificate: Some([1; 32]),
            ..client()
        },
        Client { server_name: name.into(),..client() },
        Client { server_name: "n".repeat(256).into(),..client() },
    ];
    for client in rows {
        let begin = vec![b'a'; client.room()];
        let open = Open {
            client,
            request_bytes: 1 << 20,
            begin: &begin,
        };
        let bytes = written(1, Frame::Open(open));
        assert_eq!(bytes.len(), HEADER_BYTES + PAYLOAD_BYTES_MAX);
        assert_eq!(run(&bytes, usize::MAX), (vec![bytes], None));
    }
}

#[test]
#[should_panic(expected = "a payload of 16385 bytes")]
fn nobody_writes_a_longer_payload() {
    written(
        1,
        Frame::Data {
            bytes: &[0; PAYLOAD_BYTES_MAX + 1],
            whole: false,
        },
    );
}

/// A frame of any type, whatever its payload.
fn raw(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [low, middle, high, ..] = payload.len().to_le_bytes();
    [
        &[high, middle, low, kind],
        &stream.to_be_bytes()[..],
        payload,
    ]
    .concat()
}

#[test]
fn each_broken_rule_is_named() {
    let opened = written(1, Frame::Open(open()));
    let changed = |at: usize, byte: u8| {
        let mut bytes = opened.clone();
        bytes[HEADER_BYTES + at] = byte;
        bytes
    };
    let length = |kind, bytes| raw(kind, u32::from(kind < 7), &vec![1; bytes]);
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (vec![0, 0x40, 1, 200, 0, 0, 0, 0], FrameError::TooLong),
        (vec![1, 0, 0, 2, 0, 0, 0, 1], FrameError::TooLong),
        (length(1, 26), FrameError::WrongLength),
        (changed(26, 255), FrameError::WrongLength),
        (length(2, 0), FrameError::WrongLength),
        (length(3, 0), FrameError::WrongLength),
        (length(4, 19), FrameError::WrongLength),
        (length(4, 21), FrameError::WrongLength),
        (length(5, 1), FrameError::WrongLength),
        (length(6, 10), FrameError::WrongLength),
        (raw(6, 1, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), FrameError::WrongLength),
        (length(7, 7), FrameError::WrongLength),
        (length(8, 9), FrameError::WrongLength),
        (length(9, 1), FrameError::WrongLength),
        (raw(2, 0, b"x"), FrameError::NoStream),
        (raw(5, 0, b""), FrameError::NoStream),
        (raw(7, 1, &[0; 8]), FrameError::NotOfStream),
        (raw(9, 1, b""), FrameError::NotOfStream),
        (changed(0, 0), FrameError::BadOpen),
        (changed(0, 4), FrameError::BadOpen),
        (changed(1, 4), FrameError::BadOpen),
        (changed(27, 0xff), FrameError::BadOpen),
        (written(1, Frame::Open(Open { request_bytes: 15,..open() })), FrameError::BadRequest),
        (written(1, Frame::Open(Open { request_bytes: 0, begin: b"",..open() })), FrameError::BadRequest),
        (raw(6, 1, &[0; 11]), FrameError::BadEnd),
        (raw(6, 1, &[8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), FrameError::BadEnd),
        (raw(6, 1, &[1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), FrameError::BadEnd),
    ];
    for (bytes, error) in cases {
        for piece in [1, 3, usize::MAX] {
            let whole = written(1, Frame::Ask);
            let stream = [&whole[..], &bytes].concat();
            assert_eq!(run(&stream, piece), (vec![whole], Some(error)), "{bytes:?}");
        }
    }
}

#[test]
fn unknown_types_are_skipped_in_any_pieces() {
    let known = written(3, Frame::Ask);
    for kind in [0, 10, 200, 255] {
        for length in [0_usize, 1, 300, PAYLOAD_BYTES_MAX] {
            let [_, high, middle, low] = u32::try_from(length).unwrap().to_be_bytes();
            let unknown = [&[high, middle, low, kind, 9, 9, 9, 9][..], &vec![5; length]].concat();
            let stream = [&known[..], &unknown, &unknown, &known].concat();
            for piece in [1, 7, 8, 9, 4096, usize::MAX] {
                assert_eq!(run(&stream, piece), (vec![known.clone(); 2], None));
            }
        }
    }
}

/// A second reader, in the plainest way: the frames that are read as they came, and the error.
pub(crate) fn oracle(mut stream: &[u8]) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let mut seen = Vec::new();
    while stream.len() >= 8 {
        let length = stream[..3]
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (kind, of_none) = (stream[3], stream[4..8] == [0; 4]);
        if length > 16_384 {
            return (seen, Some(FrameError::TooLong));
        }
        if stream.len() < 8 + length {
            break;
        }
        let (frame, rest) = stream.split_at(8 + length);
        stream = rest;
        let payload = &frame[8..];
        let fault = match kind {
            1..=6 if of_none => Some(FrameError::NoStream),
            7..=9 if !of_none => Some(FrameError::NotOfStream),
            1 => oracle_of_open(payload),
            2 | 3 if length == 0 => Some(FrameError::WrongLength),
            2 | 3 => None,
            4 if length == 20 => None,
            5 | 9 if length == 0 => None,
            7 | 8 if length == 8 => None,
            6 if length < 11 => Some(FrameError::WrongLength),
            6 if !(1..=7).contains(&payload[0]) => Some(FrameError::BadEnd),
            6 if payload[0] != 6 && payload[1..3] != [0, 0] => Some(FrameError::BadEnd),
            6 if length == 11 => None,
            4..=9 => Some(FrameError::WrongLength),
            _ => continue,
        };
        if fault.is_some() {
            return (seen, fault);
        }
        seen.push(frame.to_vec());
    }
    (seen, None)
}

fn oracle_of_open(payload: &[u8]) -> Option<FrameError> {
    if payload.len() < 27 {
        return Some(FrameError::WrongLength);
    }
    if !(1..=3).contains(&payload[0]) || payload[1] > 3 {
        return Some(FrameError::BadOpen);
    }
    let name_end = 27 + usize::from(payload[26]);
    let facts_end = name_end + if payload[1] >= 2 { 32 } else { 0 };
    if payload.len() < facts_end {
        return Some(FrameError::WrongLength);
    }
    let request = payload[22..26]
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    if request == 0 || payload.len() - facts_end > request {
        return Some(FrameError::BadRequest);
    }
    String::from_utf8(payload[27..name_end].to_vec())
        .err()
        .map(|_| FrameError::BadOpen)
}

pub(crate) fn hello() -> Hello<'static> {
    let node = |name| NodeName {
        name,
        directory: 7,
        start: 1 << 33,
    };
    Hello {
        version: 6,
        cluster: "prod",
        from: node("n1"),
        to: node("n2"),
        shard: 3,
        shards: 16,
    }
}

#[test]
fn a_hello_is_read_at_every_cut_and_what_a_later_version_adds_is_skipped() {
    let mut bytes = Vec::new();
    hello().write(&mut bytes);
    for cut in 0..bytes.len() {
        assert_eq!(Hello::read(&bytes[..cut]), Ok(None), "{cut}");
    }
    let length = bytes.len();
    bytes.extend_from_slice(b"later");
    assert_eq!(Hello::read(&bytes), Ok(Some((hello(), length))));
    bytes[13] += 5;
    assert_eq!(Hello::read(&bytes), Ok(Some((hello(), length + 5))));
    let name = "n".repeat(NAME_BYTES_MAX);
    let longest = Hello {
        cluster: &name,
        from: NodeName {
            name: &name,
            ..hello().from
        },
        ..hello()
    };
    let mut bytes = Vec::new();
    longest.write(&mut bytes);
    assert_eq!(Hello::read(&bytes), Ok(Some((longest, bytes.len()))));
}

#[test]
fn what_is_no_hello_is_known_by_its_first_wrong_byte() {
    let of = |hello: Hello<'_>| {
        let mut bytes = Vec::new();
        hello.write(&mut bytes);
        bytes
    };
    let mut too_long = of(hello());
    too_long[12..14].copy_from_slice(&u16::try_from(HELLO_BYTES_MAX).unwrap().to_be_bytes());
    let mut cut_off = of(hello());
    cut_off[13] -= 1;
    let mut no_text = of(hello());
    no_text[15] = 0xff;
    let name = "n".repeat(NAME_BYTES_MAX + 1);
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        b"HELIO/1\n".to_vec(),
        b"X".to_vec(),
        too_long,
        cut_off,
        no_text,
        of(Hello { cluster: &name,..hello() }),
        of(Hello { to: NodeName { name: "",..hello().to },..hello() }),
    ];
    for bytes in cases {
        assert_eq!(Hello::read(&bytes), Err(NotHello), "{bytes:?}");
    }
}
