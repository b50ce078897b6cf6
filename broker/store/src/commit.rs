//! The queue in front of the thread, and the thread that commits.
//!
//! * A commit that succeeds: all changes of the batch are done.
//! * No room for a write: nothing is done, [`Health::Full`]. The next batch opens the engine again; until then the
//!   thread looks for room.
//! * Any other failed write, or a failed sync: nothing is confirmed, [`Health::Failed`]. Every later change is refused
//!   until a restart.

use crate::disk::{Disk, Fault, Live};
use crate::error::{CommitError, Health, Refused};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_CHANGES_MAX, KEY_BYTES_MAX, PROBE_BYTES, PROBE_PAUSE, QUEUE_CHANGES_MAX,
    VALUE_BYTES_MAX,
};
use crate::map::{Parts, ROWS, database};
use crate::snapshot::{Gate, Snapshot, SnapshotError};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use redb::{Database, Durability};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{Builder, JoinHandle};

/// One change to the map.
#[derive(Debug)]
pub struct Change<T> {
    /// The caller's name for the change; comes back in [`Done`].
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
    /// Hands over a change. `on_done` is called for it exactly once. Changes of one key are made in the order of these
    /// calls.
    ///
    /// # Errors
    /// [`Refused`] and the change, for which `on_done` is not called.
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
            Letter::Snapshot(_) | Letter::Close => unreachable!("a change was sent"),
        }
    }

    /// One moment of the map, with every change that was reported as done before this call. Waits for the batch under
    /// way and what is queued before it: some milliseconds of a healthy disk. Not for a shard's thread.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let (reply, answer) = bounded(1);
        let sent = self.queue.send(Letter::Snapshot(reply));
        sent.map_err(|_| SnapshotError::Closed)?;
        answer.recv().unwrap_or(Err(SnapshotError::Closed))
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
    /// Changes submitted meanwhile are committed or refused, each reported as usual.
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
    /// Wants the map as it is when everything before this is done.
    Snapshot(Sender<Result<Snapshot, SnapshotError>>),
    /// No more after this.
    Close,
}

pub(crate) fn start<T, F, R>(parts: Parts, on_done: F, on_room: R) -> io::Result<Writer<T>>
where
    T: Send + 'static,
    F: FnMut(Done<T>) + Send + 'static,
    R: FnMut() + Send + 'static,
{
    let (queue, letters) = bounded(QUEUE_CHANGES_MAX);
    let health = Arc::new(AtomicU8::new(FINE));
    let committing = Committing {
        letters,
        on_done,
        on_room,
        health: Arc::clone(&health),
        database: Some(parts.database),
        gate: Arc::default(),
        wanted: None,
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

/// What the thread owns. `database` is `None` after a failed batch, until the next one opens it again.
struct Committing<T, F, R> {
    letters: Receiver<Letter<T>>,
    on_done: F,
    on_room: R,
    health: Arc<AtomicU8>,
    database: Option<Database>,
    /// Of the snapshots of this `database`.
    gate: Arc<Gate>,
    /// Who gets one when the batch is done.
    wanted: Option<Sender<Result<Snapshot, SnapshotError>>>,
    disk: Arc<Disk>,
    probe: PathBuf,
    /// Dropped last, when the engine has released the file.
    _lock: File,
}

impl<T, F: FnMut(Done<T>), R: FnMut()> Committing<T, F, R> {
    fn run(mut self) {
        let mut batch = Vec::new();
        let mut open = true;
        while open {
            open = self.collect(&mut batch);
            if !batch.is_empty() {
                self.finish(&mut batch);
            }
            if let Some(reply) = self.wanted.take() {
                // A caller that gave up waiting gets none.
                let _ = reply.send(self.snapshot());
            }
        }
        self.gate.shut();
    }

    fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let database = self.database.as_ref().ok_or(SnapshotError::Closed)?;
        Snapshot::of(database, &self.gate)
    }

    /// Commits a batch and tells of each change.
    fn finish(&mut self, batch: &mut Vec<Change<T>>) {
        let result = self.commit(batch);
        let health = result
            .as_ref()
            .err()
            .map_or(FINE, |error| match error.health {
                Health::Fine => FINE,
                Health::Full => FULL,
                Health::Failed => FAILED,
            });
        // Before it is reported, so that every caller that gets the report sees it.
        self.health.store(health, Ordering::Release);
        for change in batch.drain(..) {
            (self.on_done)(Done {
                ticket: change.ticket,
                result: result.clone(),
            });
        }
    }

    /// Waits for a change and takes what else waits, within the bounds of a batch. `false`: there will be no more.
    fn collect(&mut self, batch: &mut Vec<Change<T>>) -> bool {
        let mut bytes = 0;
        let Some(mut letter) = self.next() else {
            return false;
        };
        loop {
            let change = match letter {
                Letter::Change(change) => change,
                Letter::Snapshot(reply) => {
                    self.wanted = Some(reply);
                    return true;
                }
                Letter::Close => return false,
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

    /// Waits for a letter. Looks for room from time to time while there was none: those who ask for changes may have
    /// been told to stay away, so that no change would ever tell.
    fn next(&mut self) -> Option<Letter<T>> {
        while self.health.load(Ordering::Relaxed) == FULL {
            match self.letters.recv_timeout(PROBE_PAUSE) {
                Ok(letter) => return Some(letter),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.has_room() {
                self.health.store(FINE, Ordering::Release);
                (self.on_room)();
            }
        }
        self.letters.recv().ok()
    }

    /// Whether the disk takes some more bytes, as a file of its own that is removed at once: the store's own is left
    /// alone.
    fn has_room(&self) -> bool {
        let write = || {
            let mut file = File::create(&self.probe)?;
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
        self.gate.shut();
        self.gate = Arc::default();
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
            "the store's disk failed: {error}: whether the change was kept is unknown, and nothing is written until \
             the \
             server is restarted"
        )
        .into(),
    }
}

const FINE: u8 = 0;
const FULL: u8 = 1;
const FAILED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Store;
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::sync::mpsc;

    const ENOSPC: i32 = 28;
    const EIO: i32 = 5;

    #[test]
    fn no_room_fails_the_batch_and_ends_by_itself() {
        let mut failures = 0;
        for writes_left in 0..12 {
            let dir = dir("room", writes_left);
            let mut running = Running::start(&dir);
            assert_eq!(running.change("kept", b"1"), Ok(()));
            running.no_room(writes_left);
            let failed = running.change("lost", &[7; 100_000]);
            if failed.is_ok() {
                // This many writes were all it took.
                running.end(&dir);
                continue;
            }
            failures += 1;
            assert_eq!(failed, Err(Health::Full), "{writes_left} writes");
            assert_eq!(running.change("lost", b"2"), Err(Health::Full));
            assert_eq!(running.writer.committer().health(), Health::Full);

            running.disk.breakage.writes.store(0, Ordering::Release);
            assert_eq!(running.change("again", b"3"), Ok(()));
            assert_eq!(running.writer.committer().health(), Health::Fine);
            let expected = [("again", &b"3"[..]), ("kept", b"1")];
            assert_eq!(running.end(&dir), rows(&expected), "{writes_left} writes");
        }
        assert!(failures > 2, "{failures} places failed");
    }

    /// The engine is opened again after a failure and may use the pages of a snapshot again.
    #[test]
    fn a_failed_commit_ends_snapshots_and_later_ones_are_whole() {
        let dir = dir("snapshot", 0);
        let mut running = Running::start(&dir);
        assert_eq!(running.change("kept", b"1"), Ok(()));
        let committer = running.writer.committer();
        let mut before = committer.snapshot().unwrap();
        running.no_room(0);
        assert_eq!(running.change("lost", b"2"), Err(Health::Full));
        assert!(matches!(
            before.read(|_, _| true),
            Err(SnapshotError::Ended)
        ));
        assert!(matches!(committer.snapshot(), Err(SnapshotError::Closed)));
        running.disk.breakage.writes.store(0, Ordering::Release);
        assert_eq!(running.change("again", b"3"), Ok(()));
        let mut found = Vec::new();
        let read = committer.snapshot().unwrap().read(|key, _| {
            found.push(key.to_owned());
            true
        });
        assert!(!read.unwrap());
        assert_eq!(found, ["again", "kept"]);
        running.end(&dir);
    }

    #[test]
    fn after_a_failed_sync_nothing_is_written_or_synced_again() {
        for number in [EIO, ENOSPC] {
            let dir = dir("sync", number.unsigned_abs());
            let mut running = Running::start(&dir);
            assert_eq!(running.change("kept", b"1"), Ok(()));
            running.disk.breakage.syncs.store(number, Ordering::Release);
            assert_eq!(running.change("lost", b"2"), Err(Health::Failed));
            let syncs = running.disk.breakage.syncs_seen.load(Ordering::Acquire);

            running.disk.breakage.syncs.store(0, Ordering::Release);
            let committer = running.writer.committer();
            let change = change("late", b"3");
            assert_eq!(committer.submit(change).unwrap_err().0, Refused::Closed);
            assert_eq!(committer.health(), Health::Failed);
            let found = running.end_with_syncs(&dir, syncs);
            assert_eq!(found.get("kept").map(Vec::as_slice), Some(&b"1"[..]));
            assert!(!found.contains_key("late"));
        }
    }

    #[test]
    fn all_of_a_failed_batch_is_told() {
        let dir = dir("batch", 0);
        let (tell, told) = mpsc::channel();
        let (hold, held) = mpsc::channel::<()>();
        let store = Store::open(&dir).unwrap();
        let disk = Arc::clone(&store.disk);
        let writer = store.start(move |done: Done<()>| {
            tell.send(done.result.map_err(|error| error.health))
                .unwrap();
            let _ = held.recv();
        });
        let writer = writer.unwrap();
        let committer = writer.committer();
        committer.submit(change("kept", b"1")).unwrap();
        assert_eq!(told.recv().unwrap(), Ok(()));
        // The thread is in its first answer, so that these become one batch.
        disk.breakage.writes.store(EIO, Ordering::Release);
        for key in ["a", "b", "kept"] {
            committer.submit(change(key, b"2")).unwrap();
        }
        drop(hold);
        drop(writer);
        assert_eq!(told.iter().collect::<Vec<_>>(), [Err(Health::Failed); 3]);
        disk.breakage.writes.store(0, Ordering::Release);
        assert_eq!(find(&dir), rows(&[("kept", b"1")]));
    }

    #[test]
    fn an_error_says_what_to_do_and_tells_nothing_of_the_change() {
        let dir = dir("text", 0);
        let running = Running::start(&dir);
        running.no_room(0);
        running
            .writer
            .committer()
            .submit(change("secret", b"secret"))
            .unwrap();
        let text = running.told.recv().unwrap().unwrap_err().to_string();
        assert!(
            text.contains("free some") && !text.contains("secret"),
            "{text}"
        );
        running.end(&dir);
    }

    /// A store whose disk a test can break.
    struct Running {
        writer: Writer<()>,
        told: mpsc::Receiver<Result<(), CommitError>>,
        disk: Arc<Disk>,
    }

    impl Running {
        fn start(dir: &Path) -> Self {
            let store = Store::open(dir).unwrap();
            let disk = Arc::clone(&store.disk);
            let (tell, told) = mpsc::channel();
            let writer = store.start(move |done| drop(tell.send(done.result)));
            Self {
                writer: writer.unwrap(),
                told,
                disk,
            }
        }

        fn no_room(&self, writes_left: u32) {
            self.disk
                .breakage
                .writes_left
                .store(writes_left, Ordering::Release);
            self.disk.breakage.writes.store(ENOSPC, Ordering::Release);
        }

        fn change(&mut self, key: &str, value: &[u8]) -> Result<(), Health> {
            self.writer.committer().submit(change(key, value)).unwrap();
            self.told.recv().unwrap().map_err(|error| error.health)
        }

        fn end(self, dir: &Path) -> BTreeMap<String, Vec<u8>> {
            self.disk.breakage.writes.store(0, Ordering::Release);
            drop(self.writer);
            find(dir)
        }

        fn end_with_syncs(self, dir: &Path, syncs: u32) -> BTreeMap<String, Vec<u8>> {
            drop(self.writer);
            let seen = self.disk.breakage.syncs_seen.load(Ordering::Acquire);
            assert_eq!(seen, syncs, "synced again after a sync had failed");
            find(dir)
        }
    }

    fn find(dir: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let store = Store::open(dir).unwrap();
        let row = |key: &str, value: &[u8]| drop(found.insert(key.into(), value.into()));
        store.load(row).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        found
    }

    fn rows(rows: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
        rows.iter()
            .map(|(key, value)| ((*key).into(), value.to_vec()))
            .collect()
    }

    fn change(key: &str, value: &[u8]) -> Change<()> {
        Change {
            ticket: (),
            key: key.into(),
            value: Some(value.into()),
        }
    }

    fn dir(name: &str, number: u32) -> PathBuf {
        let name = format!("store-unit-{}-{name}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        dir
    }
}
