//! Request heads made of the committed ones by seeded mutations: pieces mean the same as the whole, and nothing
//! panics.

use super::seeded::{Seeded, corpus, runs};

#[test]
fn committed_inputs_hold() {
    for input in &corpus("http") {
        codec::http::fuzzing::fuzz(input);
    }
}

#[test]
fn seeded_mutations_hold() {
    let (inputs, mut seeded) = (corpus("http"), Seeded(0x5EED));
    for _ in 0..runs() {
        let mut input = inputs[seeded.below(inputs.len())].clone();
        seeded.mutate(&mut input, DICTIONARY);
        codec::http::fuzzing::fuzz(&input);
    }
}

const DICTIONARY: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b":",
    b" ",
    b"\t",
    b"\0",
    b"Host: b\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Upgrade: websocket\r\n",
    b"HTTP/1.0",
    b"POST ",
    b"?",
    b"&",
    b"%41",
    b"%",
    b"http://",
    b"*",
    b"\xC3\xA9",
    b"99999999999999999999",
    b"-1",
];
