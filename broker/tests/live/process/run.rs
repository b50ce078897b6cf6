//! The program under test.

use std::path::PathBuf;
use std::process::Command;
use testkit::{Directory, Program};

const PROGRAM: Program = Program::new(
    env!("CARGO_BIN_EXE_heliograph"),
    env!("CARGO_TARGET_TMPDIR"),
);

/// Serves on a free port under `--dev`, without an admin listener, in the data directory that follows.
#[rustfmt::skip] // a list
pub(crate) const SERVE_IN: [&str; 7] = [
    "serve", "--dev", "--listen", "http://127.0.0.1:0", "--admin", "off", "--data-dir",
];

/// Has a broker measure its turns as CPU time.
pub(crate) const TURN_CPU: &str = "HELIOGRAPH_TURN_CPU";

/// Runs the broker with arguments that make it end by itself; returns its exit code and what it said on stderr.
pub(crate) fn run_to_end(arguments: &[&str]) -> (Option<i32>, String) {
    let directory = PROGRAM.directory();
    let exit = testkit::run(command().args(arguments).current_dir(&directory));
    (exit.code, exit.stderr)
}

/// A command of the binary under test.
pub(crate) fn command() -> Command {
    PROGRAM.command()
}

/// The path of the binary under test.
pub(crate) fn binary() -> PathBuf {
    PROGRAM.binary()
}

/// Another program of the workspace, which is built into the same directory.
pub(crate) fn beside(name: &str) -> PathBuf {
    PROGRAM.beside(name)
}

/// The same command on all CPUs, the first of which it has to itself, and with turns measured as CPU time unless it
/// says otherwise.
pub(crate) fn measured(command: &Command) -> Command {
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
    PROGRAM.fresh_directory()
}

/// The same, removed by its owner.
pub(crate) fn directory() -> Directory {
    PROGRAM.directory()
}
