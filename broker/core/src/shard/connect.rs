//! Connections before they are WebSockets: bytes → heads and bodies → calls and upgrades, the admission of an upgrade
//! to its channel, and its way to that channel's shard.

pub(crate) mod admission;
pub(crate) mod bodies;
mod charges;
pub(crate) mod handover;
pub(crate) mod heads;
mod probe;
pub(crate) mod requests;
pub(crate) mod turned_away;
mod unsigned;
pub(crate) mod upgrades;
mod welcome;
