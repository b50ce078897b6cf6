//! The test double: faults on request, copies of messages, findings, and a clean start. Empty but under `--dev`.

pub(in crate::shard) mod account_use;
pub(in crate::shard) mod capture;
pub(in crate::shard) mod checks;
pub(in crate::shard) mod copies;
pub(in crate::shard) mod faults;
pub(in crate::shard) mod glob;
pub(in crate::shard) mod parity;
pub(in crate::shard) mod reset;
