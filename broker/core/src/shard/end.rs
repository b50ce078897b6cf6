//! Ends: of connections, of what is due, and of the process.

pub(crate) mod drain;
mod leave;
pub(crate) mod recheck;
mod slow_readers;
pub(crate) mod timers;
