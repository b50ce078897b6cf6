//! Reads a snapshot while changes continue, and creates new stores from snapshots.

use crate::support::{Dir, Rows, Running, rows, some_rows};
use std::io;
use store::{Snapshot, SnapshotError, Store, create};

/// Reads this many rows at a time and calls `between` after each batch. Returns `None` if the snapshot has ended.
fn read(snapshot: &mut Snapshot, batch: usize, mut between: impl FnMut()) -> Option<Rows> {
    let mut found = Rows::new();
    loop {
        let mut left = batch;
        let more = snapshot.read(|key, value| {
            let before = found.insert(key.into(), value.into());
            assert!(before.is_none(), "{key} twice");
            left -= 1;
            left > 0
        });
        match more {
            Ok(true) => between(),
            Ok(false) => return Some(found),
            Err(SnapshotError::Ended) => return None,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_snapshot_is_one_moment_whatever_changes_meanwhile() {
    let dir = Dir::new();
    let mut running = Running::start(Store::open(dir.path()).unwrap());
    let expected = some_rows(300);
    for (key, value) in &expected {
        running.submit(key, Some(value)).unwrap();
    }
    running.put("last", b"of what was answered");
    let mut snapshot = running.committer().snapshot().unwrap();
    let mut later = running.committer().snapshot().unwrap();
    let mut number = 0;
    let found = read(&mut snapshot, 7, || {
        // Each commit could reuse the pages of the previous one.
        for key in expected.keys().skip(number).take(20) {
            running.change(key, None).unwrap();
            running.put(&format!("{key} again"), &[7; 3000]);
        }
        number += 20;
    });
    let mut expected = expected.clone();
    expected.insert("last".into(), b"of what was answered".to_vec());
    assert_eq!(found.unwrap(), expected);
    assert_eq!(read(&mut later, 1000, || {}).unwrap(), expected);
    running.close();
}

#[test]
fn a_store_that_closes_ends_its_snapshots() {
    let dir = Dir::new();
    let mut running = Running::start(Store::open(dir.path()).unwrap());
    running.put("a", b"1");
    running.put("b", b"2");
    let committer = running.committer();
    let mut running = Some(running);
    let mut snapshot = committer.snapshot().unwrap();
    let found = read(&mut snapshot, 1, || {
        running.take().map(Running::close);
    });
    assert!(
        found.is_none(),
        "what is read after the end is of no moment"
    );
    assert!(matches!(committer.snapshot(), Err(SnapshotError::Closed)));
}

#[test]
fn a_store_is_made_of_rows_whole_or_not_at_all() {
    let (dir, copy) = (Dir::new(), Dir::new());
    let expected = some_rows(2000);
    let mut running = Running::start(Store::open(dir.path()).unwrap());
    for (key, value) in &expected {
        running.put(key, value);
    }
    let mut snapshot = running.committer().snapshot().unwrap();
    let broken = create(copy.path(), &mut |insert| {
        insert("a", b"1")?;
        Err(io::Error::other("the source has failed"))
    });
    assert_eq!(broken.unwrap_err().to_string(), "the source has failed");
    assert!(!copy.file().exists());
    create(copy.path(), &mut |insert| {
        let mut failed = None;
        let read = snapshot.read(|key, value| {
            failed = insert(key, value).err();
            failed.is_none()
        });
        assert!(failed.is_none() && !read.unwrap());
        Ok(())
    })
    .unwrap();
    running.close();
    let store = Store::open(copy.path()).unwrap();
    assert_eq!(rows(&store), expected);
    let again = create(copy.path(), &mut |_| Ok(()));
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    // A view that has not been written yet can also be read a few rows at a time.
    let mut snapshot = store.snapshot().unwrap();
    assert_eq!(read(&mut snapshot, 11, || {}).unwrap(), expected);
}
