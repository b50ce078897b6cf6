//! A configuration, and the commands that read it.

use crate::server::{Etcd, Scratch};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A configuration whose etcd is at these URLs.
pub(crate) struct Place {
    pub(crate) scratch: Scratch,
}

/// The output of a command, and its exit code.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn of(etcd: &Etcd) -> Self {
        Self::with(&etcd.endpoint(), "")
    }

    /// With more lines at the end.
    pub(crate) fn with(endpoint: &str, more: &str) -> Self {
        let scratch = Scratch::new("commands");
        let secret = scratch.0.join("secret");
        fs::write(&secret, "ab".repeat(32)).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let text = format!(
            "[cluster]\nname = 'prod'\nnode = 'n1'\nlisten = '127.0.0.1:0'\nlink = 'plain'\nsecret_file = '{}'\n\
             etcd = ['{endpoint}']\n{more}\n",
            secret.display()
        );
        fs::write(scratch.0.join("broker.toml"), text).unwrap();
        Self { scratch }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.0.join(name)
    }

    /// `heliograph cluster` with these words.
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        let config = self.path("broker.toml");
        let config = ["--config", config.to_str().unwrap()];
        let words = [&["cluster"], words, &config[..]].concat();
        broker(&words, &self.scratch.0)
    }

    /// The same, which must succeed; what it prints.
    pub(crate) fn well(&self, words: &[&str]) -> String {
        let said = self.run(words);
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        assert_eq!(said.err, "", "{words:?}");
        said.out
    }
}

/// Runs the program, which must end within a bounded time.
pub(crate) fn broker(words: &[&str], directory: &Path) -> Said {
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_heliograph"))
        .args(words)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap();
    let said = Said {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    };
    assert!(
        begun.elapsed() < WITHIN,
        "{words:?} took too long: {said:?}"
    );
    said
}

/// Connecting takes a second, each call three, and this machine is busy.
const WITHIN: Duration = Duration::from_secs(30);
