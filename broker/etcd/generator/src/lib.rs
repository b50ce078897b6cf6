//! A crate of its own, so that the generator is built for its one test alone: `tests/generated.rs`.
