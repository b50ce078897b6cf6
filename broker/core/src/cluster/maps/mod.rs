//! Maps of slots: from a channel to its slot and the slot's owner, as shards read them.
//!
//! | module | what it is |
//! |---|---|
//! | [`slot_map`] | the slot of a channel, and the owner of each slot: one map per process |
//! | [`fixed_map`] | the owners of a cluster whose slots do not move, as a file names them |
//! | [`slot_set`] | some of the slots |
//! | [`tunnels`] | connections to owners of slots, and which of them are closed when another node is the owner |

pub mod fixed_map;
pub mod slot_map;
pub mod slot_set;
pub mod tunnels;
