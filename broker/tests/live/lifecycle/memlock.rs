//! A broker started by an ordinary user, under limits as distributions set them: of locked memory, and of threads.
//!
//! The kernel counts locked memory per user, so each test has a user of its own. Only root may become another one: for
//! anybody else these tests are skipped, and say so. What a ring is charged differs between kernels, so the numbers
//! are taken from what the broker says.

use crate::process::binary;
use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use testkit::{install, until};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

// On io_uring, which alone is charged, but for the last.
#[rustfmt::skip] // a list
const DEV: [&str; 5] = ["--dev", "--listen", "http://127.0.0.1:0", "--engine", "io_uring"];
#[rustfmt::skip] // a list
const STRICT: [&str; 6] = ["--auth", "none", "--listen", "http://127.0.0.1:0", "--engine", "io_uring"];
#[rustfmt::skip] // a list
const ANY: [&str; 5] = ["--dev", "--listen", "http://127.0.0.1:0", "--engine", "auto"];

#[test]
fn sixteen_shards_start_under_the_limit_of_debian() {
    let Some(user) = User::new() else { return };
    let broker = user.started(8 * MIB, &DEV, Some(16));
    let log = broker.log();
    assert!(
        !log.contains("WARN") && !log.contains("glommio"),
        "nothing to warn of:\n{log}"
    );
}

#[test]
fn what_does_not_fit_is_refused_with_what_does() {
    let Some(user) = User::new() else { return };
    let Some(fit) = user.fit(MIB) else { return };
    for mode in [&DEV[..], &STRICT] {
        let remedy = format!("the limit is 1 MiB: --shards {fit}, or raise it to 2 MiB");
        let text = user.refused(MIB, mode, fit + 1, &[&remedy]);
        assert!(!text.contains("glommio"), "{text}");
        let broker = user.started(MIB, mode, Some(fit));
        let log = broker.log();
        let mut warnings = log.lines().filter(|line| line.contains("WARN"));
        // Without TLS it says how discovery is led to a proxy.
        assert!(warnings.all(|line| line.contains("[advertise]")), "{log}");
    }
    // The remedy in the text is enough.
    let text = user.refused(MIB, &STRICT, 16, &["the limit is 1 MiB: "]);
    let raised = number_after(&text, "raise it to ").expect("a number of MiB");
    user.started(raised * MIB, &STRICT, Some(16));
}

#[test]
fn a_second_broker_of_the_user_takes_what_the_first_has_left() {
    let Some(user) = User::new() else { return };
    let Some(fit) = user.fit(MIB) else { return };
    let _first = user.started(MIB, &STRICT, Some(fit - 1));
    #[rustfmt::skip] // a list
    let parts = ["the limit is 1 MiB, and other processes of this user hold", ": --shards 1, or raise it to 2 MiB"];
    user.refused(MIB, &STRICT, 2, &parts);
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1) {
        let second = user.started(MIB, &DEV, None);
        let log = second.log();
        testkit::assert_has(
            &log,
            &["1 of ", "shards are started: the limit of locked memory"],
        );
    } else {
        eprintln!("skipped in part: `--dev` wants one shard on this machine, and one fits");
    }
}

#[test]
fn a_limit_below_the_least_is_refused_and_the_least_is_enough() {
    let Some(user) = User::new() else { return };
    #[rustfmt::skip] // a list
    let parts = [
        "is 64 KiB, expected 512 KiB or more", "/etc/security/limits.d/", "prlimit --memlock=", "LimitMEMLOCK=",
    ];
    user.refused(64 * KIB, &DEV, 1, &parts);
    drop(user.started(512 * KIB, &DEV, Some(1)));
    drop(user.started(MIB, &DEV, Some(1)));
}

/// Not fewer shards, and none of them on io_uring: whether the limit has room for no ring, or for some.
#[test]
fn where_not_all_shards_can_be_had_on_io_uring_all_are_on_epoll() {
    let Some(user) = User::new() else { return };
    let on_epoll = |limit: u64, shards: u64, part: &str| {
        let broker = user.started(limit, &ANY, Some(shards));
        let log = broker.log();
        assert_eq!(log.matches("WARN").count(), 1, "{log}");
        #[rustfmt::skip] // a list
        let cases = ["shards use epoll, ", part, "LimitMEMLOCK=", "--engine epoll"];
        for part in cases {
            assert!(log.contains(part), "{part}: {log}");
        }
        let line = fs::read_to_string(broker.log.with_extension("out")).expect("a ready line");
        assert!(line.ends_with(" engine=epoll\n"), "{line}");
    };
    on_epoll(64 * KIB, 2, "is 64 KiB, expected 512 KiB or more");
    // The number that was refused: more than what is said to fit may, once the kernel has given memory back.
    if user.fit(MIB).is_some() {
        on_epoll(MIB, 64, "the limit is 1 MiB");
    }
}

#[test]
fn a_soft_limit_is_raised_to_the_hard_one() {
    let Some(user) = User::new() else { return };
    user.start(
        &format!("--memlock={}:{}", 64 * KIB, 8 * MIB),
        &DEV,
        Some(2),
    )
    .unwrap_or_else(|text| panic!("{text}"));
}

/// Each shard has two threads; the limit is met by the first of one, and by the second.
#[test]
fn a_limit_of_threads_is_refused_with_the_remedy() {
    let Some(user) = User::new() else { return };
    for threads in [8, 9] {
        let limit = format!("--nproc={threads}:{threads}");
        let Err(text) = user.start(&limit, &STRICT, Some(16)) else {
            panic!("16 shards on {threads} threads")
        };
        testkit::assert_has(&text, &[" of 16 cannot be created: ", "TasksMax="]);
        assert!(!text.contains("panicked"), "{text}");
    }
}

/// A user whom nobody else is, and a directory that is theirs with a binary that they may run.
struct User {
    id: u32,
    directory: PathBuf,
    /// Brokers of this user that run.
    running: Rc<Cell<u32>>,
}

/// Makes users and data directories differ within this process.
static MADE: AtomicU32 = AtomicU32::new(0);

impl User {
    /// `None`, with the reason printed, unless root asks.
    fn new() -> Option<Self> {
        let process = fs::metadata("/proc/self").expect("Linux");
        if process.uid() != 0 {
            eprintln!("skipped: only root can become another user");
            return None;
        }
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let id = 20_000 + (std::process::id() * 16 + nth) % 40_000;
        // Not under target/: another user may not be let in there.
        let name = format!("heliograph-{}-{nth}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).expect("a new directory");
        chown(&directory, Some(id), Some(id)).expect("root may");
        install(&binary(), &directory.join("heliograph"));
        Some(Self {
            id,
            directory,
            running: Rc::default(),
        })
    }

    /// Returns how many shards fit under a limit, as a refusal says; `None`, with the reason printed, where a kernel
    /// does not charge rings.
    fn fit(&self, limit: u64) -> Option<u64> {
        match self.start(&memlock(limit), &DEV, Some(64)) {
            Err(text) => Some(number_after(&text, "--shards ").unwrap_or_else(|| panic!("{text}"))),
            Ok(_) => {
                eprintln!("skipped: this kernel charges no ring, 64 shards fit");
                None
            }
        }
    }

    /// One that is ready, once the kernel has given back what those that ended had.
    fn started(&self, limit: u64, mode: &[&str], shards: Option<u64>) -> Running {
        until("a broker that starts", || {
            match self.start(&memlock(limit), mode, shards) {
                Ok(started) => Some(started),
                Err(text) if text.contains("of locked memory") => {
                    eprintln!("{text}");
                    None
                }
                Err(text) => panic!("{text}"),
            }
        })
    }

    /// The words of one that is refused, with all of these parts, once the kernel has given back what those that ended
    /// had: until then they say that fewer fit.
    fn refused(&self, limit: u64, mode: &[&str], shards: u64, parts: &[&str]) -> String {
        until("a refusal with all parts", || {
            match self.start(&memlock(limit), mode, Some(shards)) {
                Err(text) if parts.iter().all(|part| text.contains(part)) => Some(text),
                Err(text) => {
                    eprintln!("{text}");
                    None
                }
                Ok(broker) => panic!("{shards} shards start:\n{}", broker.log()),
            }
        })
    }

    /// A broker that is ready, or what it said before it ended with exit code 1.
    ///
    /// The kernel gives back the memory of a process that ended some milliseconds later, on a busy machine more. A
    /// broker that meets it although no other one of the user runs is started again.
    fn start(&self, limit: &str, mode: &[&str], shards: Option<u64>) -> Result<Running, String> {
        until("the locked memory of those that ended", || {
            let started = self.start_once(limit, mode, shards);
            let held = |text: &String| text.contains("other processes of this user hold");
            let late = self.running.get() == 0 && started.as_ref().is_err_and(held);
            (!late).then_some(started)
        })
    }

    fn start_once(
        &self,
        limit: &str,
        mode: &[&str],
        shards: Option<u64>,
    ) -> Result<Running, String> {
        let place = self
            .directory
            .join(format!("{}", MADE.fetch_add(1, Ordering::Relaxed)));
        let file = |kind: &str| place.with_extension(kind);
        let mut command = Command::new("prlimit");
        command
            .arg(limit)
            .arg(self.directory.join("heliograph"))
            .arg("serve")
            .args(mode)
            .args(["--admin", "off", "--data-dir"])
            .arg(&place)
            .current_dir(&self.directory)
            .uid(self.id)
            .gid(self.id)
            .stdin(Stdio::null())
            .stdout(File::create(file("out")).expect("a file of ours"))
            .stderr(File::create(file("log")).expect("a file of ours"));
        if let Some(shards) = shards {
            command.args(["--shards", &shards.to_string()]);
        }
        let mut child = command.spawn().expect("prlimit is there");
        let read = |kind: &str| fs::read_to_string(file(kind)).unwrap_or_default();
        let ended = until("a ready line or an end", || {
            let ended = child.try_wait().expect("it can be asked");
            (ended.is_some() || read("out").starts_with("ready ")).then_some(ended)
        });
        let Some(status) = ended else {
            self.running.set(self.running.get() + 1);
            return Ok(Running {
                child,
                log: file("log"),
                running: Rc::clone(&self.running),
            });
        };
        let text = read("log");
        assert_eq!(status.code(), Some(1), "{text}");
        Err(text)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A broker that is ready; ended on drop.
struct Running {
    child: Child,
    log: PathBuf,
    /// The number of its user's running brokers.
    running: Rc<Cell<u32>>,
}

impl Running {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.running.set(self.running.get() - 1);
    }
}

fn memlock(bytes: u64) -> String {
    format!("--memlock={bytes}:{bytes}")
}

fn number_after(text: &str, before: &str) -> Option<u64> {
    let (_, rest) = text.split_once(before)?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
    rest[..end].parse().ok()
}
