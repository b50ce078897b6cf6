//! Where channel records are kept beyond the life of the process.
//!
//! A record lives in its home shard's memory; a [`Store`] makes changes durable. No session and no message appears here.

mod store;

pub use store::{Change, MemoryStore, Store, StoreError, Submitted};
