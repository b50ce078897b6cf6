//! Questions of pages to the shards of this process, and to the other nodes.

pub(super) mod agreement;
pub(super) mod inspector;
pub(super) mod nodes;
pub(super) mod shards;
pub(super) mod survey;
