//! The queue of changes, and the thread that commits them. A commit has one of three outcomes:
//!
//! * The commit succeeds, and all changes in the batch are applied.
//! * A write runs out of space. Nothing is applied, and the store is [`Health::Full`]. The next batch reopens the
//!   engine. Until then, the thread checks for space.
//! * Another write or a sync fails. Nothing is confirmed, and the store is [`Health::Failed`]. Every later change is
//!   refused until a restart.

use crate::disk::{CheckedDisk, Fault, Live, Lock, ROWS, database};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_CHANGES_MAX, KEY_BYTES_MAX, PROBE_BYTES, PROBE_PAUSE, QUEUE_CHANGES_MAX,
    VALUE_BYTES_MAX,
};
use crate::map::Parts;
use crate::snapshot::{Snapshot, SnapshotError, SnapshotGate};
use crate::{CommitError, Health, Refused, TogetherError};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use redb::{Database, Durability};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{Builder, JoinHandle};

/// A single change to the map.
#[derive(Debug)]
pub struct Change<T> {
    /// The caller's id for the change, returned in [`Done`].
    pub ticket: T,
    /// The key to change, at most [`KEY_BYTES_MAX`] bytes long.
    pub key: Box<str>,
    /// The value to set, at most [`VALUE_BYTES_MAX`] bytes long. `None` removes the key if it exists.
    pub value: Option<Box<[u8]>>,
}

impl<T> Change<T> {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, |value| value.len())
    }
}

/// The outcome of a change.
#[derive(Debug)]
pub struct Done<T> {
    /// The change's ticket.
    pub ticket: T,
    /// `Ok` if the change is durable. `Err` if it was not applied; see [`CommitError`].
    pub result: Result<(), CommitError>,
}

/// A handle for submitting changes to the commit thread, cloned for each shard. Submitting never blocks.
#[derive(Debug)]
pub struct Committer<T> {
    queue: Sender<Letter<T>>,
    health: Arc<AtomicU8>,
}

impl<T> Clone for Committer<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            health: Arc::clone(&self.health),
        }
    }
}

impl<T> Committer<T> {
    /// Submits a change. `on_done` is called for it exactly once, unless the change is refused and returned. Changes to
    /// the same key are applied in the order of submission.
    pub fn submit(&self, change: Change<T>) -> Result<(), (Refused, Change<T>)> {
        let value_bytes = change.value.as_ref().map_or(0, |value| value.len());
        if change.key.len() > KEY_BYTES_MAX || value_bytes > VALUE_BYTES_MAX {
            return Err((Refused::TooLarge, change));
        }
        if self.health() == Health::Failed {
            return Err((Refused::Closed, change));
        }
        let (refused, letter) = match self.queue.try_send(Letter::Change(change)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(letter)) => (Refused::Busy, letter),
            Err(TrySendError::Disconnected(letter)) => (Refused::Closed, letter),
        };
        let Letter::Change(change) = letter else {
            unreachable!("a change was sent")
        };
        Err((refused, change))
    }

    /// Submits changes to be committed together, all or none, and waits for the result. Refuses all of them if they are
    /// too many or too large for one commit, or if the store has failed or was closed. Otherwise, calls `on_done` for
    /// each change. Must not be called on a shard's thread.
    pub fn submit_together(&self, changes: Vec<Change<T>>) -> Result<(), TogetherError> {
        let is_large = |change: &Change<T>| {
            let value_bytes = change.value.as_ref().map_or(0, |value| value.len());
            change.key.len() > KEY_BYTES_MAX || value_bytes > VALUE_BYTES_MAX
        };
        let bytes: usize = changes.iter().map(Change::bytes).sum();
        let is_too_much = changes.len() > BATCH_CHANGES_MAX || bytes > BATCH_BYTES_MAX;
        if is_too_much || changes.iter().any(is_large) {
            return Err(TogetherError::Refused(Refused::TooLarge));
        }
        if changes.is_empty() {
            return Ok(());
        }
        let closed = TogetherError::Refused(Refused::Closed);
        if self.health() == Health::Failed {
            return Err(closed);
        }
        let (reply, answer) = bounded(1);
        let sent = self.queue.send(Letter::Together(changes, reply));
        sent.map_err(|_| closed.clone())?;
        let committed = answer.recv().map_err(|_| closed)?;
        committed.map_err(TogetherError::Commit)
    }

    /// Takes a snapshot of the map, which includes every change reported as done before this call. Waits for the batch
    /// in progress and for the queued changes, which takes some milliseconds on a healthy disk. Must not be called on a
    /// shard's thread.
    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let (reply, answer) = bounded(1);
        let sent = self.queue.send(Letter::Snapshot(reply));
        sent.map_err(|_| SnapshotError::Closed)?;
        answer.recv().unwrap_or(Err(SnapshotError::Closed))
    }

    /// Returns the store's health, at the cost of one atomic load.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Acquire) {
            0 => Health::Fine,
            1 => Health::Full,
            _ => Health::Failed,
        }
    }
}

/// The running commit thread. Dropping this does the same as [`Writer::close`].
#[derive(Debug)]
pub struct Writer<T> {
    committer: Committer<T>,
    thread: Option<JoinHandle<()>>,
}

impl<T> Writer<T> {
    /// Returns a handle for submitting changes.
    #[must_use]
    pub fn committer(&self) -> Committer<T> {
        self.committer.clone()
    }

    /// Commits everything submitted so far, stops the thread and releases the file. Blocks until this is done. Changes
    /// submitted in the meantime are committed or refused, and reported as usual.
    pub fn close(self) {
        drop(self);
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        let _ = self.committer.queue.send(Letter::Close);
        // A panicking thread has already printed its message.
        let _ = thread.join();
    }
}

#[derive(Debug)]
enum Letter<T> {
    Change(Change<T>),
    Together(Vec<Change<T>>, Sender<Result<(), CommitError>>),
    Snapshot(Sender<Result<Snapshot, SnapshotError>>),
    Close,
}

pub(crate) fn start<T, F, R>(parts: Parts, on_done: F, on_room: R) -> io::Result<Writer<T>>
where
    T: Send + 'static,
    F: FnMut(Done<T>) + Send + 'static,
    R: FnMut() + Send + 'static,
{
    let (queue, letters) = bounded(QUEUE_CHANGES_MAX);
    let health = Arc::new(AtomicU8::new(Health::Fine as u8));
    let committing = CommitThread {
        letters,
        on_done,
        on_room,
        health: Arc::clone(&health),
        database: Some(parts.database),
        gate: Arc::default(),
        wanted: None,
        awaited: Vec::new(),
        disk: parts.disk,
        probe: parts.probe,
        _lock: parts.lock,
    };
    let thread = Builder::new()
        .name("store".into())
        .spawn(move || committing.run())?;
    let committer = Committer { queue, health };
    Ok(Writer {
        committer,
        thread: Some(thread),
    })
}

/// The commit thread's state. `database` is `None` from a failed batch until the next batch reopens it.
struct CommitThread<T, F, R> {
    letters: Receiver<Letter<T>>,
    on_done: F,
    on_room: R,
    health: Arc<AtomicU8>,
    database: Option<Database>,
    gate: Arc<SnapshotGate>,
    wanted: Option<Sender<Result<Snapshot, SnapshotError>>>,
    awaited: Vec<Sender<Result<(), CommitError>>>,
    disk: Arc<CheckedDisk>,
    probe: PathBuf,
    /// The store's lock, which is dropped after the engine has released the file.
    _lock: Lock,
}

impl<T, F: FnMut(Done<T>), R: FnMut()> CommitThread<T, F, R> {
    fn run(mut self) {
        let mut batch = Vec::new();
        let mut open = true;
        while open {
            open = self.collect(&mut batch);
            if !batch.is_empty() {
                self.finish(&mut batch);
            }
            if let Some(reply) = self.wanted.take() {
                let _ = reply.send(self.snapshot());
            }
        }
        self.gate.shut();
    }

    fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let database = self.database.as_ref().ok_or(SnapshotError::Closed)?;
        Snapshot::of(database, &self.gate)
    }

    fn finish(&mut self, batch: &mut Vec<Change<T>>) {
        let result = self.commit(batch);
        let health = result
            .as_ref()
            .err()
            .map_or(Health::Fine, |error| error.health);
        // Set before the results are reported, so a caller that has received a result also sees the health.
        self.health.store(health as u8, Ordering::Release);
        for change in batch.drain(..) {
            (self.on_done)(Done {
                ticket: change.ticket,
                result: result.clone(),
            });
        }
        for reply in self.awaited.drain(..) {
            let _ = reply.send(result.clone());
        }
    }

    /// Waits for a change, then takes more from the queue, up to the batch limits. Returns `false` if the queue is
    /// closed.
    fn collect(&mut self, batch: &mut Vec<Change<T>>) -> bool {
        let mut bytes = 0;
        let Some(mut letter) = self.next() else {
            return false;
        };
        loop {
            match letter {
                Letter::Change(change) => {
                    bytes += change.bytes();
                    batch.push(change);
                }
                Letter::Together(changes, reply) => {
                    bytes += changes.iter().map(Change::bytes).sum::<usize>();
                    batch.extend(changes);
                    self.awaited.push(reply);
                }
                Letter::Snapshot(reply) => {
                    self.wanted = Some(reply);
                    return true;
                }
                Letter::Close => return false,
            }
            if batch.len() >= BATCH_CHANGES_MAX || bytes >= BATCH_BYTES_MAX {
                return true;
            }
            letter = match self.letters.try_recv() {
                Ok(letter) => letter,
                Err(_) => return true,
            };
        }
    }

    /// Waits for the next request. While the disk is full, checks for free space periodically, because callers may be
    /// waiting for space without submitting changes.
    fn next(&mut self) -> Option<Letter<T>> {
        while self.health.load(Ordering::Relaxed) == Health::Full as u8 {
            match self.letters.recv_timeout(PROBE_PAUSE) {
                Ok(letter) => return Some(letter),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.has_room() {
                self.health.store(Health::Fine as u8, Ordering::Release);
                (self.on_room)();
            }
        }
        self.letters.recv().ok()
    }

    /// Returns `true` if the disk has free space, which is tested by writing a separate file and removing it
    /// immediately.
    fn has_room(&self) -> bool {
        let write = || {
            let mut file = File::options()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&self.probe)?;
            file.write_all(&vec![0; PROBE_BYTES])?;
            file.sync_data()
        };
        let written = write();
        let removed = fs::remove_file(&self.probe);
        written.and(removed).is_ok()
    }

    fn commit(&mut self, batch: &[Change<T>]) -> Result<(), CommitError> {
        match self.disk.fault() {
            Fault::None => {}
            Fault::NoRoom => self.disk.forget_no_room(),
            Fault::Broken => return Err(failed(&"an earlier write failed")),
        }
        let database = match self.database.take() {
            Some(database) => Ok(database),
            None => database(Live(Arc::clone(&self.disk))).map_err(redb::Error::from),
        };
        let written = database.and_then(|database| {
            write(&database, batch)?;
            self.database = Some(database);
            Ok(())
        });
        let Err(error) = written else {
            return Ok(());
        };
        self.gate.shut();
        self.gate = Arc::default();
        match self.disk.fault() {
            Fault::NoRoom => Err(CommitError {
                health: Health::Full,
                text: "the store's disk is full: nothing was changed; free space, then try again"
                    .into(),
            }),
            Fault::None | Fault::Broken => {
                self.disk.give_up();
                Err(failed(&error))
            }
        }
    }
}

fn write<T>(database: &Database, batch: &[Change<T>]) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    let mut table = transaction.open_table(ROWS)?;
    for Change { key, value, .. } in batch {
        match value {
            Some(value) => table.insert(&**key, &**value)?,
            None => table.remove(&**key)?,
        };
    }
    drop(table);
    transaction.commit()?;
    Ok(())
}

fn failed(error: &dyn std::fmt::Display) -> CommitError {
    CommitError {
        health: Health::Failed,
        text: format!(
            "the store's disk failed: {error}: whether the change was stored is unknown, and nothing is written \
             until the server is restarted"
        )
        .into(),
    }
}

#[cfg(test)]
mod tests;
