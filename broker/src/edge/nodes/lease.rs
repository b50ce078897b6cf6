//! The memory of a connection between nodes while it is a client's.

use codec::proxy::CHALLENGE_BYTES;

/// The state that a connection is to have when it comes back from a client; see `inner/returned.rs`.
pub(crate) struct Lease {
    /// The owner's challenge on it.
    pub(crate) challenge: [u8; CHALLENGE_BYTES],
    /// The number of the upgrade on it.
    pub(crate) number: u64,
    /// The owner has said that it is free.
    pub(crate) said: bool,
}
