//! The program under test, directories for its files, and commands that exit on their own.

use crate::wait::{WITHIN, ended_within};
use std::ffi::OsStr;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::{env, fs};

/// The `heliograph` binary under test, and the directory below which its test directories are created. Usually a
/// constant that all tests of a test program share.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    built: &'static str,
    directories: &'static str,
}

/// A directory that is removed on drop.
#[derive(Debug)]
pub struct Directory(PathBuf);

/// The outcome of a program that has exited.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Exit code, or `None` if a signal ended the program.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Returns the I/O engine named by the environment variable `HELIOGRAPH_TEST_ENGINE`. Tests that do not choose an
/// engine start the broker with it.
#[must_use]
pub fn engine() -> Option<String> {
    env::var("HELIOGRAPH_TEST_ENGINE").ok()
}

impl Program {
    /// Uses the binary that is in the same directory as `built`, and creates test directories below `directories`. Pass
    /// the `CARGO_BIN_EXE_…` of any program in the workspace, since all programs are built into one directory, and
    /// `CARGO_TARGET_TMPDIR`. Cargo sets both variables only when it builds a crate's integration tests.
    #[must_use]
    pub const fn new(built: &'static str, directories: &'static str) -> Self {
        Self { built, directories }
    }

    /// Returns the path of the binary. `BROKER_UNDER_TEST` overrides it, for example to test an older build.
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

    /// Returns the path of another program of the workspace.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        Path::new(self.built).with_file_name(name)
    }

    /// Creates a command that runs the binary without input. `RUST_LOG` is removed, so that the configured logging
    /// applies.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.binary());
        command.stdin(Stdio::null()).env_remove("RUST_LOG");
        command
    }

    /// Creates a temporary directory.
    #[must_use]
    pub fn directory(&self) -> Directory {
        Directory(self.fresh_directory())
    }

    /// Creates a directory and returns its path. The caller must remove it.
    #[must_use]
    pub fn fresh_directory(&self) -> PathBuf {
        /// Makes directory names unique within this process.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("live-{}-{number}", process::id());
        let directory = Path::new(self.directories).join(name);
        // A process that was killed and had the same id may have left the directory behind.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory under target/");
        directory
    }
}

impl Directory {
    /// Creates a directory among the system's temporary files.
    #[must_use]
    pub fn temporary() -> Self {
        let place = env::temp_dir().into_os_string().into_string();
        Program::new("", place.expect("UTF-8").leak()).directory()
    }

    /// Returns the path of a file in the directory, or of the directory itself if the name is empty.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in the directory and returns its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file under target/");
        path
    }
}

/// Installs an executable copy of the file `from` at `to`. A separate process writes the copy.
///
/// If this process wrote the file, executing it could fail with ETXTBSY: a child forked by another thread holds the
/// file open for writing until the child executes its own program.
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

impl From<PathBuf> for Directory {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl AsRef<OsStr> for Directory {
    fn as_ref(&self) -> &OsStr {
        self.0.as_os_str()
    }
}

impl Deref for Directory {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a command that exits on its own within [`WITHIN`]. If it does not, kills it and panics.
pub fn run(command: &mut Command) -> Exit {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // Both streams are read concurrently, so that neither pipe fills up.
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
    use super::{Directory, run};
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
        let (one, other) = (Directory::temporary(), Directory::temporary());
        let path = one.file("kept", "text");
        assert!(path.exists() && !other.path("kept").exists());
        drop(one);
        assert!(!path.exists() && other.path("").exists());
    }
}
