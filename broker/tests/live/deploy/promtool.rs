//! `promtool`, of Debian's package `prometheus`. `deploy/ci/check.sh` installs it, so there its absence is a failure;
//! elsewhere the test is skipped, and says so.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program; `None` where it is not installed and could not be.
pub(crate) struct Promtool(());

impl Promtool {
    pub(crate) fn find() -> Option<Self> {
        let found = Command::new("promtool").arg("--version").output();
        if found.is_ok_and(|found| found.status.success()) {
            return Some(Self(()));
        }
        let is_installed = std::env::var_os("HELIOGRAPH_CLIENTS").is_some();
        assert!(
            !is_installed,
            "no promtool: install the package prometheus, as deploy/ci/check.sh does"
        );
        eprintln!("skipped: no promtool, of the package prometheus");
        None
    }

    /// Runs it in `deploy/prometheus` with this text as its input; shows what it printed if it finds a fault.
    pub(crate) fn passes(&self, arguments: &[&str], input: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus");
        self.passes_in(&folder, arguments, input);
    }

    /// The same, in another folder.
    pub(crate) fn passes_in(&self, folder: &Path, arguments: &[&str], input: &str) {
        let mut child = Command::new("promtool")
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it was found");
        // It reads all of its input before it prints anything.
        let mut stdin = child.stdin.take().expect("stdin is piped");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        let ended = child.wait_with_output().expect("it ends");
        let printed = [ended.stdout, ended.stderr].concat();
        let printed = String::from_utf8_lossy(&printed);
        assert!(ended.status.success(), "{arguments:?}:\n{printed}");
        // Faults of metrics that it only warns of end it with 0 in some versions.
        assert!(
            arguments[0] != "check" || !printed.contains("error"),
            "{printed}"
        );
    }
}
