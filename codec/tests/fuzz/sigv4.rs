//! Requests made of the recorded ones by seeded mutations: nothing panics, and nobody is let in without a key.

use super::seeded::{Seeded, runs};
use codec::sigv4::fuzzing;

#[test]
fn recorded_requests_hold() {
    let inputs = corpus();
    assert_eq!(inputs.len(), 100);
    for input in &inputs {
        fuzzing::fuzz(input);
    }
}

#[test]
fn seeded_mutations_hold() {
    let (inputs, mut seeded) = (corpus(), Seeded(0x5EED));
    for _ in 0..runs() {
        let mut input = inputs[seeded.below(inputs.len())].clone();
        seeded.mutate(&mut input, DICTIONARY);
        fuzzing::fuzz(&input);
    }
}

const DICTIONARY: &[&[u8]] = &[
    b"\r\n",
    b" ",
    b"\t",
    b",",
    b"=",
    b"/",
    b";",
    b"&",
    b"&&",
    b"?",
    b"%",
    b"%4",
    b"%41",
    b"%2F",
    b"%2f",
    b"%FF",
    b"+",
    b"\xC3\xA9",
    b"Credential=",
    b"SignedHeaders=",
    b"Signature=",
    b"AWS4-HMAC-SHA256 ",
    b"aws4_request",
    b"X-Amz-Date",
    b"X-Amz-Date: 20260102T030405Z\r\n",
    b"Date: Fri, 02 Jan 2026 03:04:05 GMT\r\n",
    b"Authorization: AWS4-HMAC-SHA256 ",
    b"x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n",
    b"X-Amz-Security-Token=",
    b"X-Amz-Client%49d=",
    b"&X-Amz-Signature=",
    b"99999999999999999999",
    b"-1",
    b"host;",
];

/// The requests of the vectors, as they go over the wire.
fn corpus() -> Vec<Vec<u8>> {
    let document: serde_json::Value =
        serde_json::from_str(include_str!("../data/sigv4.json")).unwrap();
    let requests = document["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|vector| &vector["request"]);
    requests
        .map(|request| {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            let mut wire = format!(
                "{} {} HTTP/1.1\r\n",
                text(&request["method"]),
                text(&request["target"])
            );
            for line in request["headers"].as_array().unwrap() {
                wire.push_str(&format!("{}: {}\r\n", text(&line[0]), text(&line[1])));
            }
            wire.push_str("\r\n");
            wire.push_str(&text(&request["body"]));
            wire.into_bytes()
        })
        .collect()
}
