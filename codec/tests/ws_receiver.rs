//! The receiver by transcript: bytes of a stream, and what they mean, however they are cut.

use codec::ws::fuzzing::{Owned, SeenItems, model, run};
use codec::ws::{Excess, FrameError, FrameRules, Item, Kind, Receiver, Side, mask};

const RULES: FrameRules = FrameRules {
    message_bytes: 1000,
    fragments: 4,
};
const KEY: [u8; 4] = [0xA1, 0x00, 0xFF, 0x5C];

/// One frame: its first byte, and a payload with the shortest form of length.
type Raw<'a> = (u8, &'a [u8]);

#[test]
fn lawful_streams() {
    let long = [0x61; 126];
    #[rustfmt::skip] // a table, a case per row
    let table: [(&[Raw<'_>], &[Owned]); 12] = [
        (&[(0x81, b"")], &[text("")]),
        (&[(0x82, b"")], &[binary(b"")]),
        (&[(0x81, "κόσμε".as_bytes())], &[text("κόσμε")]),
        (&[(0x82, b"\xFF\xFE")], &[binary(b"\xFF\xFE")]),
        (&[(0x82, &long)], &[binary(&long)]),
        (&[(0x89, b"")], &[Owned::Ping(vec![])]),
        (&[(0x8A, &long[..125]), (0x81, b"a")], &[Owned::Pong(long[..125].to_vec()), text("a")]),
        (&[(0x88, b""), (0x81, b"late")], &[Owned::Close(None), text("late")]),
        (&[(0x88, b"\x03\xE8bye")], &[Owned::Close(Some((1000, "bye".to_owned())))]),
        // Fragments, empty ones among them, and control frames in between.
        (
            &[
                (0x01, b"a"),
                (0x89, b"1"),
                (0x00, b""),
                (0x8A, b"2"),
                (0x80, b"bc"),
                (0x81, b"d"),
            ],
            &[
                Owned::Ping(b"1".to_vec()),
                Owned::Pong(b"2".to_vec()),
                text("abc"),
                text("d"),
            ],
        ),
        (&[(0x02, b""), (0x00, b""), (0x00, b""), (0x80, b"")], &[binary(b"")]),
        // A character in four frames.
        (&[(0x01, b"\xF0"), (0x00, b"\x9F"), (0x00, b"\x98"), (0x80, b"\x80")], &[text("\u{1F600}")]),
    ];
    for (frames, items) in table {
        for side in [Side::Server, Side::Client] {
            holds(side, &stream(side, frames), items, None, true);
        }
    }
}

#[test]
fn violations_of_a_frame_by_itself() {
    let long = [0x61; 126];
    refused(&[(0xC1, b"x")], &[], FrameError::ReservedBits);
    refused(
        &[(0x81, b"a"), (0xA2, b"x")],
        &[text("a")],
        FrameError::ReservedBits,
    );
    refused(&[(0x83, b"")], &[], FrameError::UnknownOpcode);
    refused(&[(0x8B, b"")], &[], FrameError::UnknownOpcode);
    refused(&[(0x09, b"")], &[], FrameError::ControlFragmented);
    refused(&[(0x89, &long)], &[], FrameError::ControlTooLong);
    refused(&[(0x88, &long)], &[], FrameError::ControlTooLong);
    refused(&[(0x88, b"\x03")], &[], FrameError::CloseTooShort);
    refused(&[(0x88, b"\x03\xED")], &[], FrameError::CloseCode);
    refused(
        &[(0x88, b"\x03\xE8\xFF")],
        &[],
        FrameError::CloseReasonNotUtf8,
    );
    refused(&[(0x81, b"\xC3")], &[], FrameError::TextNotUtf8);
    refused(&[(0x81, b"a\x80")], &[], FrameError::TextNotUtf8);
    refused(&[(0x82, &[0; 1001])], &[], too_big());

    let masked = stream(Side::Server, &[(0x81, b"a")]);
    holds(Side::Client, &masked, &[], Some(FrameError::Masked), true);
    let unmasked = stream(Side::Client, &[(0x81, b"a")]);
    holds(
        Side::Server,
        &unmasked,
        &[],
        Some(FrameError::Unmasked),
        true,
    );
    let error = Some(FrameError::LengthNotMinimal);
    holds(Side::Client, &[0x82, 126, 0, 1, 7], &[], error, true);
    let top_bit = [0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 1, 7];
    holds(
        Side::Client,
        &top_bit,
        &[],
        Some(FrameError::LengthTopBit),
        true,
    );
}

#[test]
fn violations_among_frames() {
    let most = [0x61; 999];
    let ping = Owned::Ping(vec![]);
    let error = FrameError::ContinuationWithoutStart;
    refused(&[(0x80, b"a")], &[], error);
    refused(&[(0x00, b"a")], &[], error);
    refused(&[(0x81, b"a"), (0x80, b"b")], &[text("a")], error);
    refused(
        &[(0x01, b"a"), (0x80, b"b"), (0x80, b"c")],
        &[text("ab")],
        error,
    );
    let error = FrameError::StartInsideMessage;
    refused(&[(0x01, b"a"), (0x81, b"b")], &[], error);
    refused(
        &[(0x02, b""), (0x89, b""), (0x02, b"")],
        std::slice::from_ref(&ping),
        error,
    );
    // A message that stops inside a character, also with an empty last frame.
    let error = FrameError::TextNotUtf8;
    refused(&[(0x01, b"\xC3"), (0x80, b"")], &[], error);
    refused(&[(0x01, b"\xE2\x82"), (0x80, b"a")], &[], error);
    let error = too_big();
    refused(&[(0x01, &most), (0x80, b"ab")], &[], error);
    let start = [(0x01, &b""[..]), (0x00, b""), (0x89, b""), (0x00, b"")];
    let many = [&start[..], &[(0x00, b""), (0x80, b"")]].concat();
    refused(&many, &[ping], FrameError::TooManyFragments);
}

#[test]
fn the_longest_message_is_taken_and_one_more_byte_is_refused_on_its_header() {
    for (first, rest, error) in [(1000, 0, None), (1, 999, None), (1, 1000, Some(too_big()))] {
        let (first, rest) = (vec![1; first], vec![2; rest]);
        let whole = stream(Side::Server, &[(0x02, &first), (0x80, &rest)]);
        let items = match error {
            None => vec![binary(&[first.clone(), rest.clone()].concat())],
            Some(_) => vec![],
        };
        holds(Side::Server, &whole, &items, error, true);
    }
    // Not a byte of the payload is there.
    let seen = seen(
        Side::Client,
        &[0x82, 127, 0x7F, 255, 255, 255, 255, 255, 255, 255],
    );
    let error = FrameError::MessageTooBig(Excess::new(u64::MAX, 1000));
    assert_eq!(seen.error, Some(error));
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-8.1
//= type=test
//# When an endpoint is to interpret a byte stream as UTF-8 but finds
//# that the byte stream is not, in fact, a valid UTF-8 stream, that
//# endpoint MUST _Fail the WebSocket Connection_.
#[test]
fn text_is_refused_before_its_end() {
    // Surrogates and beyond U+10FFFF: the second byte shows it, in the middle of a frame that goes on.
    for bad in [
        &b"ab\xED\xA0"[..],
        b"\xF4\x90",
        b"\xC0",
        b"a\x80",
        b"\xE2\x82\x41",
    ] {
        let mut whole = vec![0x81, 126, 0, 200];
        whole.extend_from_slice(bad);
        holds(
            Side::Client,
            &whole,
            &[],
            Some(FrameError::TextNotUtf8),
            true,
        );
        let before = &whole[..whole.len() - 1];
        holds(Side::Client, before, &[], None, false);
    }
    // The same across fragments.
    let fragments = [0x01, 1, 0xF4, 0x00, 100, 0x90];
    holds(
        Side::Client,
        &fragments,
        &[],
        Some(FrameError::TextNotUtf8),
        true,
    );
}

#[test]
fn unfinished_streams_are_not_idle() {
    for (frames, short, in_message) in [
        (&[(0x81, &b"abc"[..])][..], 1, true),
        (&[(0x81, b"abc")], 8, true),
        (&[(0x89, b"abc")], 1, false),
        (&[(0x89, b"abc")], 8, false),
        (&[(0x01, b"abc")], 0, true),
        (&[(0x01, b"abc"), (0x89, b"p")], 2, true),
    ] {
        let whole = stream(Side::Server, frames);
        let seen = seen(Side::Server, &whole[..whole.len() - short]);
        let found = (seen.error, seen.idle, seen.in_message);
        assert_eq!(found, (None, false, in_message), "{frames:x?}");
    }
}

#[test]
fn whole_frames_leave_nothing_behind() {
    let mut bytes = stream(
        Side::Server,
        &[(0x81, b"one"), (0x89, b""), (0x82, &[7; 900])],
    );
    let mut receiver = Receiver::new(Side::Server);
    let mut rest = &mut bytes[..];
    for _ in 0..3 {
        let start = rest.as_ptr_range();
        let (used, item) = receiver.next(&RULES, rest).expect("valid");
        let at = match item.expect("whole") {
            Item::Message { payload, .. } => payload.as_ptr(),
            Item::Ping(payload) | Item::Pong(payload) => payload.as_ptr(),
            Item::Close(_) => unreachable!("no close was sent"),
        };
        assert!(start.contains(&at) || at == start.end, "lent in place");
        assert!(receiver.is_idle(), "no box was made");
        rest = &mut rest[used..];
    }
    assert!(matches!(receiver.next(&RULES, rest), Ok((0, None))));
}

#[test]
fn a_cut_frame_is_lent_from_the_box_which_is_then_freed() {
    let mut bytes = stream(Side::Server, &[(0x82, &[7; 900]), (0x89, b"x")]);
    let mut receiver = Receiver::new(Side::Server);
    let (first, second) = bytes.split_at_mut(500);
    assert!(matches!(receiver.next(&RULES, first), Ok((500, None))));
    assert!(!receiver.is_idle() && receiver.in_message());
    let (used, item) = receiver.next(&RULES, second).expect("valid");
    assert!(
        matches!(item, Some(Item::Message { kind: Kind::Binary, payload }) if payload == [7; 900])
    );
    assert!(!receiver.in_message(), "its end has come");
    let (_, item) = receiver.next(&RULES, &mut second[used..]).expect("valid");
    assert_eq!(item, Some(Item::Ping(b"x")));
    assert!(receiver.is_idle());
}

#[test]
fn a_declared_length_costs_no_memory() {
    // 2⁶² bytes announced, as many allowed, three there.
    let rules = FrameRules {
        message_bytes: usize::MAX,
        fragments: 1,
    };
    let mut bytes = [0x82, 127, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3];
    let mut receiver = Receiver::new(Side::Client);
    assert!(matches!(receiver.next(&rules, &mut bytes), Ok((13, None))));
    assert!(receiver.in_message());
}

/// Asserts that frames give these items and then this error, on both sides.
fn refused(frames: &[Raw<'_>], items: &[Owned], error: FrameError) {
    for side in [Side::Server, Side::Client] {
        holds(side, &stream(side, frames), items, Some(error), true);
    }
}

/// Asserts what a stream means: whole, byte by byte, in reads of 1 to 7 bytes, and in two reads cut anywhere.
fn holds(side: Side, stream: &[u8], items: &[Owned], error: Option<FrameError>, idle: bool) {
    let whole = seen(side, stream);
    let found = (&whole.items[..], whole.error);
    assert_eq!(found, (items, error), "{side:?} {stream:x?}");
    assert_eq!(whole.idle, idle, "{side:?} {stream:x?}");
    for length in 1..8 {
        let cut = run(side, &RULES, stream, std::iter::repeat(length));
        assert_eq!(cut, whole, "{side:?} in reads of {length}: {stream:x?}");
    }
    for length in 0..stream.len().min(300) {
        let cut = run(side, &RULES, stream, [length, usize::MAX].into_iter());
        assert_eq!(cut, whole, "{side:?} cut at {length}: {stream:x?}");
    }
}

fn seen(side: Side, stream: &[u8]) -> SeenItems {
    let whole = run(side, &RULES, stream, std::iter::once(usize::MAX));
    assert_eq!(whole, model(side, &RULES, stream), "{side:?} {stream:x?}");
    whole
}

/// The bytes of frames on their way to `side`.
fn stream(side: Side, frames: &[Raw<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (first, payload) in frames {
        let masked = if side == Side::Server { 0x80 } else { 0 };
        out.push(*first);
        match u8::try_from(payload.len()) {
            Ok(short) if short < 126 => out.push(masked | short),
            Ok(_) | Err(_) => {
                out.push(masked | 126);
                out.extend(
                    u16::try_from(payload.len())
                        .expect("short tests")
                        .to_be_bytes(),
                );
            }
        }
        let start = match side {
            Side::Server => {
                out.extend(KEY);
                out.len()
            }
            Side::Client => usize::MAX,
        };
        out.extend_from_slice(payload);
        if let Some(payload) = out.get_mut(start..) {
            mask(payload, KEY, 0);
        }
    }
    out
}

fn text(text: &str) -> Owned {
    Owned::Message(Kind::Text, text.as_bytes().to_vec())
}

fn binary(bytes: &[u8]) -> Owned {
    Owned::Message(Kind::Binary, bytes.to_vec())
}

/// The error of a message with one byte too many.
fn too_big() -> FrameError {
    FrameError::MessageTooBig(Excess::new(1001, 1000))
}
