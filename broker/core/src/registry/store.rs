//! The store of the registry, a small trait.

use crate::id::{ChannelKey, ShardId};
use crate::record::Record;
use codec::identifiers::ChannelArn;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// More changes are under way than are taken at once. Nothing is wrong: the next try may succeed.
    Busy,
    /// The store fails: what, with the remedy.
    Failed(Box<str>),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many changes are under way: try again"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}

/// The state of a change that was handed to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is kept, as well as this store keeps anything.
    Kept,
    /// A later letter with the same key says whether it is kept.
    Later,
}

/// The recipient of the result of a change that is kept later: the shard, and the channel there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The channel's home.
    pub shard: ShardId,
    /// The channel.
    pub channel: ChannelKey,
}

/// Keeps records beyond the life of the process. One exists per shard and sees that shard's channels only. Never
/// blocks.
pub trait Store: Send {
    /// Takes over a change of the channel `of`, of which no other change is under way.
    ///
    /// # Errors
    /// When the change cannot be kept; it is not made.
    fn submit(&mut self, of: ChannelKey, change: Change<'_>) -> Result<Submitted, StoreError>;
}
