//! Policy documents made by seeded mutations: nothing panics.

use super::seeded::{Seeded, runs};
use codec::policy::fuzzing;

#[test]
fn seeded_mutations_hold() {
    let mut seeded = Seeded(0x90_11C7);
    for _ in 0..runs() {
        let mut input = DOCUMENT.to_vec();
        seeded.mutate(&mut input, DICTIONARY);
        fuzzing::fuzz(&input);
    }
}

const DOCUMENT: &[u8] = br#"{"Version": "2012-10-17", "Statement": [
    {"Sid": "a", "Effect": "Allow", "Action": ["kinesisvideo:Connect*", "sts:*"], "Resource": "arn:aws:kinesisvideo:*:*:channel/demo/*"},
    {"Effect": "Deny", "Action": "*", "Resource": ["*"], "Condition": {"StringLike": {"kinesisvideo:ClientId": ["v*", "?"]}}}]}"#;

const DICTIONARY: &[&[u8]] = &[
    b"*",
    b"?",
    b"${",
    b":",
    b"\"",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"\\u0000",
    b"\xC3",
    b"\"StringEquals\"",
    b"\"NotAction\"",
];
