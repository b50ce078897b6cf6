//! Ends: of connections, of what is due, and of the process.

pub(in crate::shard) mod drain;
pub(in crate::shard) mod leave;
pub(in crate::shard) mod recheck;
pub(in crate::shard) mod slow_readers;
pub(in crate::shard) mod timers;
