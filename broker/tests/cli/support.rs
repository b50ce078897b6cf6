//! The program and its servers, as these tests start them.

use std::process::Command;
use testkit::{Directory, Program, Running};

const PROGRAM: Program = Program::new(
    env!("CARGO_BIN_EXE_heliograph"),
    env!("CARGO_TARGET_TMPDIR"),
);

/// The program with these arguments.
pub(crate) fn broker(arguments: &[&str]) -> Command {
    let mut command = PROGRAM.command();
    command.args(arguments);
    command
}

/// A directory that is removed when it is dropped.
pub(crate) fn directory() -> Directory {
    PROGRAM.directory()
}

/// A server in development mode that has this working directory, and its log in it.
pub(crate) fn serve(directory: &Directory, flags: &[&str]) -> Running {
    let mut command = broker(&[&["serve", "--dev"][..], flags].concat());
    Running::start(command.current_dir(directory), &directory.path("log"))
}
