//! Temporary directories, rows, and a store that is written and closed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use store::{Change, CommitError, Committer, Refused, Store, Writer};

pub(crate) type Rows = BTreeMap<String, Vec<u8>>;

/// A temporary directory of one test, which is removed when it is dropped.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("store-test-{}-{number}", std::process::id());
        // Uses memory if possible, because these tests do not depend on the disk.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.into()
        } else {
            std::env::temp_dir()
        };
        let path = parent.join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("store.redb")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running store whose results are awaited.
pub(crate) struct Running {
    writer: Writer<u64>,
    committer: Committer<u64>,
    done: Receiver<(u64, Result<(), CommitError>)>,
    next: u64,
}

impl Running {
    pub(crate) fn start(store: Store) -> Self {
        let (tell, done) = channel();
        let on_done = move |answer: store::Done<u64>| {
            let _ = tell.send((answer.ticket, answer.result));
        };
        let writer = store.start(on_done, || {}).unwrap();
        let committer = writer.committer();
        Self {
            writer,
            committer,
            done,
            next: 0,
        }
    }

    /// Submits a change without waiting for its result.
    pub(crate) fn submit(&mut self, key: &str, value: Option<&[u8]>) -> Result<u64, Refused> {
        let ticket = self.next;
        let change = Change {
            ticket,
            key: key.into(),
            value: value.map(Into::into),
        };
        self.committer
            .submit(change)
            .map_err(|(refused, _)| refused)?;
        self.next += 1;
        Ok(ticket)
    }

    /// Waits for the next result.
    pub(crate) fn answer(&self) -> (u64, Result<(), CommitError>) {
        self.done
            .recv_timeout(std::time::Duration::from_secs(60))
            .unwrap()
    }

    /// Submits a change, waits for its result, and expects success.
    pub(crate) fn put(&mut self, key: &str, value: &[u8]) {
        self.change(key, Some(value)).unwrap();
    }

    /// Submits a change and waits for its result. Also takes the results before it.
    pub(crate) fn change(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), CommitError> {
        let ticket = self.submit(key, value).unwrap();
        loop {
            let (answered, result) = self.answer();
            if answered == ticket {
                return result;
            }
            result?;
        }
    }

    pub(crate) fn committer(&self) -> Committer<u64> {
        self.committer.clone()
    }

    /// Closes the store, and returns the results that had not been taken.
    pub(crate) fn close(self) -> Vec<(u64, Result<(), CommitError>)> {
        self.writer.close();
        self.done.iter().collect()
    }
}

pub(crate) fn rows(store: &Store) -> Rows {
    let mut rows = Rows::new();
    let count = store
        .load(|key, value| {
            rows.insert(key.into(), value.into());
        })
        .unwrap();
    assert_eq!(count, rows.len() as u64);
    rows
}

/// Returns rows of typical sizes. They are the same every time.
pub(crate) fn some_rows(count: usize) -> Rows {
    let mut random = fastrand::Rng::with_seed(11);
    (0..count)
        .map(|number| {
            let key =
                format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/camera-{number:06}");
            let value = (0..random.usize(100..400)).map(|_| random.u8(..)).collect();
            (key, value)
        })
        .collect()
}

/// Fills a store in a few batches that include removals, so that the store has freed pages as well.
pub(crate) fn fill(dir: &Path, rows: &Rows) -> Running {
    let mut running = Running::start(Store::open(dir).unwrap());
    for round in 0..3_u8 {
        for (key, value) in rows {
            let value = if round == 2 {
                value.clone()
            } else {
                vec![round; 90]
            };
            let mut submitted = running.submit(key, Some(&value));
            while submitted == Err(Refused::Busy) {
                running.answer().1.unwrap();
                submitted = running.submit(key, Some(&value));
            }
        }
        running.put("to be removed", b"x");
        running.change("to be removed", None).unwrap();
    }
    running
}
