//! Messages made of the committed ones by seeded mutations: the scanner and simd-json agree, and nothing panics.

use super::seeded::{Seeded, corpus, runs};

#[test]
fn committed_inputs_hold() {
    for input in &corpus("signal") {
        codec::signal::fuzzing::fuzz(input);
    }
}

#[test]
fn seeded_mutations_hold() {
    let (inputs, mut seeded) = (corpus("signal"), Seeded(0x5EED));
    for _ in 0..runs() {
        let mut input = inputs[seeded.below(inputs.len())].clone();
        seeded.mutate(&mut input, DICTIONARY);
        codec::signal::fuzzing::fuzz(&input);
    }
}

const DICTIONARY: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"\\\"",
    b"\\\\",
    b"\\/",
    b"\\u0041",
    b"\\ud83d",
    b"\\ude00",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b" ",
    b"\n",
    b"\0",
    b"\x1F",
    b"null",
    b"true",
    b"-0.5e+3",
    b"\"action\":\"SDP_OFFER\",",
    b"\"MessagePayload\":\"QUJD\",",
    b"\"recipientClientId\":\"v\",",
    b"\"correlationId\":\"c\",",
    b"\"x\":{\"y\":[1]},",
    b"SDP_ANSWER",
    b"+/=",
    b"-_",
    b"\xC3\xA9",
    b"\xFF",
];
