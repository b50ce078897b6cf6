//! Changes that a process has committed are still there when the store is opened again, however that process ended.

use crate::support::{Dir, Rows, Running, fill, rows, some_rows};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use store::limits::{KEY_BYTES_MAX, QUEUE_CHANGES_MAX, VALUE_BYTES_MAX};
use store::{Change, Health, OpenError, Refused, Store};

#[test]
fn a_store_that_was_absent_is_empty() {
    let dir = Dir::new();
    assert_eq!(rows(&Store::open(dir.path()).unwrap()), Rows::new());
    assert_eq!(rows(&Store::open(dir.path()).unwrap()), Rows::new());
}

#[test]
fn what_was_committed_is_found_again() {
    let (dir, expected) = (Dir::new(), some_rows(300));
    fill(dir.path(), &expected).close();
    assert_eq!(rows(&Store::open(dir.path()).unwrap()), expected);
}

#[test]
fn changes_of_one_key_are_made_in_order() {
    let dir = Dir::new();
    let mut running = Running::start(Store::open(dir.path()).unwrap());
    for value in [Some(b"1"), None, Some(b"2"), Some(b"3")] {
        running.submit("a", value.map(|value| &value[..])).unwrap();
        running.submit("b", Some(b"x")).unwrap();
        running.submit("b", None).unwrap();
    }
    let answers = running.close();
    let tickets: Vec<u64> = answers.iter().map(|(ticket, _)| *ticket).collect();
    assert_eq!(tickets, (0..12).collect::<Vec<_>>());
    assert!(answers.iter().all(|(_, result)| result.is_ok()));
    let found = rows(&Store::open(dir.path()).unwrap());
    assert_eq!(found, Rows::from([("a".into(), b"3".to_vec())]));
}

#[test]
fn closing_commits_what_waits_and_then_refuses() {
    let dir = Dir::new();
    let mut running = Running::start(Store::open(dir.path()).unwrap());
    let committer = running.committer();
    for number in 0..100 {
        running
            .submit(&format!("key {number}"), Some(b"value"))
            .unwrap();
    }
    assert_eq!(running.close().len(), 100);
    let change = Change {
        ticket: 0,
        key: "late".into(),
        value: None,
    };
    assert_eq!(committer.submit(change).unwrap_err().0, Refused::Closed);
    assert_eq!(rows(&Store::open(dir.path()).unwrap()).len(), 100);
}

#[test]
fn a_change_refused_by_a_full_queue_is_not_reported_later() {
    let dir = Dir::new();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let on_done = move |done: store::Done<usize>| {
        let _ = held.recv();
        tell.send(done.ticket).unwrap();
    };
    let store = Store::open(dir.path()).unwrap();
    let writer = store.start(on_done, || {}).unwrap();
    let committer = writer.committer();
    let mut taken = 0;
    let refused = loop {
        let change = Change {
            ticket: taken,
            key: "key".into(),
            value: None,
        };
        match committer.submit(change) {
            Ok(()) => taken += 1,
            Err((refused, change)) => {
                assert_eq!(change.ticket, taken);
                break refused;
            }
        }
    };
    assert_eq!(refused, Refused::Busy);
    assert!(
        (QUEUE_CHANGES_MAX..=2 * QUEUE_CHANGES_MAX).contains(&taken),
        "{taken}"
    );
    drop(hold);
    writer.close();
    assert_eq!(
        told.iter().collect::<Vec<_>>(),
        (0..taken).collect::<Vec<_>>()
    );
}

#[test]
fn the_largest_change_is_taken_and_a_larger_one_is_not() {
    let dir = Dir::new();
    let mut running = Running::start(Store::open(dir.path()).unwrap());
    let (key, value) = ("k".repeat(KEY_BYTES_MAX), vec![7; VALUE_BYTES_MAX]);
    running.put(&key, &value);
    let longer = "k".repeat(KEY_BYTES_MAX + 1);
    assert_eq!(running.submit(&longer, None), Err(Refused::TooLarge));
    let larger = vec![7; VALUE_BYTES_MAX + 1];
    assert_eq!(running.submit("k", Some(&larger)), Err(Refused::TooLarge));
    running.close();
    assert_eq!(
        rows(&Store::open(dir.path()).unwrap()),
        Rows::from([(key, value)])
    );
}

#[test]
fn a_second_user_of_the_directory_is_refused() {
    let dir = Dir::new();
    let running = Running::start(Store::open(dir.path()).unwrap());
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("store.lock") && text.contains("another"),
        "{text}"
    );
    running.close();
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_directory_that_is_absent_is_an_error_of_the_system() {
    let dir = Dir::new();
    let error = Store::open(&dir.path().join("absent")).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

/// Kills a process at random moments while it commits. The rows must then be those after some change that is no earlier
/// than the last one confirmed and no later than the last one submitted. Nothing that was confirmed is lost, and no
/// change is applied in part.
#[test]
fn a_killed_process_loses_nothing_it_confirmed() {
    let dir = Dir::new();
    let mut random = fastrand::Rng::with_seed(5);
    let mut next = 0;
    for round in 0..30 {
        let mut child = child(dir.path(), next);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (mut submitted, mut confirmed) = (next, next);
        let mut take = |line: &str| match line.trim().split_once(' ') {
            Some(("submitted", number)) => submitted = number.parse::<u64>().unwrap() + 1,
            Some(("confirmed", number)) => confirmed = number.parse::<u64>().unwrap() + 1,
            Some(_) | None => {}
        };
        let mut line = String::new();
        for _ in 0..random.usize(1..400) {
            line.clear();
            assert_ne!(
                output.read_line(&mut line).unwrap(),
                0,
                "round {round}: the child ended by itself"
            );
            take(&line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        output.lines().for_each(|line| take(&line.unwrap()));

        let found = rows(&Store::open(dir.path()).unwrap());
        let until = (confirmed..=submitted)
            .rev()
            .find(|until| model(*until) == found);
        next = until.unwrap_or_else(|| {
            panic!("round {round}: no state from {confirmed} to {submitted} was found")
        });
    }
    assert!(next > 500, "only {next} changes were made");
}

/// The process that is killed. Commits one change after the other, and prints each of them. Does nothing when it is run
/// with the other tests.
#[test]
#[ignore = "the child of another test"]
fn commits_until_killed() {
    let (Ok(dir), Ok(start)) = (std::env::var(CHILD_DIR), std::env::var(CHILD_START)) else {
        return;
    };
    let store = Store::open(Path::new(&dir)).unwrap();
    let say = |what: &str, number: u64| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{what} {number}").unwrap();
    };
    let on_done = move |done: store::Done<u64>| {
        done.result.unwrap();
        say("confirmed", done.ticket);
    };
    let writer = store.start(on_done, || {}).unwrap();
    let committer = writer.committer();
    let mut random = fastrand::Rng::new();
    for number in start.parse::<u64>().unwrap().. {
        say("submitted", number);
        let (key, value) = change(number);
        let mut change = Change {
            ticket: number,
            key: key.into(),
            value: value.map(Into::into),
        };
        while let Err((refused, back)) = committer.submit(change) {
            assert_eq!((refused, committer.health()), (Refused::Busy, Health::Fine));
            change = back;
            std::thread::yield_now();
        }
        // Produces batches of one change and batches of many.
        if random.u8(..) < 64 {
            std::thread::yield_now();
        }
    }
}

fn child(dir: &Path, start: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "lives::commits_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir)
        .env(CHILD_START, start.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Returns the change with this number. Changes one of fifty keys, and removes the key every seventh time.
fn change(number: u64) -> (String, Option<Vec<u8>>) {
    let value = format!("{number} ").repeat(usize::try_from(number % 90).unwrap() + 1);
    let value = (number % 7 != 3).then(|| value.into_bytes());
    (format!("key {}", number * 31 % 50), value)
}

/// Returns the rows after all changes before the given one.
fn model(until: u64) -> Rows {
    let mut rows = Rows::new();
    for number in until.saturating_sub(400)..until {
        match change(number) {
            (key, Some(value)) => drop(rows.insert(key, value)),
            (key, None) => drop(rows.remove(&key)),
        }
    }
    rows
}

const CHILD_DIR: &str = "STORE_TEST_CHILD_DIR";
const CHILD_START: &str = "STORE_TEST_CHILD_START";
