//! Connections before they are WebSockets: bytes → heads and bodies → calls and upgrades, the admission of an upgrade
//! to its channel, and its way to that channel's shard.

pub(in crate::shard) mod admission;
pub(in crate::shard) mod bodies;
pub(in crate::shard) mod charges;
pub(in crate::shard) mod handover;
pub(in crate::shard) mod heads;
pub(in crate::shard) mod probe;
pub(in crate::shard) mod requests;
pub(in crate::shard) mod turned_away;
mod unsigned;
pub(in crate::shard) mod upgrades;
pub(in crate::shard) mod welcome;
