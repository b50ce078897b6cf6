//! Tests with a full disk. The tests mount a file system for this, which requires root and `unshare`. Without these,
//! they print a message and pass.

use crate::support::{Dir, Rows, Running, rows};
use std::path::{Path, PathBuf};
use std::process::Command;
use store::{Health, OpenError, Store};

#[test]
fn a_full_disk_refuses_changes_until_there_is_room() {
    run_on_a_small_disk("full::fills_and_frees");
}

#[test]
fn a_store_on_a_full_disk_opens_and_an_absent_one_cannot_be_made() {
    run_on_a_small_disk("full::starts_full");
}

#[test]
#[ignore = "the child of another test"]
fn fills_and_frees() {
    let Some(disk) = small_disk() else { return };
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    let mut running = Running::start(Store::open(&disk).unwrap());
    let mut expected = Rows::new();
    let value = vec![7; 20_000];
    let refused = loop {
        let key = format!("key {}", expected.len());
        match running.change(&key, Some(&value)) {
            Ok(()) => drop(expected.insert(key, value.clone())),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.health, Health::Full, "{refused}");
    assert!((2..1000).contains(&expected.len()));
    for _ in 0..10 {
        let refused = running.change("more", Some(&value)).unwrap_err();
        assert_eq!(refused.health, Health::Full);
        assert_eq!(running.committer().health(), Health::Full);
    }

    // The health must change by itself, without another change being submitted.
    std::fs::remove_file(ballast).unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while running.committer().health() != Health::Fine {
        assert!(std::time::Instant::now() < until, "room is not found");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(!disk.join("store.room").exists());
    running.put("key 0", b"changed");
    assert_eq!(running.committer().health(), Health::Fine);
    expected.insert("key 0".into(), b"changed".to_vec());
    running.close();
    assert_eq!(rows(&Store::open(&disk).unwrap()), expected);
}

#[test]
#[ignore = "the child of another test"]
fn starts_full() {
    let Some(disk) = small_disk() else { return };
    let mut running = Running::start(Store::open(&disk).unwrap());
    running.put("key", b"value");
    running.close();
    let other = disk.join("other");
    std::fs::create_dir(&other).unwrap();
    // This fails when no space is left, which is the purpose.
    let _ = std::fs::write(disk.join("ballast"), vec![1; 64 << 20]);

    let store = Store::open(&disk).unwrap();
    assert_eq!(
        rows(&store),
        Rows::from([("key".into(), b"value".to_vec())])
    );
    let error = Store::open(&other).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    std::fs::remove_file(disk.join("ballast")).unwrap();
    assert_eq!(rows(&Store::open(&other).unwrap()), Rows::new());
}

/// Runs a test of this program in a separate mount namespace, in which a file system of 8 MiB is mounted on a
/// directory.
fn run_on_a_small_disk(test: &str) {
    let dir = Dir::new();
    let mount = "mount -t tmpfs -o size=8m tmpfs \"$STORE_TEST_DISK\" || exit 77; exec \"$0\" --exact \"$1\" --ignored \
                 --nocapture";
    let child = Command::new("unshare")
        .args(["--mount", "sh", "-c", mount])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(DISK, dir.path())
        .output();
    match child {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("1 passed"), "{text}");
        }
        Ok(output)
            if output.status.code() == Some(77) || text(&output.stderr).contains("unshare") =>
        {
            eprintln!(
                "skipped: no file system can be mounted here: {}",
                text(&output.stderr)
            );
        }
        Ok(output) => panic!("{}{}", text(&output.stdout), text(&output.stderr)),
        Err(error) => eprintln!("skipped: unshare cannot be run here: {error}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn small_disk() -> Option<PathBuf> {
    std::env::var_os(DISK).map(|disk| Path::new(&disk).into())
}

const DISK: &str = "STORE_TEST_DISK";
