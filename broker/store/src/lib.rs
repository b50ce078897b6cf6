//! An embedded durable map from text keys to byte strings, with batched commits on a separate thread.
//!
//! The map does not know channels: its callers interpret keys and values. In reading order:
//!
//! * [`limits`]: maximum sizes of keys, values, queues, batches and caches;
//! * [`OpenError`], [`CommitError`], [`Refused`]: errors, with the remedy in the text;
//! * `disk`: the open file and its past failures; `file_check`: a read-only view for checking, and the valid commit;
//! * [`Store`]: opening, checking and reading;
//! * [`Committer`]: the queue and the commit thread;
//! * [`Snapshot`], [`create`]: a consistent view while changes continue, and a new store from it;
//! * [`Lock`]: exclusion of other processes.
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
//! A commit has two phases, each followed by a sync: first the pages and the slot are written, then the byte that makes
//! the slot the valid one. The valid slot is thus never torn, and a wrong checksum always means damage, never a crash.
//! When a store is opened, the checksums of all reachable pages are verified on a read-only view of the file: a damaged
//! file is refused and left unchanged. Rows are read through the same view; the file itself is written only after
//! [`Store::start`], when the reader of the rows has accepted them.
//!
//! The file is not compacted at startup: the engine uses free pages before the file grows, and releases those at the
//! end of the file during commits and on close. Compacting would rewrite the whole file while all clients wait.
//!
//! Out of scope: retrying a failed sync (bytes that the kernel dropped cannot be recovered), logging, lookups by key
//! (the owners of the records keep them in memory), and repair by guessing.

mod commit;
mod disk;
mod file_check;
pub mod limits;
mod map;
mod snapshot;

pub use commit::{Change, Committer, Done, Writer};
pub use disk::Lock;
pub use map::{Fill, Store, create};
pub use snapshot::{Snapshot, SnapshotError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// Reason why a store cannot be opened or read: file, fault and remedy. Nothing has been written.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file is damaged: corrupted, truncated, or not a store.
    #[error(
        "the store {file} is damaged: {what}. It was left as it is. Put a backup in its place, or move it away to \
         start with an empty store"
    )]
    Damaged {
        /// Path of the file.
        file: PathBuf,
        /// Description of the damage.
        what: String,
    },
    /// A later version of this program wrote the file.
    #[error(
        "the store {file} has format {found}, and this version reads formats up to {known}: use the version that \
         wrote it, or move it away to start with an empty store"
    )]
    Newer {
        /// Path of the file.
        file: PathBuf,
        /// Format number in the file.
        found: u64,
        /// Highest format number that this version reads.
        known: u64,
    },
    /// Another process holds the lock of the store's directory.
    #[error(
        "the store is in use by another process, which holds {file}: stop that one, or use another directory"
    )]
    InUse {
        /// Path of the lock file.
        file: PathBuf,
    },
    /// Error of the operating system.
    #[error(
        "the store cannot be opened: {file}: {error}: must be a readable and writable directory, on a disk with room"
    )]
    Io {
        /// Path of the file or directory.
        file: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
}

/// Health of a running store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The last commit succeeded, or none has been made.
    Fine,
    /// The last commit found no space on the disk. Each later commit tries again; the state clears once there is space.
    Full,
    /// The disk failed. Nothing is written before a restart, because the effect of a failed sync is unknown.
    Failed,
}

/// Reason why a change was not committed. The map remains in its state before the batch. After [`Health::Failed`], the
/// change may appear when the map is reopened, since the disk may have kept unconfirmed bytes.
#[derive(Clone, Debug, Error)]
#[error("{text}")]
pub struct CommitError {
    /// Health of the store after the failure.
    pub health: Health,
    /// Failure and remedy, without keys or values.
    pub text: Arc<str>,
}

/// Reason why a change was refused. No part of it will be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The queue contains [`crate::limits::QUEUE_CHANGES_MAX`] changes.
    #[error("too many changes are waiting for the disk: try again")]
    Busy,
    /// The key or the value exceeds the limits in [`crate::limits`].
    #[error("the change exceeds the limits of the store")]
    TooLarge,
    /// The store has failed or was closed.
    #[error("the store accepts no more changes: the server must be restarted")]
    Closed,
}

/// Reason why a joint commit failed.
#[derive(Clone, Debug, Error)]
pub enum TogetherError {
    /// The changes were refused.
    #[error(transparent)]
    Refused(Refused),
    /// The commit failed.
    #[error(transparent)]
    Commit(CommitError),
}
