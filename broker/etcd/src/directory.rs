//! The state that a node keeps across restarts, in two files in its data directory.
//!
//! ```text
//!  DIR/cluster.lock   held while the node runs: one process at a time
//!  DIR/cluster.json   the directory's number, its number of starts, and what was seen of etcd
//! ```
//! The directory's number is generated once. Each start has a number that is persisted before it is used. It exceeds
//! the previous number by a random amount, so no two processes ever have the same incarnation, even if a directory is
//! copied.

use crate::driver::event::{Event, TaskEvents};
use crate::limits::{NOTE_EVERY, REMEMBER_MS};
use crate::system::now;
use broker_core::cluster::types::{EtcdId, Incarnation, Revision};
use broker_core::{cluster::Memory, time::Now};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::Lock;
use thiserror::Error;
use tracing::warn;

const LOCK: &str = "cluster.lock";
const STATE: &str = "cluster.json";
const YOUNG: &str = "cluster.json.new";
const FORMAT: u32 = 1;

/// The reason why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// Another process is using the data directory.
    #[error("{} is locked by another process", .0.display())]
    Locked(PathBuf),
    /// The state file was written by another version of this program, or is damaged.
    #[error("{} cannot be read: {}", .0.display(), .1)]
    Unreadable(PathBuf, Box<str>),
    /// A file system operation failed.
    #[error("{}: {}", .0.display(), .1)]
    System(PathBuf, io::Error),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    format: u32,
    directory: u32,
    start: u64,
    newest: u64,
    etcd: Option<u64>,
    other_history: bool,
    pub(crate) cluster: Option<Box<str>>,
}

impl Kept {
    pub(crate) fn incarnation(&self) -> Incarnation {
        Incarnation {
            directory: self.directory,
            start: self.start,
        }
    }

    pub(crate) fn memory(&self) -> Memory {
        Memory {
            newest: Revision(self.newest),
            etcd: self.etcd.map(EtcdId),
            other_history: self.other_history,
        }
    }

    pub(crate) fn with(&self, memory: Memory) -> Self {
        Self {
            newest: memory.newest.0,
            etcd: memory.etcd.map(|id| id.0),
            other_history: memory.other_history,
            ..self.clone()
        }
    }

    /// Discards everything that this node has recorded about etcd. Called when the operator accepts etcd's current
    /// state.
    pub(crate) fn forget(&mut self) {
        self.newest = 0;
        self.etcd = None;
        self.other_history = false;
        self.cluster = None;
    }
}

#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: Lock,
}

impl Directory {
    /// Locks an existing data directory, and advances its start number by one plus `drawn[1]`. If the directory has no
    /// number yet, it gets the number `drawn[0]`. Both elements of `drawn` are random.
    pub(crate) fn open(path: &Path, drawn: [u32; 2]) -> Result<(Self, Kept), DirectoryError> {
        let system = |name: &str, error| DirectoryError::System(path.join(name), error);
        let lock = Lock::take(&path.join(LOCK)).map_err(|error| match error {
            TryLockError::WouldBlock => DirectoryError::Locked(path.join(LOCK)),
            TryLockError::Error(error) => system(LOCK, error),
        })?;
        let mut kept = read(&path.join(STATE))?.unwrap_or(Kept {
            format: FORMAT,
            directory: drawn[0],
            start: 0,
            newest: 0,
            etcd: None,
            other_history: false,
            cluster: None,
        });
        kept.start = kept.start.saturating_add(1 + u64::from(drawn[1]));
        write(path, &kept, true).map_err(|error| system(STATE, error))?;
        let directory = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        Ok((directory, kept))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn read(path: &Path) -> Result<Option<Kept>, DirectoryError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DirectoryError::System(path.to_owned(), error)),
    };
    let unreadable = |why: String| DirectoryError::Unreadable(path.to_owned(), why.into());
    let kept: Kept =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    match kept.format {
        FORMAT => Ok(Some(kept)),
        other => Err(unreadable(format!(
            "it has format {other}, and this version reads {FORMAT}"
        ))),
    }
}

/// Replaces the state file by renaming a complete new file over it. If `is_synced` is set, also syncs the file and the
/// directory, so that the change survives a crash.
pub(crate) fn write(directory: &Path, kept: &Kept, is_synced: bool) -> io::Result<()> {
    let young = directory.join(YOUNG);
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&young)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    if is_synced {
        file.sync_all()?;
    }
    fs::rename(&young, directory.join(STATE))?;
    if is_synced {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[derive(Debug)]
pub(crate) struct Keeping {
    directory: Directory,
    kept: Kept,
    writing: Option<Kept>,
    last: Now,
    noted: Option<Now>,
    events: TaskEvents,
}

impl Keeping {
    pub(crate) fn new(directory: Directory, kept: Kept, events: TaskEvents) -> Self {
        Self {
            directory,
            kept,
            writing: None,
            last: Now(0),
            noted: None,
            events,
        }
    }

    /// Writes the state file if anything has changed. If only the revision has increased, writes at most once per
    /// second. `cluster` is the id of the cluster, if it is known.
    pub(crate) fn remember(&mut self, memory: Memory, cluster: Option<Box<str>>) {
        let mut wanted = self.kept.with(memory);
        wanted.cluster = cluster;
        if self.writing.is_some() || wanted == self.kept {
            return;
        }
        let newest = self.kept.newest;
        let before = Kept {
            newest,
            ..wanted.clone()
        };
        let is_important = before != self.kept;
        if !is_important && now().since(self.last) < REMEMBER_MS {
            return;
        }
        self.last = now();
        self.writing = Some(wanted.clone());
        let path = self.directory.path().to_owned();
        self.events.spawn(async move {
            let write = move || self::write(&path, &wanted, is_important);
            Event::Kept(match tokio::task::spawn_blocking(write).await {
                Ok(result) => result.map_err(|error| error.to_string().into()),
                Err(error) => Err(error.to_string().into()),
            })
        });
    }

    /// Handles the result of a write. A failed write is retried on the next tick.
    pub(crate) fn written(&mut self, result: Result<(), Box<str>>) {
        let written = self.writing.take();
        match result {
            Ok(()) => self.kept = written.unwrap_or_else(|| self.kept.clone()),
            Err(why) => self.note(&why),
        }
    }

    fn note(&mut self, why: &str) {
        let now = now();
        let is_recent = |at: Now| Duration::from_millis(now.since(at)) < NOTE_EVERY;
        if !self.noted.is_some_and(is_recent) {
            self.noted = Some(now);
            let path = self.directory.path().display();
            warn!("{path}: the state of etcd cannot be saved for the next start: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_counted_and_one_process_runs() {
        let path = std::env::temp_dir().join(format!("cluster-directory-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let (first, kept) = Directory::open(&path, [7, 0]).unwrap();
        assert_eq!((kept.directory, kept.start), (7, 1));
        let second = Directory::open(&path, [8, 0]);
        assert!(
            matches!(second, Err(DirectoryError::Locked(_))),
            "{second:?}"
        );
        let memory = Memory {
            newest: Revision(40),
            etcd: Some(EtcdId(u64::MAX)),
            other_history: true,
        };
        write(first.path(), &kept.with(memory), false).unwrap();
        drop(first);
        let (third, kept) = Directory::open(&path, [9, 4]).unwrap();
        assert_eq!((kept.directory, kept.start), (7, 6));
        assert_eq!(kept.memory(), memory);
        drop(third);
        fs::write(path.join(STATE), r#"{"format":2}"#).unwrap();
        let unreadable = Directory::open(&path, [9, 0]);
        assert!(
            matches!(unreadable, Err(DirectoryError::Unreadable(..))),
            "{unreadable:?}"
        );
        fs::remove_dir_all(&path).unwrap();
    }
}
