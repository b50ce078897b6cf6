//! Channel records and where they are kept.
//!
//! A record lives in its home shard's memory; a [`Store`] makes changes durable. No session and no message appears here.

mod record;
mod store;

pub use record::{Record, VERSION_BYTES, Version};
pub use store::{Change, MemoryStore, Store, StoreError};
