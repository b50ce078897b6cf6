//! Questions of operators: channels and connections, and what happened to them.

pub(in crate::shard) mod connection_lookup;
pub(in crate::shard) mod import;
pub(in crate::shard) mod inspect;
pub(in crate::shard) mod presence;
pub(in crate::shard) mod trace;
