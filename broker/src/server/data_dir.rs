//! The data directory: made if absent, and one process at a time.

use super::Failure;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// A locked data directory. The lock ends with the process, whatever ends it.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is absent and locks it.
    ///
    /// # Errors
    /// [`Failure::Configuration`] when it cannot be made or written, [`Failure::Fatal`] when another process has it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
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
