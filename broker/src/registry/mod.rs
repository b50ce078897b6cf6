//! Where channel records are kept beyond the life of the process.
//!
//! A record lives in its home shard's memory; a [`Store`] makes changes durable: [`DurableStore`] on a disk, [`MemoryStore`] not at
//! all. `encoding` says how a record stands on the disk. No session and no message appears here.

mod durable;
mod encoding;
mod store;

pub use self::store::{Change, MemoryStore, Store, StoreError, Submitted};
pub use durable::{DurableStore, RegistryError, Ticket, open};
pub use encoding::RecordError;
