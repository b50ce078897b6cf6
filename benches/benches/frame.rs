//! WebSocket frames: decoding the bytes of a read into messages, and encoding a text as a frame.

use benches::fixture::{Case, KEY, cases};
use benches::harness::{Group, Timer, group, run};
use benches::rival::{Decode, Encode, Heliograph, Tungstenite};
use codec::signal::Role;
use codec::ws::{Opcode, frame, frame_masked};
use std::hint::black_box;

fn main() {
    run(|criterion| {
        for case in cases() {
            decode(criterion, &case, case.name, 1);
            encode(criterion, &case);
            encode_masked(criterion, &case);
        }
        let [ice, ..] = cases();
        decode(criterion, &ice, "ice-200B-burst-16", 16);
    });
}

fn decode(criterion: &mut Timer, case: &Case, name: &str, count: usize) {
    let (text, read) = (case.text(Role::Master), case.frames(Role::Master, count));
    let mut group = group(criterion, "frame/decode", name, count, text.len() * count);
    time_decode::<Heliograph<_>>(&mut group, &read, &text, count);
    time_decode::<Tungstenite<_>>(&mut group, &read, &text, count);
    group.finish();
}

fn time_decode<D: Decode>(group: &mut Group<'_>, read: &[u8], text: &[u8], count: usize) {
    let mut decoder = D::new(read);
    for _ in 0..3 {
        let mut messages = 0;
        decoder.decode(|message| {
            assert_eq!(message, text, "{}", D::LIBRARY);
            messages += 1;
        });
        assert_eq!(messages, count, "{}", D::LIBRARY);
    }
    group.bench_function(D::LIBRARY, |bencher| {
        bencher.iter(|| {
            decoder.decode(|message| {
                black_box(message);
            });
        });
    });
}

fn encode(criterion: &mut Timer, case: &Case) {
    let (text, mut expected) = (case.text(Role::Viewer), Vec::new());
    frame(&mut expected, Opcode::Text, &text);
    let mut group = group(criterion, "frame/encode", case.name, 1, text.len());
    time_encode::<Heliograph<_>>(&mut group, &text, &expected, None);
    time_encode::<Tungstenite<_>>(&mut group, &text, &expected, None);
    group.finish();
}

/// Times the encoding of a client's frame, with a constant masking key, so that key generation is not timed.
fn encode_masked(criterion: &mut Timer, case: &Case) {
    let (text, mut expected) = (case.text(Role::Viewer), Vec::new());
    frame_masked(&mut expected, Opcode::Text, &text, KEY);
    let mut group = group(criterion, "frame/encode-masked", case.name, 1, text.len());
    time_encode::<Heliograph<_>>(&mut group, &text, &expected, Some(KEY));
    time_encode::<Tungstenite<_>>(&mut group, &text, &expected, Some(KEY));
    group.finish();
}

fn time_encode<E: Encode>(
    group: &mut Group<'_>,
    text: &[u8],
    expected: &[u8],
    key: Option<[u8; 4]>,
) {
    let (mut encoder, mut out) = (E::new(text), Vec::new());
    let encode = |encoder: &mut E, out: &mut Vec<u8>| match key {
        Some(key) => encoder.encode_masked(out, black_box(key)),
        None => encoder.encode(out),
    };
    encode(&mut encoder, &mut out);
    assert_eq!(out, expected, "{}", E::LIBRARY);
    group.bench_function(E::LIBRARY, |bencher| {
        bencher.iter(|| {
            out.clear();
            encode(black_box(&mut encoder), &mut out);
            black_box(&out);
        });
    });
}
