//! Where changes to the registry are made durable: a small trait, and the store that keeps nothing.

use crate::record::Record;
use codec::aws::ChannelArn;
use std::fmt;

/// One change to the registry.
#[derive(Debug)]
pub enum Change<'a> {
    /// A record is new, or takes the place of the one with the same identity.
    Put(&'a Record),
    /// The channel is gone.
    Remove(&'a ChannelArn),
}

/// Why a change could not be kept. The call that asked for it is answered with `ServiceUnavailable`.
#[derive(Debug)]
pub struct StoreError(pub String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

/// Keeps records beyond the life of the process. One exists per shard and sees that shard's channels only.
pub trait Store: Send {
    /// The records of an earlier life.
    ///
    /// # Errors
    /// When they cannot be read; the server does not start.
    fn load(&mut self) -> Result<Vec<Record>, StoreError>;

    /// Takes a change over before it is made.
    ///
    /// # Errors
    /// When the change cannot be kept; it is not made.
    fn commit(&mut self, change: Change<'_>) -> Result<(), StoreError>;
}

/// A store without memory of its own: channels live as long as the process.
#[derive(Debug, Default)]
pub struct MemoryStore;

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _change: Change<'_>) -> Result<(), StoreError> {
        Ok(())
    }
}
