//! Shared by the fuzz tests: a seeded generator, mutations, and the number of inputs.

use std::path::Path;

/// Inputs of each test; `FUZZ_RUNS` asks for another number.
const RUNS: u64 = 20_000;

#[expect(
    clippy::disallowed_methods,
    reason = "a test may be asked for more by who runs it"
)]
pub(crate) fn runs() -> u64 {
    let asked = std::env::var("FUZZ_RUNS").ok();
    asked.and_then(|runs| runs.parse().ok()).unwrap_or(RUNS)
}

/// The committed inputs of a module, in the order of their names.
pub(crate) fn corpus(module: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = std::fs::read_dir(folder.join(module)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "{} inputs of {module}", paths.len());
    let read = |path| std::fs::read(path).unwrap();
    paths.iter().map(read).collect()
}

/// Gives inputs to the entry of a parser, and mutations of them.
pub(crate) fn holds(inputs: &[Vec<u8>], seed: u64, dictionary: &[&[u8]], fuzz: impl Fn(&[u8])) {
    inputs.iter().for_each(|input| fuzz(input));
    let mut seeded = Seeded(seed);
    for _ in 0..runs() {
        let mut input = inputs[seeded.below(inputs.len())].clone();
        seeded.mutate(&mut input, dictionary);
        fuzz(&input);
    }
}

/// A small generator (splitmix64): the same inputs in every run.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    /// Changes a few places: a byte, a cut, a copy of another part, many copies of one, a piece of the dictionary.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>, dictionary: &[&[u8]]) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(24)).min(bytes.len());
            match self.below(9) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] = self.byte(),
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let part = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, part);
                }
                4 => {
                    let part = bytes[at..end].repeat(self.below(100));
                    bytes.splice(at..at, part);
                }
                _ => {
                    let piece = dictionary[self.below(dictionary.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
        }
    }
}
