//! The registry: channel records that outlive the process.
//!
//! A record lives in its home shard's memory; a [`Store`] makes changes durable. `encoding` says how a
//! record is written as bytes. Absent: sessions and messages.

mod encoding;
mod store;

pub use encoding::{ENCODED_BYTES_MAX, RecordError, decode, encode, key};
pub use store::{Change, Store, StoreError, Submitted, Ticket};
