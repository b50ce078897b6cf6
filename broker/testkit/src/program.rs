//! The program under test, its directories, and runs that end by themselves.

use crate::wait::{WITHIN, ended_within};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::{env, fs};

/// The binary `heliograph`, and a place for directories of tests. One for each program of tests.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    built: &'static str,
    directories: &'static str,
}

/// A directory that is removed when it is dropped.
#[derive(Debug)]
pub struct Directory(PathBuf);

/// The end of a program that ran to it.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Exit code; `None` for a signal.
    pub code: Option<i32>,
    /// The text that it wrote to standard output.
    pub stdout: String,
    /// The text that it wrote to standard error.
    pub stderr: String,
}

/// The engine on which all brokers of tests run, where the environment names one and a test does not.
#[must_use]
pub fn engine() -> Option<String> {
    env::var("HELIOGRAPH_TEST_ENGINE").ok()
}

impl Program {
    /// The binary beside this one, and directories below that one: `CARGO_BIN_EXE_…` of any program of the workspace,
    /// since they are built into one directory, and `CARGO_TARGET_TMPDIR`. Cargo gives both to tests of a crate alone.
    #[must_use]
    pub const fn new(built: &'static str, directories: &'static str) -> Self {
        Self { built, directories }
    }

    /// The binary's path; `BROKER_UNDER_TEST` names another one, such as an older build that an attack is to be seen
    /// working on.
    ///
    /// # Panics
    /// When it has not been built.
    #[must_use]
    pub fn binary(&self) -> PathBuf {
        let other = env::var_os("BROKER_UNDER_TEST");
        let binary = other.map_or_else(|| self.beside("heliograph"), PathBuf::from);
        assert!(
            binary.exists(),
            "{}: build it first with cargo build -p broker (same profile, same target directory), or test the whole \
             workspace",
            binary.display()
        );
        binary
    }

    /// Another program of the workspace.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        Path::new(self.built).with_file_name(name)
    }

    /// A command of the binary that reads nothing and logs as it is configured, whatever `RUST_LOG` is outside.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.binary());
        command.stdin(Stdio::null()).env_remove("RUST_LOG");
        command
    }

    /// A directory of its own.
    #[must_use]
    pub fn directory(&self) -> Directory {
        Directory(self.fresh_directory())
    }

    /// The path of a new directory, which the caller removes.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn fresh_directory(&self) -> PathBuf {
        /// Makes directories differ within this process.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("live-{}-{number}", process::id());
        let directory = Path::new(self.directories).join(name);
        // Left by an earlier process of this number that was killed.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory under target/");
        directory
    }
}

impl Directory {
    /// The path of a file in it, or its own for an empty name.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in it and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file under target/");
        path
    }
}

/// Puts an executable copy of a file at a path, by a process of its own.
///
/// A file that this process wrote cannot be run (ETXTBSY) while a child that another thread has just forked holds it
/// open, as every child does until it runs its own program.
///
/// # Panics
/// When it cannot be written.
pub fn install(from: &Path, to: &Path) {
    let mut command = Command::new("install");
    let status = command.args(["-m", "755"]).args([from, to]).status();
    assert!(status.is_ok_and(|status| status.success()), "{to:?}");
}

impl AsRef<Path> for Directory {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a command that ends by itself.
///
/// # Panics
/// When it does not start, or does not end within [`WITHIN`]: then it is killed.
pub fn run(command: &mut Command) -> Exit {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // Both at once, so that neither pipe is full while the other is read.
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let status = ended_within(&mut child, WITHIN);
    let text = |reader: JoinHandle<String>| reader.join().expect("it reads to the end");
    let exit = Exit {
        code: status.and_then(|status| status.code()),
        stdout: text(stdout),
        stderr: text(stderr),
    };
    assert!(status.is_some(), "{command:?} does not end: {exit:?}");
    exit
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.expect("it is piped").read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::{Program, run};
    use std::process::Command;

    #[test]
    fn both_outputs_are_read_whole_and_apart() {
        let script = "head -c 300000 /dev/zero; echo wrong >&2; exit 3";
        let exit = run(Command::new("sh").args(["-c", script]));
        assert_eq!((exit.code, exit.stderr.as_str()), (Some(3), "wrong\n"));
        assert_eq!(exit.stdout.len(), 300_000);
    }

    #[test]
    fn directories_differ_and_end_with_their_owner() {
        let place = std::env::temp_dir().into_os_string().into_string();
        let program = Program::new("heliograph", place.unwrap().leak());
        let (one, other) = (program.directory(), program.directory());
        let path = one.file("kept", "text");
        assert!(path.exists() && !other.path("kept").exists());
        drop(one);
        assert!(!path.exists() && other.path("").exists());
    }
}
