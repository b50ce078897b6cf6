//! Randomness for the machines, which have none of their own.

use std::io;

/// Fills `bytes` from the system's generator: seeds of a shard, keys of its hash tables.
///
/// # Errors
/// The system has no randomness; nothing should start then.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| io::Error::other("the system gives no random bytes"))
}
