//! Other nodes: requests for their channels, and slots that come and go.

pub(in crate::shard) mod slots;
pub(in crate::shard) mod tunnel;
