//! The open store file and its recorded failures, plus the engine's storage backend and file locks.
//!
//! The engine reports a failed system call like any other error, and refuses all later operations. Whether writing may
//! continue once the file has been reopened depends on which call failed and how. Failures are therefore recorded here,
//! where the calls are made.

use crate::limits::CACHE_BYTES;
use redb::{Database, DatabaseError, StorageBackend, TableDefinition};
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    None = 0,
    /// A write ran out of space. Its bytes are ignored, and the file can be written to again.
    NoRoom = 1,
    /// A write or sync failed for another reason. The kernel may have dropped bytes that it had accepted, without
    /// reporting another error.
    Broken = 2,
}

#[derive(Debug)]
pub(crate) struct CheckedDisk {
    file: File,
    fault: AtomicU8,
    #[cfg(test)]
    pub(crate) breakage: Breakage,
}

/// Failures that a test injects, given as error numbers. 0 means that there is no failure.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Breakage {
    pub(crate) writes: std::sync::atomic::AtomicI32,
    pub(crate) writes_left: std::sync::atomic::AtomicU32,
    pub(crate) syncs: std::sync::atomic::AtomicI32,
    pub(crate) syncs_seen: std::sync::atomic::AtomicU32,
    pub(crate) log: std::sync::OnceLock<crossbeam_channel::Sender<Call>>,
}

#[cfg(test)]
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl CheckedDisk {
    pub(crate) fn new(file: File) -> Self {
        Self {
            file,
            fault: AtomicU8::new(Fault::None as u8),
            #[cfg(test)]
            breakage: Breakage::default(),
        }
    }

    pub(crate) fn fault(&self) -> Fault {
        match self.fault.load(Ordering::Acquire) {
            0 => Fault::None,
            1 => Fault::NoRoom,
            _ => Fault::Broken,
        }
    }

    /// Clears a recorded lack of space before the file is reopened. Panics if the fault is [`Fault::Broken`], which is
    /// permanent.
    pub(crate) fn forget_no_room(&self) {
        assert!(self.fault() < Fault::Broken);
        self.fault.store(Fault::None as u8, Ordering::Release);
    }

    pub(crate) fn give_up(&self) {
        self.fault.store(Fault::Broken as u8, Ordering::Release);
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn note(&self, result: io::Result<()>, no_room: Fault) -> io::Result<()> {
        if let Err(error) = &result {
            let lacks_room = matches!(
                error.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            );
            let fault = if lacks_room { no_room } else { Fault::Broken };
            self.fault.fetch_max(fault as u8, Ordering::AcqRel);
        }
        result
    }

    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.breakage.write()?;
        #[cfg(test)]
        self.breakage.tell(|| Call::Write(offset, data.into()));
        self.file.write_all_at(data, offset)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        self.breakage.sync()?;
        #[cfg(test)]
        self.breakage.tell(|| Call::Sync);
        self.file.sync_data()
    }
}

#[cfg(test)]
impl Breakage {
    fn tell(&self, call: impl FnOnce() -> Call) {
        if let Some(log) = self.log.get() {
            let _ = log.send(call());
        }
    }

    fn write(&self) -> io::Result<()> {
        let number = self.writes.load(Ordering::Acquire);
        if number == 0 {
            return Ok(());
        }
        let left = |left: u32| left.checked_sub(1);
        let taken = self
            .writes_left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, left);
        taken
            .map(drop)
            .map_err(|_| io::Error::from_raw_os_error(number))
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs_seen.fetch_add(1, Ordering::AcqRel);
        match self.syncs.load(Ordering::Acquire) {
            0 => Ok(()),
            number => Err(io::Error::from_raw_os_error(number)),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Live(pub(crate) Arc<CheckedDisk>);

impl StorageBackend for Live {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        #[cfg(test)]
        self.0.breakage.tell(|| Call::SetLen(len));
        self.0.note(self.0.file.set_len(len), Fault::NoRoom)
    }

    fn sync_data(&self) -> io::Result<()> {
        // A sync that runs out of space also counts as broken, because pages that the kernel accepted and then dropped
        // are lost.
        self.0.note(self.0.sync(), Fault::Broken)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.note(self.0.write(offset, data), Fault::NoRoom)
    }
}

/// A lock on a file, held until it is dropped or the process exits.
///
/// The lock is released explicitly, because a forked child process has a copy of the descriptor until it executes its
/// program. This copy would keep the file locked after the original descriptor is closed.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Locks a file, which is created if needed, with access for its owner only.
    ///
    /// # Errors
    /// Returns [`TryLockError::WouldBlock`] if the file is already locked, or the system's error otherwise.
    pub fn take(path: &Path) -> Result<Self, TryLockError> {
        let mut options = File::options();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        Self::of(options.open(path).map_err(TryLockError::Error)?)
    }

    /// Locks an open file. Returns the same errors as [`Lock::take`].
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

pub(crate) fn database(backend: impl StorageBackend) -> Result<Database, DatabaseError> {
    database_repairing(backend, |_| true)
}

/// Opens the engine with a callback that receives the progress of a repair, from 0 to 1, and decides whether to
/// continue.
pub(crate) fn database_repairing(
    backend: impl StorageBackend,
    may_go_on: impl Fn(f64) -> bool + 'static,
) -> Result<Database, DatabaseError> {
    redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .set_repair_callback(move |session| {
            if !may_go_on(session.progress()) {
                session.abort();
            }
        })
        .create_with_backend(backend)
}

pub(crate) const ROWS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("rows");

#[cfg(test)]
mod lock_tests {
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
