//! The data directory: made if absent, and one process at a time.

use super::Failure;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A locked data directory. The lock ends with the process, whatever ends it.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
    /// It ends with the process.
    ends: bool,
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.ends
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the data directory could not be removed");
        }
    }
}

impl DataDir {
    /// Makes the directory if it is absent and locks it.
    ///
    /// # Errors
    /// [`Failure::Configuration`] when it cannot be made or written, [`Failure::Fatal`] when another process has it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        Self::open_as(path, false)
    }

    /// A new directory that only this user may enter, removed at the end of the process: this one, or one of the same
    /// name in the first of `others` that can be written, with a line in the log that says so.
    ///
    /// # Errors
    /// [`Failure::Fatal`] with each place and why it cannot be written.
    pub(crate) fn temporary(path: &Path, others: &[PathBuf]) -> Result<Self, Failure> {
        let name = path.file_name().unwrap_or_default();
        let others = others.iter().map(|parent| parent.join(name));
        let mut refused = String::new();
        for place in std::iter::once(path.to_owned()).chain(others) {
            match make_private(&place) {
                Ok(()) => {
                    if !refused.is_empty() {
                        let place = place.display();
                        tracing::warn!(
                            "--data-dir :memory: is not in memory: {refused}; its files are in {place}"
                        );
                    }
                    return Self::open_as(&place, true);
                }
                Err(error) => {
                    let parent = place.parent().unwrap_or(&place).display();
                    let comma = if refused.is_empty() { "" } else { ", " };
                    refused.push_str(&format!("{comma}{parent} cannot be written ({error})"));
                }
            }
        }
        Err(Failure::Fatal(format!(
            "--data-dir :memory: finds no place: {refused}: allowed one with {} KiB free; make one writable, set \
             TMPDIR, or name a directory by --data-dir",
            ROOM_BYTES / 1024
        )))
    }

    fn open_as(path: &Path, ends: bool) -> Result<Self, Failure> {
        let name = path.display();
        let unusable = |error: std::io::Error| {
            Failure::Configuration(format!(
                "data_dir = {name}: allowed a directory that can be made and written: {error}"
            ))
        };
        fs::create_dir_all(path).map_err(unusable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.into(),
                _lock: lock,
                ends,
            }),
            Err(TryLockError::WouldBlock) => Err(Failure::Fatal(format!(
                "the data directory {name} is in use by another process: stop that one, or give this one another \
                 --data-dir"
            ))),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory that only this user may enter, with room in it. Removed again where there is none.
fn make_private(path: &Path) -> io::Result<()> {
    remove_leftovers(path);
    fs::DirBuilder::new().mode(0o700).create(path)?;
    let room = path.join("room");
    let written = fs::write(&room, vec![0; ROOM_BYTES]).and_then(|()| fs::remove_file(&room));
    if written.is_err() {
        let _ = fs::remove_dir_all(path);
    }
    written
}

/// The places for the files of `--data-dir :memory:` that cannot be in memory.
pub(crate) fn places_on_disk() -> Vec<PathBuf> {
    let mut places = vec![std::env::temp_dir(), PathBuf::from("/tmp")];
    places.dedup(); // without TMPDIR they are one
    places
}

/// Removes the temporary directories beside this one whose processes were killed.
fn remove_leftovers(path: &Path) {
    let entries = path.parent().and_then(|parent| fs::read_dir(parent).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(process_of);
        let gone = process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists());
        if gone && is_left(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path()); // another user's stays
        }
    }
}

/// The process of a temporary directory of this name: `heliograph-`, its number, and when it started, in nanoseconds.
/// Nobody gives such a name to a directory that is to stay.
fn process_of(name: &str) -> Option<u32> {
    let (process, started) = name.strip_prefix("heliograph-")?.split_once('-')?;
    let digits = started.len() >= 18 && started.bytes().all(|byte| byte.is_ascii_digit());
    process.parse().ok().filter(|_| digits)
}

/// Whether no process has the lock of a data directory. One may be of another container that shares this file system
/// and has process numbers of its own.
fn is_left(path: &Path) -> bool {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let lock = path.join("lock");
    // Whatever else has that name might keep who opens it waiting.
    let is_file = fs::symlink_metadata(&lock).map(|found| found.is_file());
    match is_file {
        Err(error) => is_dir && error.kind() == io::ErrorKind::NotFound && is_old(path),
        Ok(is_file) => {
            is_dir && is_file && File::open(&lock).is_ok_and(|lock| lock.try_lock().is_ok())
        }
    }
}

/// Whether a directory without a lock is not one that was made just now.
fn is_old(path: &Path) -> bool {
    let made = fs::metadata(path).and_then(|found| found.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > STARTED_WITHIN))
}

/// The bytes that a directory must have room for: keys, certificates and the first records of a broker under test.
const ROOM_BYTES: usize = 256 * 1024;

/// From the making of a directory to its lock.
const STARTED_WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Beyond the numbers that Linux gives to processes.
    const NOBODY: u32 = u32::MAX;

    #[test]
    fn directories_of_killed_processes_are_removed_and_nothing_else() {
        let parent = std::env::temp_dir().join(format!("leftovers-{}", std::process::id()));
        fs::create_dir_all(&parent).unwrap();
        let make = |name: &str, locked: bool| {
            let path = parent.join(name);
            fs::create_dir(&path).unwrap();
            if locked {
                fs::write(path.join("lock"), "").unwrap();
            }
            path
        };
        let killed = make(&format!("heliograph-{NOBODY}-1795236066869557548"), true);
        let served = make(&format!("heliograph-{NOBODY}-1795236066869557549"), true);
        let lock = File::open(served.join("lock")).unwrap();
        lock.try_lock().unwrap();
        let others = [
            served,
            make(&format!("heliograph-{NOBODY}-1795236066869557550"), false),
            make(&format!("heliograph-{NOBODY}-data"), true),
            make(&format!("heliograph-{NOBODY}"), true),
            make(
                &format!("heliograph-{}-1795236066869557551", std::process::id()),
                true,
            ),
        ];
        let (link, target) = (
            parent.join(format!("heliograph-{NOBODY}-1795236066869557552")),
            make("target", true),
        );
        symlink(&target, &link).unwrap();
        let started = DataDir::temporary(&parent.join("heliograph-1-1"), &[]).unwrap();
        assert!(!killed.exists(), "its process was killed");
        for other in others.iter().chain([&link, &target]) {
            assert!(other.exists(), "{} stays", other.display());
        }
        let own = started.path().to_owned();
        drop(started);
        assert!(!own.exists(), "it ends with the process");
        fs::remove_dir_all(&parent).unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_written_is_passed_over_and_none_is_an_error_with_all() {
        let parent = std::env::temp_dir().join(format!("fallback-{}", std::process::id()));
        fs::create_dir_all(&parent).unwrap();
        let (absent, full) = (parent.join("absent"), PathBuf::from("/dev/full"));
        let own = absent.join("heliograph-1-2");
        let started = DataDir::temporary(&own, &[full.clone(), parent.clone()]).unwrap();
        assert_eq!(started.path(), parent.join("heliograph-1-2"));
        assert_eq!(fs::read_dir(started.path()).unwrap().count(), 1, "the lock");
        drop(started);
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
        let error = DataDir::temporary(&own, &[full]).unwrap_err().to_string();
        for part in ["absent cannot be written (", "/dev/full cannot", "TMPDIR"] {
            assert!(error.contains(part), "{error}");
        }
        fs::remove_dir_all(&parent).unwrap();
    }
}
