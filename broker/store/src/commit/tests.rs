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
            // The commit took no more writes than this.
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

/// After a failure, the engine is opened again and may reuse the pages of a snapshot.
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
fn every_change_of_a_failed_batch_is_reported() {
    let dir = dir("batch", 0);
    let (tell, told) = mpsc::channel();
    let (hold, held) = mpsc::channel::<()>();
    let store = Store::open(&dir).unwrap();
    let disk = Arc::clone(&store.disk);
    let on_done = move |done: Done<()>| {
        tell.send(done.result.map_err(|error| error.health))
            .unwrap();
        let _ = held.recv();
    };
    let writer = store.start(on_done, || {}).unwrap();
    let committer = writer.committer();
    committer.submit(change("kept", b"1")).unwrap();
    assert_eq!(told.recv().unwrap(), Ok(()));
    // The thread is reporting its first result, so these changes become one batch.
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
fn changes_that_go_together_are_one_commit_or_none() {
    let dir = dir("together", 0);
    let running = Running::start(&dir);
    let committer = running.writer.committer();
    let syncs = || running.disk.breakage.syncs_seen.load(Ordering::Acquire);
    let before = syncs();
    assert!(committer.submit_together(Vec::new()).is_ok());
    assert_eq!(syncs(), before, "nothing to commit");
    committer.submit(change("alone", b"1")).unwrap();
    let most: Vec<_> = (0..BATCH_CHANGES_MAX)
        .map(|number| change(&format!("key-{number}"), b"1"))
        .collect();
    committer.submit_together(most).unwrap();
    let answers = running.told.try_iter();
    let done = answers.filter(Result::is_ok).count();
    assert_eq!(
        done,
        BATCH_CHANGES_MAX + 1,
        "each is reported before the caller goes on"
    );
    let too_many = (0..=BATCH_CHANGES_MAX).map(|number| change(&number.to_string(), b"1"));
    let refused = committer.submit_together(too_many.collect());
    let refused = matches!(refused, Err(TogetherError::Refused(Refused::TooLarge)));
    assert!(refused);
    running.no_room(0);
    let failed = committer.submit_together(vec![change("a", b"2"), change("b", b"2")]);
    assert!(matches!(failed, Err(TogetherError::Commit(_))));
    running.disk.breakage.writes.store(0, Ordering::Release);
    assert!(committer.submit_together(vec![change("c", b"3")]).is_ok());
    let found = running.end(&dir);
    assert_eq!(found.len(), BATCH_CHANGES_MAX + 2);
    assert!(!found.contains_key("a") && !found.contains_key("b"));
}

#[test]
fn an_error_has_a_remedy_and_nothing_of_the_change() {
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
        text.contains("free space") && !text.contains("secret"),
        "{text}"
    );
    running.end(&dir);
}

/// A store whose disk a test can break.
struct Running {
    writer: Writer<()>,
    told: mpsc::Receiver<Result<(), CommitError>>,
    disk: Arc<CheckedDisk>,
}

impl Running {
    fn start(dir: &Path) -> Self {
        let store = Store::open(dir).unwrap();
        let disk = Arc::clone(&store.disk);
        let (tell, told) = mpsc::channel();
        let writer = store.start(move |done| drop(tell.send(done.result)), || {});
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
