//! Opens, checks and reads a store.

use crate::OpenError;
use crate::commit::{self, Done, Writer};
use crate::disk::{CheckedDisk, Live, Lock, ROWS, database};
use crate::file_check::FileHead;
use crate::snapshot::{Snapshot, SnapshotError};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A map that has been checked and can be read. An existing file is not modified before [`Store::start`], so a file
/// whose rows a caller cannot interpret remains unchanged.
#[derive(Debug)]
pub struct Store {
    view: Database,
    /// The slot to mark as valid in the file's head when writing starts. This confirms a commit that is complete but
    /// was not confirmed.
    completed: Option<(FileHead, usize)>,
    pub(crate) disk: Arc<CheckedDisk>,
    file: PathBuf,
    lock: Lock,
}

impl Store {
    /// Opens the store in an existing directory, and verifies the checksum of every page. If there is no store, creates
    /// an empty one that only its owner can access. On an error, the file is left unchanged.
    ///
    /// Reads the whole file. With a million rows of some 110 bytes, this takes 0.7 to 1.6 s on two busy cores,
    /// including [`Store::load`] and [`Store::start`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let lock = lock(&dir.join(LOCK_NAME))?;
        let file = dir.join(FILE_NAME);
        let opened = File::options().read(true).write(true).open(&file);
        let opened = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(dir, &mut |_| Ok(())).map_err(|error| io_error(dir, error))?;
                File::options().read(true).write(true).open(&file)
            }
            opened => opened,
        };
        let disk = Arc::new(CheckedDisk::new(
            opened.map_err(|error| io_error(&file, error))?,
        ));
        let (view, completed) = check(&file, &disk)?;
        Ok(Self {
            view,
            completed,
            disk,
            file,
            lock,
        })
    }

    /// Verifies the store in a directory like [`Self::open`], but without a lock. No process may have the store open.
    /// Creates and writes nothing.
    ///
    /// # Errors
    /// Fails if the store is damaged or does not exist.
    pub fn verify(dir: &Path) -> Result<(), OpenError> {
        let file = dir.join(FILE_NAME);
        let opened = File::open(&file).map_err(|error| io_error(&file, error))?;
        check(&file, &Arc::new(CheckedDisk::new(opened))).map(drop)
    }

    /// Returns the path of the map's file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Passes every row to `row`, sorted by key bytes, and returns the number of rows. After an error, rows that were
    /// already passed must not be used.
    pub fn load(&self, mut row: impl FnMut(&str, &[u8])) -> Result<u64, OpenError> {
        let mut rows = 0;
        let mut walk = || -> Result<(), redb::Error> {
            let table = self.view.begin_read()?.open_table(ROWS)?;
            for entry in table.iter()? {
                let (key, value) = entry?;
                row(key.value(), value.value());
                rows += 1;
            }
            Ok(())
        };
        walk().map_err(|error| explain(&self.file, error))?;
        Ok(rows)
    }

    /// Takes a snapshot of all rows, which can then be read a few at a time.
    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        Snapshot::of(&self.view, &Arc::default())
    }

    /// Adds the rows that `fill` produces in one commit, all or none. The commit is durable once this method returns.
    /// On an error, the map is unchanged. Memory use is bounded by [`CACHE_BYTES`], regardless of the number of rows.
    pub fn put(self, fill: &mut Fill<'_>) -> io::Result<()> {
        drop(self.view);
        if let Some((head, slot)) = self.completed {
            head.name(&self.disk, slot)?;
        }
        put_all(&self.disk, fill).map_err(of_system)
    }

    /// Opens the file for writing and starts the commit thread. The thread calls `on_done` once for each accepted
    /// change, in the order of submission. `on_done` must not block. If the disk was full and space becomes available
    /// before the next change is submitted, the thread calls `on_room`.
    pub fn start<T, F, R>(self, on_done: F, on_room: R) -> Result<Writer<T>, OpenError>
    where
        T: Send + 'static,
        F: FnMut(Done<T>) + Send + 'static,
        R: FnMut() + Send + 'static,
    {
        drop(self.view);
        let file = self.file;
        if let Some((head, slot)) = self.completed {
            head.name(&self.disk, slot)
                .map_err(|error| io_error(&file, error))?;
        }
        let database = database(Live(Arc::clone(&self.disk)));
        let parts = Parts {
            database: database.map_err(|error| explain(&file, error))?,
            disk: self.disk,
            lock: self.lock,
            probe: file.with_file_name(PROBE_NAME),
        };
        commit::start(parts, on_done, on_room).map_err(|error| io_error(&file, error))
    }
}

pub(crate) struct Parts {
    pub(crate) database: Database,
    pub(crate) disk: Arc<CheckedDisk>,
    pub(crate) lock: Lock,
    pub(crate) probe: PathBuf,
}

/// Verifies a file: all checksums, the format number, and the table of rows. Writes nothing. Returns the view. If the
/// head marks the wrong slot as valid, also returns the slot that must be marked instead.
fn check(
    file: &Path,
    disk: &Arc<CheckedDisk>,
) -> Result<(Database, Option<(FileHead, usize)>), OpenError> {
    let explain = |error| explain(file, error);
    // The engine would turn an empty file into a new store. A store file is only renamed once it is complete, so it is
    // never empty.
    let head = FileHead::read(disk).map_err(|error| explain(error.into()))?;
    let mut database = head.view(disk, head.named()).map_err(explain)?;
    let mut completed = None;
    if let Some(slot) = head.newer()
        && let Ok(newer) = head.view(disk, slot)
    {
        (database, completed) = (newer, Some((head, slot)));
    }
    let format = || -> Result<Option<u64>, redb::Error> {
        let transaction = database.begin_read()?;
        transaction.open_table(ROWS)?;
        let format = transaction.open_table(META)?.get(FORMAT_KEY)?;
        Ok(format.map(|format| format.value()))
    };
    match format().map_err(explain)? {
        Some(FORMAT) => {}
        Some(found) if found > FORMAT => {
            return Err(OpenError::Newer {
                file: file.into(),
                found,
                known: FORMAT,
            });
        }
        Some(found) => return Err(damaged(file, format!("its format number is {found}"))),
        None => return Err(damaged(file, "it has no format number".into())),
    }
    Ok((database, completed))
}

/// A producer of rows, which passes each row to the given function.
pub type Fill<'f> = dyn FnMut(&mut dyn FnMut(&str, &[u8]) -> io::Result<()>) -> io::Result<()> + 'f;

/// Creates a store with the rows that `fill` produces, in a directory without a store. Only its owner can access it.
/// The store is complete and durable once this function returns; after an error, there is no store. Memory use is
/// bounded by [`CACHE_BYTES`].
pub fn create(dir: &Path, fill: &mut Fill<'_>) -> io::Result<()> {
    let (young, file) = (dir.join(YOUNG_NAME), dir.join(FILE_NAME));
    if file.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let opened = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&young)?;
    put_all(&Arc::new(CheckedDisk::new(opened)), fill).map_err(of_system)?;
    fs::rename(&young, &file)?;
    File::open(dir)?.sync_all()
}

fn put_all(disk: &Arc<CheckedDisk>, fill: &mut Fill<'_>) -> Result<(), redb::Error> {
    let database = database(Live(Arc::clone(disk)))?;
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    let mut rows = transaction.open_table(ROWS)?;
    fill(&mut |key, value| {
        let inserted = rows.insert(key, value).map(drop);
        inserted.map_err(|error| of_system(error.into()))
    })
    .map_err(redb::Error::Io)?;
    drop(rows);
    transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
    transaction.commit()?;
    Ok(())
}

fn of_system(error: redb::Error) -> io::Error {
    if let redb::Error::Io(error) = error {
        return error;
    }
    io::Error::other(error)
}

fn lock(path: &Path) -> Result<Lock, OpenError> {
    Lock::take(path).map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse { file: path.into() },
        TryLockError::Error(error) => io_error(path, error),
    })
}

fn explain(file: &Path, error: impl Into<redb::Error>) -> OpenError {
    let error = error.into();
    if matches!(error, redb::Error::RepairAborted) {
        return damaged(file, "checksums do not match".into());
    }
    let what = error.to_string();
    if let redb::Error::Io(error) = error
        && error.raw_os_error().is_some()
    {
        return io_error(file, error);
    }
    // The file is truncated or is not a store.
    damaged(file, what)
}

fn damaged(file: &Path, what: String) -> OpenError {
    OpenError::Damaged {
        file: file.into(),
        what,
    }
}

fn io_error(file: &Path, error: io::Error) -> OpenError {
    OpenError::Io {
        file: file.into(),
        error,
    }
}

const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
/// The format number of this version. Incremented when the interpretation of rows changes. Older files are migrated.
const FORMAT: u64 = 1;

const FILE_NAME: &str = "store.redb";
const YOUNG_NAME: &str = "store.redb.new";
const PROBE_NAME: &str = "store.room";
const LOCK_NAME: &str = "store.lock";

#[cfg(test)]
mod tests;
