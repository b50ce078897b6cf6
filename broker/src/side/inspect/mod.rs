//! How pages ask the shards of this process, and the other nodes.

pub(super) mod nodes;
pub(super) mod survey;
