//! The connections of a shard's clients: their state, their deadlines, and which one makes room for another.

pub(super) mod connection;
mod overdue;
pub(super) mod room;
pub(super) mod table;
