//! Request heads made of the committed ones by seeded mutations: pieces mean the same as the whole, and nothing
//! panics.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

#[test]
fn committed_inputs_hold() {
    let inputs = corpus();
    assert!(inputs.len() >= 10);
    for input in &inputs {
        codec::http::fuzzing::fuzz(input);
    }
}

#[test]
fn twenty_thousand_mutations_hold() {
    let (inputs, mut seeded) = (corpus(), Seeded(0x5EED));
    for _ in 0..20_000 {
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

    /// Changes a few places: a byte, a piece of the dictionary, a cut, a copy of another part.
    fn mutate(&mut self, bytes: &mut Vec<u8>, dictionary: &[&[u8]]) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(12)).min(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let part = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, part);
                }
                _ => {
                    let piece = dictionary[self.below(dictionary.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
        }
    }
}

/// The committed inputs, in the order of their names.
fn corpus() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/http");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}
