//! Calls of etcd over [`crate::rpc`], and the failures that they end with.
//!
//! * [`link`]: one connection to one member, and the attempts to get one;
//! * [`calls`]: single calls; [`lease`], [`watch`]: streams; [`load`]: the records of a slot, page by page;
//! * [`failure`]: what a failed call means: not sent, refused, or unknown.

pub(crate) mod calls;
pub(crate) mod failure;
pub(crate) mod lease;
pub(crate) mod link;
pub(crate) mod load;
pub(crate) mod watch;
