//! The program as it is started.

use std::process::{Command, Output};
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
    let text = std::fs::read_to_string(&json).unwrap_or_default();
    let _ = std::fs::remove_file(&json);
    let report = serde_json::from_str(&text).unwrap_or_default();
    (output.status.code(), report)
}

pub(crate) fn tempfile(flags: &str) -> std::path::PathBuf {
    let name: String = flags.chars().filter(char::is_ascii_alphanumeric).collect();
    let unique = format!(
        "{}-{:?}-{name}.json",
        std::process::id(),
        thread::current().id()
    );
    std::env::temp_dir().join(unique)
}
