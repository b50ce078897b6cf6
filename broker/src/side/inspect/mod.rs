//! Questions of pages to the shards of this process, and to the other nodes.

pub(crate) mod agreement;
pub(crate) mod inspector;
pub(crate) mod nodes;
pub(crate) mod shards;
pub(crate) mod survey;
