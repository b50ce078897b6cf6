//! Every parser under seeded inputs and the committed corpora: nothing panics, and what must agree agrees.
//!
//! The entry of each lives in its module (`codec::ws::fuzzing` and so on), so that a coverage-guided fuzzer can drive
//! it as well. `FUZZ_RUNS` asks for another number of inputs than the default.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod control;
mod link;
mod parsers;
pub(crate) mod seeded;
mod whep;
mod ws;
