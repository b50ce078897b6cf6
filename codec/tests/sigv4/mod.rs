//! The signature checks against recorded requests, against rules, and against independent signers.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod botocore;
mod malformed;
mod memory;
mod paths;
mod rules;
mod signer;
mod support;
mod vectors;
