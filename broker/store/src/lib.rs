//! An embedded durable map from text keys to byte strings. A separate thread commits changes in batches.
//!
//! The map knows nothing about channels. Its callers interpret the keys and values. The modules and types in reading
//! order:
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
//!  DIR/store.room   written and removed while the disk is full, to check whether there is space again
//!
//!  submit ──► bounded queue ──► thread: all that waits, one transaction
//!                               ──► pages ──► sync ──► slot ──► sync ──► on_done(ticket)
//! ```
//! A commit has two phases, each followed by a sync. The first phase writes the pages and the slot, and the second one
//! writes the byte that marks the slot as valid. A valid slot is therefore never torn, and a checksum mismatch always
//! indicates corruption rather than a crash. Opening a store verifies the checksums of all reachable pages through a
//! read-only view of the file. A damaged file is refused and left unchanged. Rows are read through the same view. The
//! file is not written to before [`Store::start`], which is called once the rows have been accepted.
//!
//! The file is not compacted at startup, because this would rewrite the whole file while all clients wait. The engine
//! uses free pages before it grows the file, and releases free pages at the end of the file during commits and on
//! close.
//!
//! Out of scope: retrying a failed sync (bytes that the kernel has dropped cannot be recovered), logging, lookups by
//! key (the owners of the records keep them in memory), and repair by guessing.

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

/// Why a store cannot be opened or read. Contains the file, the fault and the remedy. Nothing has been written.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file is damaged: corrupted, truncated, or not a store.
    #[error(
        "the store {file} is damaged: {what}. It was left as it is. Put a backup in its place, or move it away to \
         start with an empty store"
    )]
    Damaged {
        /// The path of the file.
        file: PathBuf,
        /// A description of the damage.
        what: String,
    },
    /// A later version of this program wrote the file.
    #[error(
        "the store {file} has format {found}, and this version reads formats up to {known}: use the version that \
         wrote it, or move it away to start with an empty store"
    )]
    Newer {
        /// The path of the file.
        file: PathBuf,
        /// The format number in the file.
        found: u64,
        /// The highest format number that this version reads.
        known: u64,
    },
    /// Another process holds the lock of the store's directory.
    #[error(
        "the store is in use by another process, which holds {file}: stop that one, or use another directory"
    )]
    InUse {
        /// The path of the lock file.
        file: PathBuf,
    },
    /// The operating system reported an error.
    #[error(
        "the store cannot be opened: {file}: {error}: must be a readable and writable directory, on a disk with room"
    )]
    Io {
        /// The path of the file or directory.
        file: PathBuf,
        /// The error reported by the operating system.
        error: io::Error,
    },
}

/// The health of a running store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The last commit succeeded, or none has been made.
    Fine = 0,
    /// The last commit found no space on the disk. Every later commit tries again, and this state clears once there is
    /// space.
    Full = 1,
    /// The disk failed. Nothing is written until a restart, because the effect of a failed sync is unknown.
    Failed = 2,
}

/// Why a change was not committed. The map is as it was before the batch. After [`Health::Failed`], the change may
/// still appear when the map is reopened, because the disk may have kept unconfirmed bytes.
#[derive(Clone, Debug, Error)]
#[error("{text}")]
pub struct CommitError {
    /// The health of the store after the failure.
    pub health: Health,
    /// The failure and what to do about it, without keys or values.
    pub text: Arc<str>,
}

/// Why a change was refused. No part of it will be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The queue already contains [`crate::limits::QUEUE_CHANGES_MAX`] changes.
    #[error("too many changes are waiting for the disk: try again")]
    Busy,
    /// The key or the value exceeds the limits in [`crate::limits`].
    #[error("the change exceeds the limits of the store")]
    TooLarge,
    /// The store has failed or was closed.
    #[error("the store accepts no more changes: the server must be restarted")]
    Closed,
}

/// Why a joint commit failed.
#[derive(Clone, Debug, Error)]
pub enum TogetherError {
    /// The changes were refused.
    #[error(transparent)]
    Refused(Refused),
    /// The commit failed.
    #[error(transparent)]
    Commit(CommitError),
}
