//! Texts that are not ASCII, whole and in pieces, through the receiver that checks them: beside std's and simdutf8's
//! check of the same text alone.

use benches::fixture::KEY;
use benches::harness::{Timer, group, run};
use codec::ws::{FrameRules, Header, Item, Opcode, Receiver, Side, frame_masked};
use std::hint::black_box;

fn main() {
    run(|criterion| {
        let text = "Grüße, 世界, привет, 🎥 ".repeat(120);
        for (case, pieces) in [("whole", 1), ("four-pieces", 4), ("sixty-pieces", 60)] {
            check(criterion, case, text.as_bytes(), pieces);
        }
    });
}

fn check(criterion: &mut Timer, case: &str, text: &[u8], pieces: usize) {
    let frames = frames(text, pieces);
    let mut buffer = frames.clone();
    assert_eq!(messages(&mut buffer), [text]);
    let mut broken = frames.clone();
    let last = broken.len() - 2;
    broken[last] ^= 0x80;
    assert!(messages(&mut broken).is_empty(), "a text that is none");
    let mut group = group(criterion, "utf8/text", case, 1, frames.len());
    group.bench_function("heliograph-frames", |bencher| {
        bencher.iter(|| {
            buffer.copy_from_slice(&frames);
            read(black_box(&mut buffer), |payload| {
                black_box(payload);
            });
        });
    });
    group.bench_function("std-text-alone", |bencher| {
        bencher.iter(|| std::str::from_utf8(black_box(text)).is_ok());
    });
    group.bench_function("simdutf8-text-alone", |bencher| {
        bencher.iter(|| simdutf8::basic::from_utf8(black_box(text)).is_ok());
    });
    group.finish();
}

/// One message in this many fragments, cut wherever that is.
fn frames(text: &[u8], pieces: usize) -> Vec<u8> {
    let (mut out, bytes) = (Vec::new(), text.len().div_ceil(pieces));
    for (number, piece) in text.chunks(bytes).enumerate() {
        let opcode = if number == 0 {
            Opcode::Text
        } else {
            Opcode::Continuation
        };
        let start = out.len();
        frame_masked(&mut out, opcode, piece, KEY);
        if (number + 1) * bytes < text.len() {
            out[start] &= 0x7F; // not the last one
        }
    }
    let header = Header::parse(&out, Side::Server);
    assert!(matches!(header, Ok(Some(_))), "{header:?}");
    out
}

fn messages(frames: &mut [u8]) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    read(frames, |payload| seen.push(payload.to_vec()));
    seen
}

fn read(frames: &mut [u8], mut see: impl FnMut(&[u8])) {
    let rules = FrameRules {
        message_bytes: codec::limits::MESSAGE_BYTES,
        fragments: 64,
    };
    let mut receiver = Receiver::new(Side::Server);
    let mut rest = frames;
    while let Ok((used, item)) = receiver.next(&rules, rest) {
        match item {
            Some(Item::Message { kind: _, payload }) => see(payload),
            Some(Item::Ping(_) | Item::Pong(_) | Item::Close(_)) => {}
            None => return,
        }
        rest = rest.get_mut(used..).unwrap_or_default();
    }
}
