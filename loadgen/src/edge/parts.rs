//! Splits a run across several processes on one machine. Each process runs one part, and their reports are merged.
//!
//! A part writes its progress to standard output ([`PartNews`]). Once all of its connections are open, it reports that
//! it is ready, and waits. When every part is ready, each one receives the common start time on standard input.

use crate::edge::{StartSignal, check_moment, signal};
use crate::live::{PartNews, Progress, RunFollower};
use crate::options::{CpuList, Options};
use crate::result::{Document, members, merge};
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

/// Starts several processes of this program and merges their reports. Each process runs one part. `flags` are the words
/// after `run` on the command line, and are passed on to every process. With `--cores`, each process is pinned to one
/// of the given CPUs, in rotation. Ctrl-C is forwarded, so that each part stops gracefully. A process that fails prints
/// its own messages to standard error.
pub fn run_parts(
    options: &Options,
    flags: &[String],
    audience: &mut dyn RunFollower,
) -> Result<Document, String> {
    if let Some(moment) = options.start_at {
        check_moment(moment.0)?;
    }
    let about = |error: io::Error| format!("--processes: {error}");
    let folder = PartsFolder::new().map_err(about)?;
    signal::watch().map_err(about)?;
    let (tell, news) = mpsc::channel();
    let mut parts = Vec::new();
    for place in 0..options.processes {
        let mut command = command(options, flags, place, &folder)?;
        parts.push(Part::start(&mut command, place as usize, &tell).map_err(about)?);
    }
    drop(tell);
    follow(&mut parts, &news, options, audience).map_err(about)?;
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

/// Returns a start signal that reads the start time from standard input, in nanoseconds since 1970. Each part of a
/// split run uses one.
#[must_use]
pub fn word_of_stdin() -> StartSignal {
    let (tell, word) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        if io::stdin().read_line(&mut line).is_ok()
            && let Ok(nanos) = line.trim().parse()
        {
            let _ = tell.send(UNIX_EPOCH + Duration::from_nanos(nanos));
        }
    });
    StartSignal::OnWord(word)
}

fn command(
    options: &Options,
    flags: &[String],
    place: u32,
    folder: &PartsFolder,
) -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| format!("--processes: {error}"))?;
    let part = options.part.split(place, options.processes);
    let part = part.ok_or("--processes: the run is split too finely")?;
    let mut command = Command::new(program);
    command.arg("run").args(flags);
    command.args(["--processes=1", "--quiet", "--in-step"]);
    command.arg(format!("--part={part}"));
    command.arg(format!("--json={}", folder.report(place).display()));
    if let Some(CpuList(cpus)) = &options.cores
        && let Some(cpu) = cpus.get(place as usize % cpus.len().max(1))
    {
        command.arg(format!("--cores={cpu}"));
    }
    // Each part runs in its own process group. Ctrl-C in the terminal therefore reaches only this process, which
    // forwards it once.
    command.process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command)
}

struct Part {
    child: Child,
    word: Option<ChildStdin>,
    is_ready: bool,
    progress: Option<Progress>,
}

type News = (usize, Option<PartNews>);

impl Part {
    fn start(command: &mut Command, place: usize, tell: &Sender<News>) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let word = child.stdin.take();
        if let Some(output) = child.stdout.take() {
            let tell = tell.clone();
            thread::spawn(move || {
                let lines = BufReader::new(output).lines().map_while(Result::ok);
                let news = lines.filter_map(|line| serde_json::from_str(&line).ok());
                for news in news.map(Some).chain([None]) {
                    let _ = tell.send((place, news));
                }
            });
        }
        Ok(Self {
            child,
            word,
            is_ready: false,
            progress: None,
        })
    }
}

/// Follows all parts until they exit: starts the load in all of them, displays their progress, and forwards Ctrl-C
/// once.
fn follow(
    parts: &mut [Part],
    news: &Receiver<News>,
    options: &Options,
    audience: &mut dyn RunFollower,
) -> io::Result<()> {
    let mut said = BTreeSet::new();
    let (mut is_told, mut shown) = (false, Instant::now());
    let mut running = parts.len();
    while running > 0 {
        match news.recv_timeout(LOOK) {
            Ok((place, told)) => {
                let Some(part) = parts.get_mut(place) else {
                    continue;
                };
                match told {
                    // All parts usually print the same lines, so show each line once.
                    Some(PartNews::Said(line)) if said.insert(line.clone()) => audience.say(&line),
                    Some(PartNews::Said(_)) => {}
                    Some(PartNews::Ready) => part.is_ready = true,
                    Some(PartNews::Shown(progress)) => part.progress = Some(progress),
                    None => {
                        running -= 1;
                        part.is_ready = true; // does not delay the others
                    }
                }
            }
            Err(_) if signal::stopped() && !is_told => {
                is_told = true;
                parts.iter().for_each(|part| signal::interrupt(&part.child));
            }
            Err(_) => {}
        }
        if parts.iter().all(|part| part.is_ready) {
            begin(parts, options);
        }
        if shown.elapsed() >= SHOW_EVERY {
            shown = Instant::now();
            let progress = parts.iter().filter_map(|part| part.progress.as_ref());
            if let Some(progress) = Progress::of_parts(progress) {
                audience.show(&progress);
            }
        }
    }
    for part in parts {
        part.child.wait()?;
    }
    Ok(())
}

fn begin(parts: &mut [Part], options: &Options) {
    let soon = SystemTime::now() + LEAD;
    let moment = options.start_at.map_or(soon, |at| soon.max(at.0));
    let nanos = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    for word in parts.iter_mut().filter_map(|part| part.word.take()) {
        // A write fails only if the process has exited, which `follow` detects.
        let _ = writeln!(&word, "{}", nanos.as_nanos());
    }
}

/// A temporary directory for the parts' reports. Removed on drop.
struct PartsFolder(PathBuf);

impl PartsFolder {
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

impl Drop for PartsFolder {
    fn drop(&mut self) {
        // Files that cannot be removed stay in the system's temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

const LOOK: Duration = Duration::from_millis(20);
const SHOW_EVERY: Duration = Duration::from_millis(250);
/// Delay from the start signal to the start time. This gives every part time to receive the signal.
const LEAD: Duration = Duration::from_millis(200);
