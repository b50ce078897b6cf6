//! Errors of opening, of queueing a change, and of committing it.

use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

/// Why a store cannot be opened or read. Each text says which file, what is wrong, and what to do. Nothing was written.
#[derive(Debug)]
pub enum OpenError {
    /// The file is not what was written: bits changed, cut short, or no store at all.
    Damaged {
        /// The file.
        file: PathBuf,
        /// The fault that was found.
        what: String,
    },
    /// The file was written by a later version of this program.
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format number.
        found: u64,
        /// The highest one that this version reads.
        known: u64,
    },
    /// Another process has the directory's store open.
    InUse {
        /// The lock file.
        file: PathBuf,
    },
    /// The system refused to read or write it.
    Io {
        /// The file or directory.
        file: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { file, what } => write!(
                f,
                "the store {} is damaged: {what}. It was left as it is. Put a backup in its place, or move it away to \
                 start \
                 with an empty store",
                file.display()
            ),
            Self::Newer { file, found, known } => write!(
                f,
                "the store {} has format {found}, and this version reads formats up to {known}: use the version that \
                 wrote \
                 it, or move it away to start with an empty store",
                file.display()
            ),
            Self::InUse { file } => write!(
                f,
                "the store is in use by another process, which holds {}: stop that one, or use another directory",
                file.display()
            ),
            Self::Io { file, error } => write!(
                f,
                "the store cannot be opened: {}: {error}: allowed a directory that can be read and written, on a disk \
                 with \
                 room",
                file.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}

/// The state of a running store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The last commit succeeded, or there was none.
    Fine,
    /// The last commit found no room on the disk. Each later one tries again; this ends by itself when there is room.
    Full,
    /// The disk failed. Nothing is written until the process is restarted: what a failed sync left on the disk is
    /// unknown.
    Failed,
}

/// Why a change was not committed. The map is as it was before the batch, but after [`Health::Failed`] it may be found
/// changed when it is opened again: whether the disk kept what it could not confirm is unknown.
#[derive(Clone, Debug)]
pub struct CommitError {
    /// The health of the store after it.
    pub health: Health,
    /// The failure, with the remedy; holds no key and no value.
    pub text: Arc<str>,
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CommitError {}

/// Why a change was not taken. Nothing of it will be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// [`crate::limits::QUEUE_CHANGES_MAX`] changes wait already.
    Busy,
    /// The key or the value is longer than [`crate::limits`] allow.
    TooLarge,
    /// The store has failed or was closed: it takes no change any more.
    Closed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "too many changes wait for the disk: try again",
            Self::TooLarge => "the change is larger than the store takes",
            Self::Closed => "the store takes no changes any more: the server must be restarted",
        })
    }
}

impl std::error::Error for Refused {}
