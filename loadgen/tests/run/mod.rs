//! The program as a whole, against a small relay on loopback: exit codes, report, every mode.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

mod closed;
mod discovery;
mod exit_codes;
mod hostile;
mod program;
mod service;
mod sessions;
mod start;
