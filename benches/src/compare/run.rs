//! Runs one server under one load.

use crate::compare::calls;
use crate::compare::case::Case;
use crate::compare::server::{Programs, Server, on_core};
use crate::relay::{KEY_ID, SECRET};
use loadgen::edge::Process;
use serde_json::Value;
use std::fmt::Display;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, io};

/// Parameters shared by all runs.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Duration of the measurement, in seconds.
    pub seconds: f64,
    /// Whether the run uses a small load and only checks the results.
    pub is_small: bool,
    /// The CPU for the servers and the CPU for the driver. If `None`, the kernel chooses.
    pub cores: Option<(usize, usize)>,
}

/// Starts the server, puts the load on it, and returns the driver's report. The driver verifies that every message
/// arrives exactly once, in order, unmodified, and at the intended peer.
///
/// # Errors
/// Returns an error if the server does not start or the driver found a fault.
pub fn run(
    server: &Server,
    case: &Case,
    terms: &Terms,
    programs: &Programs,
    directory: &Path,
) -> io::Result<Value> {
    let core = terms.cores.map(|(core, _)| core);
    let about = |what: &dyn Display| {
        let (server, case) = (&server.name, &case.name);
        io::Error::other(format!("{case}, {server}: {what}"))
    };
    let running = server.start(programs, core, case, directory)?;
    if let Some(connections) = case.callers(terms.is_small) {
        let driver = terms.cores.map(|(_, core)| core);
        return on_core(driver, || calls::drive(&running, connections, terms))
            .map_err(|error| about(&error));
    }
    let report = directory.join("report.json");
    let scheme = if case.is_tls { "https" } else { "http" };
    let mut command = Command::new(&programs.loadgen);
    command.arg("run");
    if case.is_tls || case.has_detour() {
        command.arg("--insecure");
    }
    if case.is_signed() {
        command
            .env("AWS_ACCESS_KEY_ID", KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env_remove("AWS_SESSION_TOKEN");
    }
    if let Some(port) = running.tls_port.filter(|_| case.has_detour()) {
        command
            .arg("--tls-target")
            .arg(format!("https://127.0.0.1:{port}"));
    }
    if server.wants_channels() {
        command.arg("--create-channels");
    }
    command
        .args(case.flags(terms.is_small))
        .args([
            "--target",
            &format!("{scheme}://127.0.0.1:{}", running.port),
        ])
        .args(["--duration", &terms.seconds.to_string()])
        .args(["--server-pid", &running.pid().to_string()])
        // The driver connects from many addresses, because the port of a closed connection cannot be reused for some
        // time.
        .args(["--source-addresses", "127.0.1.1/24", "--quiet", "--json"])
        .arg(&report)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let process = Process::find(running.pid())?;
    let begun = process.ticks()?;
    let driver = on_core(terms.cores.map(|(_, core)| core), || command.spawn())?;
    let output = driver.wait_with_output()?;
    let ended = process.ticks()?;
    if !output.status.success() {
        return Err(about(&String::from_utf8_lossy(&output.stderr)));
    }
    let mut report: Value = serde_json::from_slice(&fs::read(report)?)?;
    report["user_share"] = user_share(begun, ended).into();
    if case.resumes() {
        let count = |name: &str| report["connections"][name].as_f64().unwrap_or_default();
        let (opened, resumed) = (count("opened"), count("resumed"));
        if resumed < opened * RESUMED_MIN {
            return Err(about(&format!(
                "{resumed} of {opened} handshakes resumed a session"
            )));
        }
    }
    Ok(report)
}

/// Returns the fraction of the CPU time that was user time. Returns `None` if no tick elapsed between the two samples.
fn user_share(begun: [u64; 2], ended: [u64; 2]) -> Option<f64> {
    let [user, kernel] = [0, 1].map(|of| ended[of].saturating_sub(begun[of]) as f64);
    (user + kernel > 0.0).then(|| user / (user + kernel))
}

/// Minimum proportion of handshakes that must be resumed in loads that resume sessions. The proportion cannot be 1: the
/// first handshakes have no ticket, and node issues two tickets to a new session but none to a resumed one.
const RESUMED_MIN: f64 = 0.6;
