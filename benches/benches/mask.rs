//! Masking of one payload in place, beside the RFC's sentence taken at its word, and beside copying as the floor.
//!
//! tungstenite keeps its masking private; what it costs is in `frame/encode-masked`.

use benches::fixture::{KEY, cases};
use benches::harness::{Timer, group, run};
use codec::signal::Role;
use codec::ws::mask;
use std::hint::black_box;

fn main() {
    run(|criterion| {
        for case in cases() {
            in_place(criterion, case.name, &case.text(Role::Master));
        }
    });
}

fn in_place(criterion: &mut Timer, name: &str, text: &[u8]) {
    let mut group = group(criterion, "mask/in-place", name, 1, text.len());
    type Mask = fn(&mut [u8], [u8; 4]);
    let libraries: [(&str, Mask); 2] = [("heliograph", ours), ("byte-by-byte", byte_by_byte)];
    for (library, mask) in libraries {
        let (mut payload, mut expected) = (text.to_vec(), text.to_vec());
        mask(&mut payload, KEY);
        for (place, byte) in expected.iter_mut().enumerate() {
            *byte ^= KEY[place % 4];
        }
        assert_eq!(payload, expected, "{library}");
        group.bench_function(library, |bencher| {
            bencher.iter(|| mask(black_box(&mut payload), black_box(KEY)));
        });
    }
    let mut copy = text.to_vec();
    group.bench_function("copy", |bencher| {
        bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(text)));
    });
    group.finish();
}

fn ours(payload: &mut [u8], key: [u8; 4]) {
    mask(payload, key, 0);
}

fn byte_by_byte(payload: &mut [u8], key: [u8; 4]) {
    for (place, byte) in payload.iter_mut().enumerate() {
        *byte ^= key[place % 4];
    }
}
