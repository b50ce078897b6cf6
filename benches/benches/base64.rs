//! Base64 of payloads: is it well-formed, which alphabet is it, and the text for bytes.

use benches::fixture::{Case, cases};
use benches::harness::{Group, Timer, group, run};
use benches::rival::{Base64, Digits, Heliograph};
use codec::base64::{Alphabet, alphabet, decode};
use std::hint::black_box;

fn main() {
    run(|criterion| {
        for case in cases() {
            check(criterion, &case);
            classify(criterion, &case);
            encode(criterion, &case);
        }
    });
}

fn check(criterion: &mut Timer, case: &Case) {
    let text = case.payload.as_bytes();
    let mut group = group(criterion, "base64/check", case.name, 1, text.len());
    time_check::<Heliograph<_>>(&mut group, text);
    time_check::<Base64>(&mut group, text);
    group.finish();
}

fn time_check<D: Digits>(group: &mut Group<'_>, text: &[u8]) {
    let mut digits = D::new(text.len());
    let mut bad = text.to_vec();
    bad[text.len() / 2] = b'-';
    assert!(digits.check(text) && !digits.check(&bad), "{}", D::LIBRARY);
    group.bench_function(D::LIBRARY, |bencher| {
        bencher.iter(|| digits.check(black_box(text)));
    });
}

/// Times finding the alphabet of a payload, as the broker does if it is not well-formed. No rival recognises one
/// without decoding.
fn classify(criterion: &mut Timer, case: &Case) {
    let text = case.payload.as_bytes();
    assert_eq!(alphabet(text), Alphabet::Standard);
    let mut group = group(criterion, "base64/alphabet", case.name, 1, text.len());
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| alphabet(black_box(text)));
    });
    group.finish();
}

fn encode(criterion: &mut Timer, case: &Case) {
    let bytes = decode(case.payload.as_bytes()).expect("a payload is base64");
    let mut group = group(criterion, "base64/encode", case.name, 1, bytes.len());
    time_encode::<Heliograph<_>>(&mut group, &bytes, &case.payload);
    time_encode::<Base64>(&mut group, &bytes, &case.payload);
    group.finish();
}

fn time_encode<D: Digits>(group: &mut Group<'_>, bytes: &[u8], text: &str) {
    let mut digits = D::new(text.len());
    assert_eq!(digits.encode(bytes), text.as_bytes(), "{}", D::LIBRARY);
    group.bench_function(D::LIBRARY, |bencher| {
        bencher.iter(|| {
            black_box(digits.encode(black_box(bytes)));
        });
    });
}
