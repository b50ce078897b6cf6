//! Fuzz inputs for parsers, generated from samples by mutations with a fixed seed.

/// Passes the samples, and inputs derived from them, to `reads`, which returns whether it could parse the input. The
/// inputs are deterministic. `FUZZ_RUNS` overrides their number.
///
/// # Panics
/// Panics if `reads` rejects a sample, or if it parses none or all of the mutated inputs, since they would then test
/// nothing.
pub fn mutations(samples: &[Vec<u8>], pieces: &[&[u8]], mut reads: impl FnMut(&[u8]) -> bool) {
    for sample in samples {
        let text = String::from_utf8_lossy(sample);
        assert!(reads(sample), "a sample is refused: {text}");
    }
    let asked = std::env::var("FUZZ_RUNS").ok();
    let runs = asked.and_then(|runs| runs.parse().ok()).unwrap_or(RUNS);
    let (mut seeded, mut read) = (Seeded(0x9807), 0);
    for _ in 0..runs {
        let mut input = samples[seeded.below(samples.len())].clone();
        for _ in 0..=seeded.below(4) {
            seeded.mutate(&mut input, samples, pieces);
        }
        read += u64::from(reads(&input));
    }
    assert!((1..runs).contains(&read), "{read} of {runs} were read");
}

const RUNS: u64 = 5_000;

struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let mixed = mixed ^ (mixed >> 31);
        usize::try_from(mixed % bound.max(1) as u64).expect("it is below a usize")
    }

    /// Mutates an input: truncates it, changes a byte, removes or repeats a range, or replaces a range with a piece or
    /// with the end of a sample.
    fn mutate(&mut self, input: &mut Vec<u8>, samples: &[Vec<u8>], pieces: &[&[u8]]) {
        let at = self.below(input.len() + 1);
        let end = (at + self.below(24)).min(input.len());
        match self.below(7) {
            0 => input.truncate(at),
            1 if at < input.len() => input[at] = self.below(256).to_le_bytes()[0],
            2 => drop(input.drain(at..end)),
            3 => {
                let part = input[at..end].repeat(self.below(100));
                input.splice(at..at, part);
            }
            4 => {
                let other = &samples[self.below(samples.len())];
                input.splice(at..end, other[self.below(other.len())..].to_vec());
            }
            _ => {
                let piece = pieces[self.below(pieces.len())];
                input.splice(at..end, piece.iter().copied());
            }
        }
    }
}
