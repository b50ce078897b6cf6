//! A file that one process holds at a time.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The lock of a file, held until it is dropped or the process ends.
///
/// A child process that was forked and has not yet become its program has a copy of the descriptor, which would hold
/// the lock if this only closed its own: so it is released by name.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock of a file, which is made for its owner alone if there is none.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`]: another one has it; else the system's error.
    pub fn take(path: &Path) -> Result<Self, TryLockError> {
        let mut options = File::options();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        Self::of(options.open(path).map_err(TryLockError::Error)?)
    }

    /// Takes the lock of a file that is open.
    ///
    /// # Errors
    /// As [`Lock::take`].
    pub fn of(file: File) -> Result<Self, TryLockError> {
        file.try_lock()?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {

    use super::Lock;
    use std::fs::{self, File, TryLockError};

    #[test]
    fn a_lock_ends_though_a_copy_of_its_descriptor_is_open() {
        let name = format!("store-lock-test-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let lock = Lock::take(&path).unwrap();
        let again = Lock::of(File::open(&path).unwrap());
        assert!(matches!(again, Err(TryLockError::WouldBlock)));
        let as_in_a_child = lock.0.try_clone().unwrap();
        drop(lock);
        drop(Lock::take(&path).unwrap());
        drop(as_in_a_child);
        fs::remove_file(path).unwrap();
    }
}
