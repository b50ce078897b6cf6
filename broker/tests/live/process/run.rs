//! The program under test, and waiting with a bound.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(super) const BINARY: &str = env!("CARGO_BIN_EXE_heliograph");

/// Long enough for a start on a busy machine: the certificate is made and every shard listens.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(30);

/// Makes data directories differ within this process.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// Serves on a free port under `--dev`, without an admin listener, in the data directory that follows.
pub(crate) const SERVE_IN: [&str; 7] = [
    "serve",
    "--dev",
    "--listen",
    "http://127.0.0.1:0",
    "--admin",
    "off",
    "--data-dir",
];

/// Has a broker measure its turns as CPU time.
pub(crate) const TURN_CPU: &str = "HELIOGRAPH_TURN_CPU";

/// Runs the broker with arguments that make it end by itself; returns its exit code and what it said on stderr.
pub(crate) fn run_to_end(arguments: &[&str]) -> (Option<i32>, String) {
    let directory = fresh_directory();
    let log = File::create(directory.join("log")).expect("a log file");
    let mut child = command()
        .args(arguments)
        .current_dir(&directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the broker starts");
    let status = ended_within(&mut child, READY_WITHIN);
    let text = log_of(&directory);
    let _ = fs::remove_dir_all(&directory);
    (status.and_then(|status| status.code()), text)
}

/// Waits for the end of a process; kills it and returns `None` when it takes too long.
pub(crate) fn ended_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("the process can be asked") {
            return Some(status);
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asks again and again, for a bounded time.
pub(crate) fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_within(READY_WITHIN, what, ask)
}

/// The same, for as long as this.
pub(crate) fn until_within<T>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> Option<T>,
) -> T {
    let until = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "{what} does not come");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The binary under test.
pub(crate) fn command() -> Command {
    Command::new(binary())
}

/// Its path; `BROKER_UNDER_TEST` names another one, such as an older build that an attack is to be seen working on.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("BROKER_UNDER_TEST").map_or_else(|| PathBuf::from(BINARY), PathBuf::from)
}

/// Another program of the workspace, which is built into the same directory.
pub(crate) fn beside(name: &str) -> PathBuf {
    Path::new(BINARY).with_file_name(name)
}

/// The same command on all CPUs, the first of which it has to itself, and with turns measured as CPU time unless it
/// says otherwise.
pub(super) fn measured(command: &Command) -> Command {
    let mut measured = Command::new("taskset");
    // A mask of more CPUs than there are is cut to those.
    measured
        .args(["-c", "0-1023"])
        .arg(command.get_program())
        .args(command.get_args())
        .env(TURN_CPU, "1");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => measured.env(name, value),
            None => measured.env_remove(name),
        };
    }
    measured
}

/// A new directory under target/, removed by its caller.
pub(crate) fn fresh_directory() -> PathBuf {
    let place = format!(
        "live-{}-{}",
        std::process::id(),
        STARTED.fetch_add(1, Ordering::Relaxed)
    );
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(place);
    fs::create_dir_all(&directory).expect("a directory under target/");
    directory
}

pub(super) fn log_of(directory: &Path) -> String {
    fs::read_to_string(directory.join("log")).unwrap_or_default()
}
