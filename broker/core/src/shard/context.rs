//! The context of a step: when it is, what it counts, and what it leaves.

use crate::shard::telemetry::Telemetry;
use crate::shard::todo::TodoList;
use crate::time::Moment;

/// The context of the input under way, which nearly every step takes.
pub(crate) struct Context {
    /// The moment of the input.
    pub(crate) at: Moment,
    /// Counters, log lines and notes.
    pub(crate) telemetry: Telemetry,
    /// Work that steps leave to the shard.
    pub(crate) todo: TodoList,
}
