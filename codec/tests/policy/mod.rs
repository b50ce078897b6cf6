//! Decisions of policies: cases of AWS's documentation, and an evaluator that is slow and obvious as an oracle.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests fail as a test does, and take JSON values as they come"
)]

mod cases;
mod generated;
mod oracle;
mod request;
