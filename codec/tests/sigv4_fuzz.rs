//! Requests made of the recorded ones by seeded mutations: nothing panics, and nobody is let in without a key.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use codec::aws::sigv4::fuzzing;

/// How many mutations run; `FUZZ_RUNS` asks for another number.
const RUNS: u64 = 20_000;

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
        seeded.mutate(&mut input);
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

/// A small generator (splitmix64): the same inputs in every run.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    /// Changes a few places: a byte, a piece of the dictionary, a cut, a copy of another part, many copies of one.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(24)).min(bytes.len());
            match self.below(8) {
                0 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let part = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, part);
                }
                3 => {
                    let part = bytes[at..end].repeat(self.below(100));
                    bytes.splice(at..at, part);
                }
                _ => {
                    let piece = DICTIONARY[self.below(DICTIONARY.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
        }
    }
}

/// The requests of the vectors, as they go over the wire.
fn corpus() -> Vec<Vec<u8>> {
    let document: serde_json::Value =
        serde_json::from_str(include_str!("data/sigv4.json")).unwrap();
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

#[expect(
    clippy::disallowed_methods,
    reason = "a test may be asked for more by who runs it"
)]
fn runs() -> u64 {
    let asked = std::env::var("FUZZ_RUNS").ok();
    asked.and_then(|runs| runs.parse().ok()).unwrap_or(RUNS)
}
