//! Randomness for the machines, which are deterministic themselves.

use std::io;

/// Fills `bytes` from the system's random generator: seeds of a shard, keys of its hash tables.
///
/// # Errors
/// The system provides no randomness; nothing should start in that case.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    aws_lc_rs::rand::fill(bytes)
        .map_err(|_| io::Error::other("the system's random generator failed"))
}
