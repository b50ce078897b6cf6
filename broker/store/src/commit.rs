//! The queue in front of the thread, and the thread that commits.
//!
//! | what a commit met | what the batch is told | what follows |
//! |---|---|---|
//! | nothing | all done | – |
//! | no room for a write | nothing done, [`Health::Full`] | the engine is opened again before the next batch, which tries again |
//! | any other failed write, or a failed sync | not confirmed, [`Health::Failed`] | every later change is refused until a restart |

use crate::disk::{Disk, Fault, Live};
use crate::error::{CommitError, Health, Refused};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_CHANGES_MAX, KEY_BYTES_MAX, QUEUE_CHANGES_MAX, VALUE_BYTES_MAX,
};
use crate::map::{ROWS, Store, database};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use redb::{Database, Durability};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{Builder, JoinHandle};

/// One change to the map.
#[derive(Debug)]
pub struct Change<T> {
    /// What the change is called by whoever asked for it; comes back in [`Done`].
    pub ticket: T,
    /// At most [`KEY_BYTES_MAX`] bytes.
    pub key: Box<str>,
    /// The value from here on, at most [`VALUE_BYTES_MAX`] bytes; `None` removes the key, which need not exist.
    pub value: Option<Box<[u8]>>,
}

impl<T> Change<T> {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, |value| value.len())
    }
}

/// What became of a change.
#[derive(Debug)]
pub struct Done<T> {
    /// The change's.
    pub ticket: T,
    /// `Ok`: it is on the disk. `Err`: it is not in the map, see [`CommitError`].
    pub result: Result<(), CommitError>,
}

/// Hands changes to the thread. A clone for each shard; none of them ever waits.
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
    /// Hands over a change. `on_done` will be told of it exactly once. Changes of one key are made in the order of these calls.
    ///
    /// # Errors
    /// [`Refused`] and the change, of which `on_done` will not be told.
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
        match letter {
            Letter::Change(change) => Err((refused, change)),
            Letter::Close => unreachable!("a change was sent"),
        }
    }

    /// How the store fares. Costs one load, may be asked at any time.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Acquire) {
            FINE => Health::Fine,
            FULL => Health::Full,
            _ => Health::Failed,
        }
    }
}

/// The running thread. Dropping it does what [`Writer::close`] does.
#[derive(Debug)]
pub struct Writer<T> {
    committer: Committer<T>,
    thread: Option<JoinHandle<()>>,
}

impl<T> Writer<T> {
    /// A way to the thread.
    #[must_use]
    pub fn committer(&self) -> Committer<T> {
        self.committer.clone()
    }

    /// Commits what was submitted before, then ends the thread and gives the file free. Waits for that.
    ///
    /// Changes submitted meanwhile are committed or refused, each told of as usual.
    pub fn close(self) {
        drop(self);
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // Fails only if the thread is gone already.
        let _ = self.committer.queue.send(Letter::Close);
        // A thread that panicked has printed why.
        let _ = thread.join();
    }
}

#[derive(Debug)]
enum Letter<T> {
    Change(Change<T>),
    /// No more after this.
    Close,
}

pub(crate) fn start<T, F>(store: Store, on_done: F) -> io::Result<Writer<T>>
where
    T: Send + 'static,
    F: FnMut(Done<T>) + Send + 'static,
{
    let (queue, letters) = bounded(QUEUE_CHANGES_MAX);
    let health = Arc::new(AtomicU8::new(FINE));
    let (database, disk, lock) = store.into_parts();
    let committing = Committing {
        letters,
        on_done,
        health: Arc::clone(&health),
        database: Some(database),
        disk,
        _lock: lock,
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

/// What the thread owns. `database` is `None` after a failed batch, until the next one opens it again.
struct Committing<T, F> {
    letters: Receiver<Letter<T>>,
    on_done: F,
    health: Arc<AtomicU8>,
    database: Option<Database>,
    disk: Arc<Disk>,
    /// Dropped last, when the engine has let go of the file.
    _lock: File,
}

impl<T, F: FnMut(Done<T>)> Committing<T, F> {
    fn run(mut self) {
        let mut batch = Vec::new();
        let mut open = true;
        while open {
            open = self.collect(&mut batch);
            if batch.is_empty() {
                continue;
            }
            let result = self.commit(&batch);
            let health = result
                .as_ref()
                .err()
                .map_or(FINE, |error| match error.health {
                    Health::Fine => FINE,
                    Health::Full => FULL,
                    Health::Failed => FAILED,
                });
            // Before anybody is told, so that whoever is told sees it.
            self.health.store(health, Ordering::Release);
            for change in batch.drain(..) {
                (self.on_done)(Done {
                    ticket: change.ticket,
                    result: result.clone(),
                });
            }
        }
    }

    /// Waits for a change and takes what else waits, within the bounds of a batch. `false`: there will be no more.
    fn collect(&self, batch: &mut Vec<Change<T>>) -> bool {
        let mut bytes = 0;
        let Ok(mut letter) = self.letters.recv() else {
            return false;
        };
        loop {
            let Letter::Change(change) = letter else {
                return false;
            };
            bytes += change.bytes();
            batch.push(change);
            if batch.len() >= BATCH_CHANGES_MAX || bytes >= BATCH_BYTES_MAX {
                return true;
            }
            letter = match self.letters.try_recv() {
                Ok(letter) => letter,
                Err(_) => return true,
            };
        }
    }

    fn commit(&mut self, batch: &[Change<T>]) -> Result<(), CommitError> {
        match self.disk.fault() {
            Fault::None => {}
            Fault::NoRoom => self.disk.forget_no_room(),
            Fault::Broken => return Err(failed(&"it failed before")),
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
        match self.disk.fault() {
            Fault::NoRoom => Err(CommitError {
                health: Health::Full,
                text:
                    "no room on the store's disk: the change was not made; free some and try again"
                        .into(),
            }),
            Fault::None | Fault::Broken => {
                self.disk.give_up();
                Err(failed(&error))
            }
        }
    }
}

/// Makes the changes of a batch in one transaction and waits until it is on the disk.
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
            "the store's disk failed: {error}: whether the change was kept is unknown, and nothing is written until the \
             server is restarted"
        )
        .into(),
    }
}

const FINE: u8 = 0;
const FULL: u8 = 1;
const FAILED: u8 = 2;
