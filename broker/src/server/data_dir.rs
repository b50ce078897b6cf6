//! The data directory: made if absent, and one process at a time.

use super::Failure;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

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

    /// A new directory that only this user may enter, removed at the end of the process.
    ///
    /// # Errors
    /// As [`DataDir::open`]; also when there is such a directory.
    pub(crate) fn temporary(path: &Path) -> Result<Self, Failure> {
        remove_leftovers(path);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(path)
            .map_err(|error| {
                Failure::Fatal(format!(
                    "the directory {} cannot be made: {error}",
                    path.display()
                ))
            })?;
        Self::open_as(path, true)
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

/// Removes the temporary directories beside this one whose processes were killed.
fn remove_leftovers(path: &Path) {
    let entries = path.parent().and_then(|parent| fs::read_dir(parent).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix("heliograph-")?.split('-').next());
        let process = process.and_then(|text| text.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            let _ = fs::remove_dir_all(entry.path()); // another user's stays
        }
    }
}
