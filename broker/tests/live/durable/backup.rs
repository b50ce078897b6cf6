//! `heliograph backup`: a directory that a broker starts from, of one moment of a running broker under load or of a
//! stopped one.

#![expect(
    clippy::disallowed_types,
    reason = "the load's threads and the test share what was answered; no shard is near"
)]

use crate::durable::{Home, channels};
use crate::http::{Connection, create};
use crate::process::{Broker, directory, run_to_end};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Whatever was answered before the backup began is in it, though channels come and go meanwhile.
#[test]
fn a_backup_under_load_holds_all_that_was_answered_before() {
    let home = Home::new();
    let broker = home.start(2);
    for number in 0..100 {
        create(broker.plain, &format!("kept-{number:03}"), 60);
    }
    let (load, over) = (Load::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        for worker in 0..2 {
            let (load, over, at) = (&load, &over, broker.plain);
            scope.spawn(move || load.run(worker, at, over));
        }
        let _over = RaisedAtEnd(&over);
        for round in 0..3 {
            let seen = load.answers_more_than(40 * (round + 1));
            let copy = Home::new();
            let (code, text) = backup(&broker, &copy.data(), &[]);
            assert_eq!(code, Some(0), "{text}");
            let untouched = load.untouched(&seen);
            let restored = copy.start(3);
            let found: BTreeSet<_> = channels(restored.plain).into_keys().collect();
            for number in 0..100 {
                assert!(found.contains(&format!("kept-{number:03}")), "{number}");
            }
            assert!(!untouched.is_empty());
            let lost: Vec<_> = untouched.difference(&found).collect();
            assert!(lost.is_empty(), "answered, but not in the backup: {lost:?}");
            let risen: Vec<_> = seen.gone.intersection(&found).collect();
            assert!(risen.is_empty(), "deleted, but in the backup: {risen:?}");
        }
    });
    assert!(broker.log().contains("backup sent"), "{}", broker.log());
}

#[test]
fn a_backup_holds_registry_and_session_key_for_its_owner_alone() {
    let home = Home::new();
    let mut broker = home.start(2);
    create(broker.plain, "one", 60);
    let copy = Home::new();
    assert_eq!(backup(&broker, &copy.data(), &[]).0, Some(0));
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&copy.data()), 0o700);
    assert_eq!(names(&copy.data()), FILES);
    for name in names(&copy.data()) {
        assert_eq!(mode(&copy.data().join(name)), 0o600);
    }
    // Temporary credentials survive, and the epoch does not go back where the clock is behind.
    assert_eq!(kept(&copy), kept(&home));
    // It is not written over, and of what fails nothing is left.
    let (code, text) = backup(&broker, &copy.data(), &[]);
    assert_eq!(code, Some(2), "{text}");
    testkit::assert_has(&text, &["must be a directory that is absent or empty"]);
    assert_eq!(names(&copy.data()), FILES);
    assert_eq!(names(&copy.0), ["broker.toml", "data"]);

    // The directory of a broker that runs is its own; of one that is stopped it is copied.
    let stopped = Home::new();
    let offline = |to: &Home| {
        let (from, to) = (home.data(), to.data());
        run_to_end(&["backup", word(&to), "--data-dir", word(&from)])
    };
    let (code, text) = offline(&stopped);
    assert_eq!(code, Some(1), "{text}");
    testkit::assert_has(&text, &["in use by another process"]);
    broker.signal("KILL");
    broker.ended_within(Duration::from_secs(10));
    let (code, text) = offline(&stopped);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(names(&stopped.data()), FILES);
    assert_eq!(kept(&stopped), kept(&home));
    for shards in [2, 1] {
        let restored = stopped.start(shards);
        assert!(channels(restored.plain).contains_key("one"));
        create(restored.plain, &format!("later-{shards}"), 60);
    }
    assert_eq!(channels(stopped.start(1).plain).len(), 3);
    // Nobody answers there any more.
    let (code, text) = backup(&broker, &Home::new().data(), &[]);
    assert!(code == Some(1) && text.contains("--data-dir DIR"), "{text}");
}

/// The files of a backup.
const FILES: [&str; 3] = ["presence.epoch", "session.key", "store.redb"];

/// With the key anybody's temporary credentials can be forged, so that it is given for the token only.
#[test]
fn the_session_key_is_given_for_the_token_alone() {
    let home = Home::new();
    let token = home.0.join("admin.token");
    fs::write(&token, "token-with-enough-letters\n").expect("a file");
    let config = format!("[admin]\ntoken_file = '{}'\n", token.display());
    fs::write(home.0.join("broker.toml"), config).expect("a file");
    let broker = home.start(1);
    let key = key_of(&home);
    let stream = |header: &str| {
        let request = format!("POST /backup HTTP/1.0\r\nHost: 127.0.0.1\r\n{header}\r\n");
        let mut stream = TcpStream::connect(broker.admin).expect("it listens");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    };
    for header in ["", "Authorization: Bearer token-with-enough-letterz\r\n"] {
        let answer = stream(header);
        assert!(answer.starts_with("HTTP/1.0 401"), "{answer}");
        assert!(!answer.contains(key.trim()), "the key is shown to anybody");
    }
    assert!(stream("Authorization: Bearer token-with-enough-letters\r\n").contains(key.trim()));
    assert!(stream("Origin: http://evil.example\r\n").starts_with("HTTP/1.0 403"));

    let copy = Home::new();
    assert_eq!(
        backup(&broker, &copy.data(), &["--token-file", word(&token)]).0,
        Some(0)
    );
    assert_eq!(key_of(&copy), key);
    // It is left out where that is wanted, though it could be had.
    let without = Home::new();
    let words = ["--token-file", word(&token), "--without-session-key"];
    assert_eq!(backup(&broker, &without.data(), &words).0, Some(0));
    assert_eq!(names(&without.data()), [FILES[0], FILES[2]]);
}

/// The command reads the session key itself where no token is configured; if it cannot, a backup without it must be
/// wanted.
#[test]
fn without_a_token_the_session_key_is_read_by_the_command() {
    let home = Home::new();
    let broker = home.start(1);
    let mut stream = TcpStream::connect(broker.admin).expect("it listens");
    let request = b"POST /backup HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n";
    stream.write_all(request).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    assert!(
        !answer.contains(key_of(&home).trim()),
        "the key is shown to anybody"
    );
    let copy = Home::new();
    assert_eq!(backup(&broker, &copy.data(), &[]).0, Some(0));
    assert_eq!(key_of(&copy), key_of(&home));
    fs::rename(home.data().join("session.key"), home.0.join("hidden")).expect("renamed");
    let bare = Home::new();
    let (code, text) = backup(&broker, &bare.data(), &[]);
    assert_eq!(code, Some(1), "{text}");
    testkit::assert_has(&text, &["--without-session-key"]);
    assert_eq!(names(&bare.0), ["broker.toml"], "nothing half made");
    assert_eq!(
        backup(&broker, &bare.data(), &["--without-session-key"]).0,
        Some(0)
    );
    assert_eq!(names(&bare.data()), [FILES[0], FILES[2]]);
}

/// A stream that ends too early, an answer that is none, a refusal: no directory, not even a part of it.
#[test]
fn what_was_cut_off_leaves_nothing() {
    let whole =
        b"HTTP/1.0 200 OK\r\n\r\nheliograph backup 2\n\0\0\0\x05\x01\x01a\x011\0\0\0\x02\x02\x01";
    #[rustfmt::skip] // a table, a case per row
    let answers: [(&[u8], &str); 6] = [
        (&whole[..whole.len() - 1], "it is truncated"),
        (&whole[..30], "it is truncated"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello, this is something else", "it is not a backup"),
        (b"HTTP/1.0 429 Too Many Requests\r\n\r\n{\"error\":\"another backup is under way\"}",
            "another backup is under way"),
        (b"", "does not answer"),
        (whole, "the backup is invalid"),
 // its row is no record,
    ];
    for (answer, said) in answers {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let home = Home::new();
        let (code, text) = thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("it is asked");
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(answer);
            });
            run_to_end(&[
                "backup",
                word(&home.data()),
                "--admin",
                &url,
                "--without-session-key",
            ])
        });
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(said), "{said}: {text}");
        assert_eq!(names(&home.0), ["broker.toml"], "{said}");
    }
}

#[test]
fn a_directory_without_a_store_is_not_backed_up() {
    let (home, empty) = (Home::new(), directory());
    let (code, text) = run_to_end(&["backup", word(&home.data()), "--data-dir", word(&empty)]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        names(&empty).is_empty(),
        "nothing is made where nothing was"
    );
}

/// Channels that are made and deleted all the time, and what was answered of them.
#[derive(Default)]
struct Load(Mutex<Answered>);

#[derive(Clone, Default)]
struct Answered {
    /// Made, and nobody has asked to delete them.
    exists: BTreeSet<String>,
    /// Deleted.
    gone: BTreeSet<String>,
    answers: usize,
}

/// Ends the load also when the test fails, which would wait for it otherwise.
struct RaisedAtEnd<'b>(&'b AtomicBool);

impl Drop for RaisedAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load {
    fn lock(&self) -> MutexGuard<'_, Answered> {
        self.0.lock().expect("no worker failed")
    }

    fn run(&self, worker: usize, at: SocketAddr, over: &AtomicBool) {
        let mut connection = Connection::open(at);
        let mut alive = std::collections::VecDeque::new();
        for number in 0.. {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let name = format!("load-{worker}-{number}");
            let wanted = json!({"ChannelName": name});
            let created = connection.call("/createSignalingChannel", &wanted).ok();
            // Some stay, however long a backup takes.
            if number % 8 > 0 {
                alive.push_back((name.clone(), created["ChannelARN"].clone()));
            }
            let mut answered = self.lock();
            answered.exists.insert(name);
            answered.answers += 1;
            drop(answered);
            if alive.len() > 20 {
                let (name, arn) = alive.pop_front().expect("there are some");
                self.lock().exists.remove(&name);
                let body = json!({"ChannelARN": arn});
                connection.call("/deleteSignalingChannel", &body).ok();
                self.lock().gone.insert(name);
            }
        }
    }

    /// Waits for more answers than this, and returns all up to then.
    fn answers_more_than(&self, answers: usize) -> Answered {
        testkit::until("load", || {
            let answered = self.lock();
            (answered.answers > answers).then(|| answered.clone())
        })
    }

    /// Those of `seen` that nobody has asked to delete since.
    fn untouched(&self, seen: &Answered) -> BTreeSet<String> {
        seen.exists
            .intersection(&self.lock().exists)
            .cloned()
            .collect()
    }
}

fn backup(broker: &Broker, to: &Path, flags: &[&str]) -> (Option<i32>, String) {
    let url = format!("http://{}", broker.admin);
    run_to_end(&[&["backup", word(to), "--admin", &url][..], flags].concat())
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("readable").file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().expect("UTF-8"))
        .collect();
    names.retain(|name| name != "log");
    names.sort();
    names
}

/// The session key and the last epoch of presence.
fn kept(home: &Home) -> (String, String) {
    let epoch = fs::read_to_string(home.data().join("presence.epoch"));
    (key_of(home), epoch.expect("an epoch"))
}

fn key_of(home: &Home) -> String {
    fs::read_to_string(home.data().join("session.key")).expect("a key")
}

fn word(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
