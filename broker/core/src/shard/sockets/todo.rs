//! What remains to be done of an input when its step is over. Only the shard does it, in order.

use crate::id::CallRef;
use crate::shard::Answer;

/// One thing that a step leaves to the shard.
#[derive(Debug)]
pub(in crate::shard) enum Todo {
    /// The answer of a call whose caller is connected to this shard: as one that comes from another shard by a letter.
    Answer(CallRef, Answer),
}
