//! How pages ask the shards of this process, and the other nodes.

pub(super) mod inspector;
pub(super) mod nodes;
pub(super) mod shards;
pub(super) mod survey;
