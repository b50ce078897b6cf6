//! A run in several processes on one machine: each has a part of it, and their reports are merged.

use super::signal;
use crate::options::{CpuList, Options};
use crate::report::members;
use crate::result::{Document, merge};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Runs this program so many times, each with its part and the same `flags` (those after `run`), and merges what they report.
/// Each is pinned to one of `--cores` in turn. Ctrl-C is passed on; each part then ends gently.
///
/// # Errors
/// A process cannot be started, or one ends without a report: what it said is on standard error.
pub fn run_parts(options: &Options, flags: &[String]) -> Result<Document, String> {
    let program = std::env::current_exe().map_err(|error| format!("--processes: {error}"))?;
    let folder = Folder::new().map_err(|error| format!("--processes: {error}"))?;
    signal::watch();
    let mut children = Vec::new();
    for place in 0..options.processes {
        let part = options.part.split(place, options.processes);
        let part = part.ok_or("--processes: the run is split too finely")?;
        let mut command = Command::new(&program);
        command.arg("run").args(flags);
        command
            .arg(format!("--part={part}"))
            .arg("--processes=1")
            .arg("--quiet");
        command.arg(format!("--json={}", folder.report(place).display()));
        if let Some(CpuList(cpus)) = &options.cores
            && let Some(cpu) = cpus.get(place as usize % cpus.len().max(1))
        {
            command.arg(format!("--cores={cpu}"));
        }
        // A group of its own: the terminal's Ctrl-C comes here, and is passed on once.
        command.process_group(0);
        let child = command.stdin(Stdio::null()).spawn();
        children.push(child.map_err(|error| format!("--processes: {error}"))?);
    }
    wait(&mut children).map_err(|error| format!("--processes: {error}"))?;
    let mut reports: Vec<Document> = Vec::new();
    for place in 0..options.processes {
        let text = fs::read_to_string(folder.report(place))
            .map_err(|_| format!("process {} ended without a report", place + 1))?;
        let report = Document::parse(&text);
        reports
            .push(report.map_err(|error| format!("the report of process {}: {error}", place + 1))?);
    }
    let mut report = merge(&reports).map_err(|error| error.to_string())?;
    report.arguments = members(options);
    Ok(report)
}

/// Waits for all; passes the operator's signal on once.
fn wait(children: &mut [Child]) -> io::Result<()> {
    let mut told = false;
    loop {
        let mut running = false;
        for child in children.iter_mut() {
            running |= child.try_wait()?.is_none();
        }
        if !running {
            return Ok(());
        }
        if signal::stopped() && !told {
            told = true;
            children
                .iter()
                .for_each(|child| signal::interrupt(child.id()));
        }
        thread::sleep(LOOK);
    }
}

/// A folder for the parts' reports, gone with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let name = format!("loadgen-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    fn report(&self, place: u32) -> PathBuf {
        self.0.join(format!("{place}.json"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system: it is the temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(20);
