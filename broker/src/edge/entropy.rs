//! Randomness for the machines, which are themselves deterministic.

use std::io;

/// Fills `bytes` from the system's random generator, for the seeds of a shard and the keys of its hash tables.
///
/// # Errors
/// Fails if the system provides no randomness, in which case nothing should start.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    aws_lc_rs::rand::fill(bytes)
        .map_err(|_| io::Error::other("the system's random generator failed"))
}
