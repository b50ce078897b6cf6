//! Properties: any cutting of a stream means the same, and what is encoded is what is decoded.

use codec::ws::fuzzing::{Owned, model, run};
use codec::ws::{
    FrameRules, Kind, Opcode, Side, close_frame, close_frame_masked, frame, frame_masked, header,
    header_bytes, mask,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const KEY: [u8; 4] = [0x9C, 0x01, 0xF0, 0x3E];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cutting_means_the_same(
        side in sides(),
        rules in rules(),
        frames in vec(wild_frame(), 0..8),
        cuts in vec(0_usize..300, 1..12),
    ) {
        let stream = frames.concat();
        let stream = match side { Side::Server => masked(&stream), Side::Client => stream };
        let whole = run(side, &rules, &stream, std::iter::once(usize::MAX));
        prop_assert_eq!(&whole, &model(side, &rules, &stream));
        prop_assert_eq!(&whole, &run(side, &rules, &stream, std::iter::repeat(1)));
        let cuts = cuts.into_iter().chain([1]).cycle();
        prop_assert_eq!(&whole, &run(side, &rules, &stream, cuts));
    }

    #[test]
    fn garbage_means_what_the_model_says(
        side in sides(),
        rules in rules(),
        stream in vec(any::<u8>(), 0..200),
        cuts in vec(0_usize..40, 1..8),
    ) {
        let seen = run(side, &rules, &stream, cuts.into_iter().chain([1]).cycle());
        prop_assert_eq!(seen, model(side, &rules, &stream));
    }

    #[test]
    fn what_is_encoded_is_decoded(
        side in sides(),
        items in vec(item(), 0..6),
        key in any::<[u8; 4]>(),
        cuts in vec(1_usize..5000, 1..6),
    ) {
        let mut stream = Vec::new();
        for item in &items {
            encode(&mut stream, side, item, key);
        }
        let rules = FrameRules { message_bytes: 70_000, fragments: 1 };
        let seen = run(side, &rules, &stream, cuts.into_iter().cycle());
        prop_assert_eq!(seen.error, None);
        prop_assert!(seen.idle);
        prop_assert_eq!(seen.items, items);
    }

    #[test]
    fn fragments_make_the_message(
        text in ".{0,300}",
        lengths in vec(0_usize..90, 1..8),
        cuts in vec(1_usize..50, 1..6),
    ) {
        let (mut stream, mut rest, mut opcode) = (Vec::new(), text.as_bytes(), Opcode::Text);
        for length in lengths {
            let (now, later) = rest.split_at(length.min(rest.len()));
            header(&mut stream, opcode, false, now.len());
            stream.extend_from_slice(now);
            frame(&mut stream, Opcode::Ping, b"between");
            (rest, opcode) = (later, Opcode::Continuation);
        }
        header(&mut stream, opcode, true, rest.len());
        stream.extend_from_slice(rest);
        let rules = FrameRules { message_bytes: text.len(), fragments: 9 };
        let mut seen = run(Side::Client, &rules, &stream, cuts.into_iter().cycle());
        prop_assert_eq!(seen.error, None);
        prop_assert_eq!(seen.items.pop(), Some(Owned::Message(Kind::Text, text.into_bytes())));
        prop_assert!(seen.items.iter().all(|item| *item == Owned::Ping(b"between".to_vec())));
    }
}

/// Appends an item as the other end of `side` sends it.
fn encode(out: &mut Vec<u8>, side: Side, item: &Owned, key: [u8; 4]) {
    let before = out.len();
    let (opcode, payload) = match item {
        Owned::Message(Kind::Text, payload) => (Opcode::Text, payload),
        Owned::Message(Kind::Binary, payload) => (Opcode::Binary, payload),
        Owned::Ping(payload) => (Opcode::Ping, payload),
        Owned::Pong(payload) => (Opcode::Pong, payload),
        Owned::Close(Some((code, reason))) => {
            return match side {
                Side::Server => close_frame_masked(out, *code, reason, key),
                Side::Client => close_frame(out, *code, reason),
            };
        }
        Owned::Close(None) => (Opcode::Close, &Vec::new()),
    };
    match side {
        Side::Server => frame_masked(out, opcode, payload, key),
        Side::Client => frame(out, opcode, payload),
    }
    let key_bytes = if side == Side::Server { 4 } else { 0 };
    assert_eq!(
        out.len() - before,
        header_bytes(payload.len()) + key_bytes + payload.len()
    );
}

fn sides() -> impl Strategy<Value = Side> {
    select(&[Side::Server, Side::Client][..])
}

fn rules() -> impl Strategy<Value = FrameRules> {
    (select(&[0, 16, 130, 1000, 70_000][..]), 0_u32..6).prop_map(|(message_bytes, fragments)| {
        FrameRules {
            message_bytes,
            fragments,
        }
    })
}

fn item() -> impl Strategy<Value = Owned> {
    let payload = || {
        prop_oneof![
            4 => vec(any::<u8>(), 0..200),
            1 => vec(any::<u8>(), 65_530..65_540),
        ]
    };
    let control = || vec(any::<u8>(), 0..=125);
    prop_oneof![
        "\\PC{0,200}".prop_map(|text| Owned::Message(Kind::Text, text.into_bytes())),
        payload().prop_map(|payload| Owned::Message(Kind::Binary, payload)),
        control().prop_map(Owned::Ping),
        control().prop_map(Owned::Pong),
        Just(Owned::Close(None)),
        (3000_u16..5000, "\\PC{0,30}")
            .prop_map(|(code, reason)| Owned::Close(Some((code, reason)))),
    ]
}

/// An unmasked frame that may be valid or not, with payloads that matter to UTF-8.
fn wild_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => select(&[0x81_u8, 0x01, 0x00, 0x80, 0x82, 0x02, 0x89, 0x8A, 0x88][..]),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        vec(
            select(
                &[
                    0x41_u8, 0x80, 0xBF, 0xC2, 0xE2, 0xED, 0xA0, 0xF0, 0x9F, 0xF4, 0x90, 0xFF
                ][..]
            ),
            0..6
        ),
        "\\PC{0,80}".prop_map(String::into_bytes),
        Just(b"\x03\xE8bye".to_vec()),
        Just(b"\x03\xED".to_vec()),
        (100_usize..300).prop_map(|length| vec![0x61; length]),
    ];
    (first, payload, 0_u8..16).prop_map(|(first, payload, form)| {
        let mut frame = vec![first];
        match (form, payload.len()) {
            (0, length) => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
            (1, length) | (_, length @ 126..) => {
                frame.push(126);
                frame.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
            }
            (_, length) => frame.push(u8::try_from(length).unwrap_or(0)),
        }
        frame.extend(payload);
        frame
    })
}

/// The same stream masked, as far as its frames can be distinguished.
fn masked(stream: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), stream);
    while let [first, second, after @ ..] = rest {
        out.extend([*first, second | 0x80]);
        let (length, length_bytes) = match second & 0x7F {
            126 => (
                after
                    .iter()
                    .take(2)
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
                2,
            ),
            127 => (
                after
                    .iter()
                    .take(8)
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
                8,
            ),
            short => (usize::from(short), 0),
        };
        let (head, after) = after.split_at(length_bytes.min(after.len()));
        out.extend_from_slice(head);
        out.extend(KEY);
        let start = out.len();
        let (payload, after) = after.split_at(length.min(after.len()));
        out.extend_from_slice(payload);
        mask(&mut out[start..], KEY, 0);
        rest = after;
    }
    out.extend_from_slice(rest);
    out
}
