//! Applies seeded mutations to encoded messages between nodes. Nothing may panic, and whatever can be decoded must
//! survive being encoded and decoded again. `FUZZ_RUNS` overrides the number of inputs.

use broker_etcd::fuzzing::{fuzz, samples};
use fastrand::Rng;

/// Default number of inputs. `FUZZ_RUNS` overrides it.
const RUNS: u64 = 20_000;

#[test]
fn seeded_mutations_hold() {
    let asked = std::env::var("FUZZ_RUNS").ok();
    let runs = asked.and_then(|runs| runs.parse().ok()).unwrap_or(RUNS);
    let (samples, mut random) = (samples(), Rng::with_seed(0x9807));
    for _ in 0..runs {
        let mut input = samples[random.usize(..samples.len())].clone();
        for _ in 0..=random.usize(..4) {
            mutate(&mut input, &samples, &mut random);
        }
        fuzz(&input);
    }
}

/// Changes the input at a random position: changes a byte, truncates the input, removes a piece, inserts a piece of
/// another message, repeats a piece, or inserts a long number.
fn mutate(input: &mut Vec<u8>, samples: &[Vec<u8>], random: &mut Rng) {
    let at = random.usize(..=input.len());
    let end = (at + random.usize(..24)).min(input.len());
    match random.u8(..6) {
        0 => input.truncate(at),
        1 if at < input.len() => input[at] = random.u8(..),
        2 => drop(input.drain(at..end)),
        3 => {
            let piece = input[at..end].repeat(random.usize(..100));
            input.splice(at..at, piece);
        }
        4 => {
            let other = &samples[random.usize(..samples.len())];
            input.splice(at..end, other[random.usize(..other.len())..].to_vec());
        }
        _ => {
            let number = [0xff; 10];
            let long = &number[..random.usize(..number.len())];
            input.splice(at..end, long.iter().copied().chain([1]));
        }
    }
}
