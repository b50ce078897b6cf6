//! The program as it is started.

use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread;

pub(crate) fn loadgen(flags: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.arg("run").args(flags.split_ascii_whitespace());
    command.output().unwrap()
}

/// Exit code and report of a short run.
pub(crate) fn run(target: &str, flags: &str) -> (Option<i32>, serde_json::Value) {
    let json = tempfile(flags);
    let duration = if flags.contains("--duration") {
        ""
    } else {
        "--duration 0.3"
    };
    let output = loadgen(&format!(
        "--target {target} {duration} --json {} {flags}",
        json.display()
    ));
    (output.status.code(), take_report(&json))
}

/// A run whose progress is followed.
pub(crate) struct Live {
    pub(crate) child: Child,
    /// The lines that it writes to standard error.
    pub(crate) progress: Lines<BufReader<ChildStderr>>,
    json: PathBuf,
}

impl Live {
    pub(crate) fn start(flags: &str) -> Self {
        let json = tempfile(flags);
        let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .arg("run")
            .args(flags.split(' '))
            .arg("--json")
            .arg(&json)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let progress = BufReader::new(child.stderr.take().unwrap()).lines();
        Self {
            child,
            progress,
            json,
        }
    }

    /// Exit code and report, once it has ended.
    pub(crate) fn end(mut self) -> (Option<i32>, serde_json::Value) {
        self.progress.for_each(drop);
        let code = self.child.wait().unwrap().code();
        (code, take_report(&self.json))
    }
}

/// Reads a report and removes its file; null if there is none.
fn take_report(json: &PathBuf) -> serde_json::Value {
    let text = std::fs::read_to_string(json).unwrap_or_default();
    let _ = std::fs::remove_file(json);
    serde_json::from_str(&text).unwrap_or_default()
}

fn tempfile(flags: &str) -> PathBuf {
    let name: String = flags.chars().filter(char::is_ascii_alphanumeric).collect();
    let unique = format!(
        "{}-{:?}-{name}.json",
        std::process::id(),
        thread::current().id()
    );
    std::env::temp_dir().join(unique)
}
