//! An empty library, kept as a separate crate so that the generator is built only for its test, `tests/generated.rs`.
