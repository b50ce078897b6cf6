//! A store that is damaged, foreign or in use: exit 1 and one line that says which file, what is wrong and what to do.
//! Nothing is written, nothing is made up.

use crate::durable::{Home, channels};
use crate::http::create;
use crate::process::{binary, command};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::ended_within;

/// Starts a broker on a directory's data. The text on stderr if it refuses with exit 1, leaving all as it was.
fn refuses(home: &Home) -> Option<String> {
    let before = files(&home.data());
    let mut broker = command();
    #[rustfmt::skip] // a list
    broker.args(["serve", "--auth", "none", "--listen", "http://127.0.0.1:0", "--admin", "off", "--shards", "1"]);
    broker.arg("--data-dir").arg(home.data());
    broker.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = broker.spawn().expect("the broker starts");
    let mut ready = String::new();
    let output = child.stdout.take().expect("stdout is piped");
    BufReader::new(output).read_line(&mut ready).expect("text");
    if !ready.is_empty() {
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        return None;
    }
    let ended = ended_within(&mut child, Duration::from_secs(10)).expect("it ends");
    let mut text = String::new();
    let mut errors = child.stderr.take().expect("stderr is piped");
    errors.read_to_string(&mut text).expect("text");
    assert_eq!(ended.code(), Some(1), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!(files(&home.data()), before, "something was written: {text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("store")).collect();
    assert_eq!(lines.len(), 1, "one line tells it: {text}");
    Some(lines[0].to_owned())
}

/// The files of a directory with what is in them.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .map(|path| (path.clone(), fs::read(path).unwrap_or_default()))
        .collect()
}

/// A directory in which a broker has made channels and has ended as the signal says.
fn used(signal: &str) -> Home {
    let home = Home::new();
    let mut broker = home.start(2);
    for number in 0..200 {
        create(broker.plain, &format!("cam-{number}"), 60);
    }
    broker.signal(signal);
    let _ = broker.ended_within(Duration::from_secs(20));
    home
}

#[test]
fn a_damaged_store_is_refused_until_its_backup_is_back() {
    let home = used("KILL");
    let expected = channels(home.start(1).plain);
    let sound = fs::read(home.store()).expect("the store");
    fs::write(home.store(), &sound[..sound.len() / 2]).expect("a file");
    let text = refuses(&home).expect("half a store is none");
    assert!(names_file_and_remedy(&home, &text, "damaged"), "{text}");
    // The backup that the text asks for.
    fs::write(home.store(), &sound).expect("a file");
    assert_eq!(channels(home.start(1).plain), expected);
}

#[test]
fn a_store_or_a_record_of_a_later_version_is_refused() {
    let home = used("TERM");
    let sound = fs::read(home.store()).expect("the store");
    let engine = redb::Database::open(home.store()).expect("a store");
    let mut transaction = engine.begin_write().expect("a transaction");
    transaction.set_two_phase_commit(true);
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    let mut table = transaction.open_table(meta).expect("a table");
    table.insert("format", 2).expect("a row");
    drop(table);
    transaction.commit().expect("a commit");
    drop(engine);
    let text = refuses(&home).expect("format 2 is not known");
    assert!(names_file_and_remedy(&home, &text, "format 2"), "{text}");
    assert!(text.contains("use the version that wrote it"), "{text}");

    fs::write(home.store(), sound).expect("a file");
    let writer = store::Store::open(&home.data()).expect("a store");
    let writer = writer.start(|_| {}, || {}).expect("a thread");
    let change = store::Change {
        ticket: (),
        key: "us-west-2:123456789012:channel/later".into(),
        value: Some([2, 0, 0].into()),
    };
    writer.committer().submit(change).expect("room");
    writer.close();
    let text = refuses(&home).expect("a record of format 2 is not known");
    testkit::assert_has(
        &text,
        &[
            "channel/later",
            "use the version that wrote it",
            home.store().to_str().expect("UTF-8"),
        ],
    );
}

/// An operator's error: exit 2. Root ignores modes, so the directory is mounted read-only where that can be done.
#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    let home = used("TERM");
    let before = files(&home.data());
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" || exit 77; \
                  exec \"$0\" serve --auth none --listen http://127.0.0.1:0 --admin off --data-dir \"$1\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .args([binary(), home.data()])
        .output();
    let Ok(output) = output else {
        return eprintln!("skipped: unshare cannot be run here");
    };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(77) || text.contains("unshare") {
        return eprintln!("skipped: nothing can be mounted here: {text}");
    }
    assert_eq!(output.status.code(), Some(2), "{text}");
    let data = home.data();
    let named = text.contains(data.to_str().expect("a path in UTF-8"));
    assert!(
        named && text.contains("must be a directory that can be"),
        "{text}"
    );
    assert_eq!(files(&home.data()), before);
}

fn names_file_and_remedy(home: &Home, text: &str, what: &str) -> bool {
    let file = home.store();
    let named = text.contains(file.to_str().expect("a path in UTF-8"));
    let remedy = ["backup", "move it away"];
    named && text.contains(what) && remedy.iter().any(|remedy| text.contains(remedy))
}
