//! The follower of a server's frames: it knows at every byte, however the stream is cut, where a frame may follow.

use codec::ws::fuzzing::{Owned, model};
use codec::ws::{
    Follower, FrameRules, Header, Opcode, Place, Side, close_frame, close_frame_masked, frame,
    frame_masked, header,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const HEAD: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\r\n\n\r\r\nA: b\r\n\r\n";

/// The place after all of these bytes, by walking over them from their beginning.
fn walked(stream: &[u8]) -> Place {
    let Some(mut rest) = stream.strip_prefix(HEAD) else {
        return Place::Within;
    };
    while !rest.is_empty() {
        let header = match Header::parse(rest, Side::Client) {
            Ok(Some(header)) => header,
            Ok(None) => return Place::Within,
            Err(_) => return Place::Unknown,
        };
        let whole = header.header_bytes as u64 + header.payload_bytes;
        if whole > rest.len() as u64 {
            return Place::Within;
        }
        if header.opcode == Opcode::Close {
            return Place::Closed;
        }
        rest = &rest[usize::try_from(whole).expect("as long as the rest at most")..];
    }
    Place::Between
}

/// The place after the whole stream, cut into reads of these lengths.
fn followed(stream: &[u8], reads: impl Iterator<Item = usize>) -> Place {
    let mut follower = Follower::new();
    let mut rest = stream;
    for length in reads {
        let (read, later) = rest.split_at(length.min(rest.len()));
        follower.follow(read);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    follower.place()
}

/// Asserts the place after every beginning of a stream, in one piece, byte by byte, and in two pieces cut anywhere.
fn holds(stream: &[u8]) {
    let mut bytes = Follower::new();
    for length in 0..=stream.len() {
        let begun = &stream[..length];
        let expected = walked(begun);
        assert_eq!(
            followed(begun, [usize::MAX].into_iter()),
            expected,
            "{begun:x?}"
        );
        assert_eq!(bytes.place(), expected, "byte by byte: {begun:x?}");
        if let Some(next) = stream.get(length) {
            bytes.follow(&[*next]);
        }
    }
    let expected = walked(stream);
    for cut in 0..=stream.len() {
        let reads = [cut, usize::MAX].into_iter();
        assert_eq!(
            followed(stream, reads),
            expected,
            "cut at {cut}: {stream:x?}"
        );
    }
}

#[test]
fn every_form_of_length_at_every_split() {
    let mut stream = HEAD.to_vec();
    for length in [0, 1, 125, 126, 300] {
        frame(&mut stream, Opcode::Text, &vec![b'x'; length]);
        frame(&mut stream, Opcode::Ping, b"");
    }
    header(&mut stream, Opcode::Text, false, 2);
    stream.extend_from_slice(b"ab");
    frame(&mut stream, Opcode::Pong, b"between fragments");
    header(&mut stream, Opcode::Continuation, true, 0);
    close_frame(&mut stream, 1001, "Going away");
    stream.extend_from_slice(b"\x81\x01x");
    holds(&stream);
}

/// Bytes behind a close frame are none of the stream's, wherever that is cut, and of either side.
#[test]
fn what_is_behind_the_close_frame_is_counted_out() {
    let key = [1, 2, 3, 4];
    let mut server = HEAD.to_vec();
    frame(&mut server, Opcode::Text, b"answer");
    close_frame(&mut server, 1000, "bye");
    let mut client = Vec::new();
    frame_masked(&mut client, Opcode::Text, &[b'x'; 300], key);
    close_frame_masked(&mut client, 1000, "bye", key);
    for (stream, begun) in [
        (server, Follower::new as fn() -> Follower),
        (client, Follower::of_client),
    ] {
        let more = [&stream[..], b"\x88\x00behind"].concat();
        for cut in 0..=more.len() {
            let (one, other) = more.split_at(cut);
            let mut follower = begun();
            let counted = follower.follow(one) + follower.follow(other);
            assert_eq!((counted, follower.place()), (stream.len(), Place::Closed));
            assert_eq!(follower.follow(b"\x81\x01x"), 0);
        }
    }
    let mut unknown = Follower::of_client();
    let unmasked = b"\x81\x01x, which is not masked";
    assert_eq!(unknown.follow(unmasked), unmasked.len());
    assert_eq!(
        (unknown.follow(b"more"), unknown.place()),
        (4, Place::Unknown)
    );
}

#[test]
fn a_long_frame_is_a_number() {
    let mut stream = HEAD.to_vec();
    frame(&mut stream, Opcode::Binary, &vec![0x88; 70_000]);
    let last = stream.len() - 1;
    for reads in [1, 13, 4096, usize::MAX] {
        assert_eq!(followed(&stream, std::iter::repeat(reads)), Place::Between);
        assert_eq!(
            followed(&stream[..last], std::iter::repeat(reads)),
            Place::Within
        );
    }
}

#[test]
fn another_answer_has_no_frames() {
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n\x81\x00"[..],
        b"HTTP/1.1 1010 x\r\n\r\n",
        b"HTTP/1.0 101 x\r\n\r\n",
        b"\x81\x00",
    ] {
        for reads in [1, usize::MAX] {
            assert_eq!(
                followed(answer, std::iter::repeat(reads)),
                Place::Unknown,
                "{answer:x?}"
            );
        }
    }
    assert_eq!(followed(b"HTTP/1.1 10", std::iter::once(11)), Place::Within);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_is_followed_as_it_is_walked(
        frames in vec(wild(), 0..8),
        cuts in vec(1_usize..40, 1..8),
    ) {
        let stream = [HEAD, &frames.concat()].concat();
        prop_assert_eq!(
            followed(&stream, cuts.into_iter().chain([1]).cycle()),
            walked(&stream)
        );
        prop_assert_eq!(followed(&stream, std::iter::once(usize::MAX)), walked(&stream));
    }

    /// A client that reads what was passed on up to such a place, and a close frame behind it, sees a valid stream.
    #[test]
    fn a_close_frame_may_stand_wherever_a_frame_may_follow(
        frames in vec(lawful(), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let frames = frames.concat();
        let begun = &frames[..cut.index(frames.len() + 1)];
        let place = followed(&[HEAD, begun].concat(), std::iter::once(usize::MAX));
        let mut stream = begun.to_vec();
        close_frame(&mut stream, 1001, "Going away");
        let seen = model(Side::Client, &RULES, &stream);
        let is_closed = seen.error.is_none()
            && seen.items.last() == Some(&Owned::Close(Some((1001, "Going away".to_owned()))));
        prop_assert!(is_closed || place != Place::Between, "{:?} {:x?}", seen, begun);
    }
}

const RULES: FrameRules = FrameRules {
    message_bytes: 70_000,
    fragments: 9,
};

/// A frame that a server may send at any time.
fn lawful() -> impl Strategy<Value = Vec<u8>> {
    let opcode = select(&[Opcode::Text, Opcode::Ping, Opcode::Pong][..]);
    (opcode, 0_usize..300).prop_map(|(opcode, length)| {
        let mut out = Vec::new();
        let length = if opcode == Opcode::Text {
            length
        } else {
            length.min(125)
        };
        frame(&mut out, opcode, &vec![b'x'; length]);
        out
    })
}

/// A frame that may break any rule of its header.
fn wild() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => select(&[0x81_u8, 0x01, 0x00, 0x80, 0x82, 0x89, 0x8A][..]),
        1 => any::<u8>(),
    ];
    let length = prop_oneof![8 => 0_u8..126, 1 => any::<u8>()];
    (first, length, vec(any::<u8>(), 0..130)).prop_map(|(first, length, mut payload)| {
        payload.resize(usize::from(length).min(130), 0x81);
        [&[first, length][..], &payload].concat()
    })
}
