//! Separate crate, so that the generator is built only for its one test, `tests/generated.rs`.
