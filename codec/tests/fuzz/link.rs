//! Frames between nodes, made of written ones by seeded mutations: nothing panics, pieces mean the same as the whole,
//! and the whole means what the plain reader says.

use super::seeded::holds;
use crate::link_frames::{frames, hello, oracle, written};
use codec::link::fuzzing::{fuzz, run};

#[test]
fn seeded_mutations_hold() {
    holds(&inputs(), 0x119c, DICTIONARY, |input| {
        fuzz(input);
        if let Some((_, stream)) = input.split_first() {
            assert_eq!(run(stream, usize::MAX), oracle(stream), "{stream:?}");
        }
    });
}

#[rustfmt::skip] // a list
const DICTIONARY: &[&[u8]] = &[
    b"HELIOLNK", b"\0\0\0\x05\0\0\0\x01", b"\0\0\x01\x02\0\0\0\x01x", b"\0\0\x14\x04\0\0\0\x02",
    b"\0\0\x0b\x06\0\0\0\x03\x06\x03\xe9", b"\0\0\x08\x07\0\0\0\0", b"\0\x40\0", b"\0\x40\x01", b"\xff\xff",
    b"\0\0\x02\xc8",
];

/// A hello, and streams of frames behind the byte that says how they are cut: of each type one, and each alone.
fn inputs() -> Vec<Vec<u8>> {
    let mut greeting = Vec::new();
    hello().write(&mut greeting);
    let all = frames().into_iter();
    let all: Vec<_> = all.map(|(stream, frame)| written(stream, frame)).collect();
    let short: Vec<_> = all.into_iter().filter(|bytes| bytes.len() < 1000).collect();
    let each = short.iter().map(|bytes| [&[7], &bytes[..]].concat());
    [greeting, [&[11], &short.concat()[..]].concat()]
        .into_iter()
        .chain(each)
        .collect()
}
