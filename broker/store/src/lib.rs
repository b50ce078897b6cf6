//! An embedded durable map from text keys to bytes, with batched commits on a thread of its own.
//!
//! Knows nothing of channels: its callers give keys and values a meaning. In reading order:
//!
//! * [`limits`]: how large keys, values, queues, batches and caches may be;
//! * [`OpenError`], [`CommitError`], [`Refused`]: what can go wrong, with the remedy in the text;
//! * `disk`: the one open file, and what it remembers of failures; `overlay`: a view of it for checking; `head`: which
//!   commit counts;
//! * [`Store`]: opening, checking and reading;
//! * [`Committer`]: the queue in front of the thread, and the thread;
//! * [`Snapshot`], [`create`]: one moment read while changes go on, and a new store of it;
//! * [`Lock`]: one process at a time.
//!
//! # Theory of operation
//!
//! ```text
//!  DIR/store.lock   held while the store is open: one process at a time
//!  DIR/store.redb   the map: copy-on-write pages below two commit slots
//!  DIR/store.room   written and removed while the disk was full, to see whether it still is
//!
//!  submit ──► bounded queue ──► thread: all that waits, one transaction
//!                               ──► pages ──► sync ──► slot ──► sync ──► on_done(ticket)
//! ```
//! A commit has two phases (pages and slot first, then the byte that makes the slot the valid one, each synced), so
//! the slot that counts is never torn and a checksum that does not fit is damage, never a crash. Opening verifies the
//! checksums of all pages that can be reached, on a view of the file that nothing is written through: a damaged file
//! is refused as it was found. Rows are read through that view too; the file itself is written from [`Store::start`]
//! on, when their reader was content.
//!
//! The file is not compacted at a start: the engine uses free pages before the file grows, and returns those at its end
//! with commits and when it is closed. Compacting would rewrite all of it while everybody waits.
//!
//! Absent here: retries of a failed sync (what the kernel dropped it cannot be asked for again), logs, looking up a key
//! (records live in their owners' memory), repair by guessing.

mod commit;
mod disk;
mod error;
mod head;
pub mod limits;
mod lock;
mod map;
mod overlay;
mod snapshot;

pub use commit::{Change, Committer, Done, Writer};
pub use error::{CommitError, Health, OpenError, Refused, TogetherError};
pub use lock::Lock;
pub use map::{Fill, Store, create};
pub use snapshot::{Snapshot, SnapshotError};
