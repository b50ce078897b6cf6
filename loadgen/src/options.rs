//! The command line options as given by the user.

use crate::address::Target;
use crate::edge::{DriverMachine, Server};
use crate::result::{Document, EventArguments, members};
use crate::scenario;
use crate::schedule::{ArrivalSchedule, PlannedMoment, RunShare};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Load generator for services that speak KVS signaling.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen",
    version,
    arg_required_else_help = true,
    args_override_self = true
)]
pub struct CommandLine {
    /// The selected command.
    #[command(subcommand)]
    pub command: LoadCommand,
}

/// Commands of the program.
#[derive(Debug, Subcommand)]
pub enum LoadCommand {
    /// Put load on a service and report the results.
    ///
    /// Exit codes: 0 success; 1 messages lost, duplicated, reordered, corrupted or misrouted; 2 invalid usage or
    /// insufficient machine limits; 3 the target failed, or refused or throttled messages; 4 threshold missed,
    /// with --fail-on-threshold; 130 stopped by Ctrl-C, after printing the report.
    Run(Options),
    /// Show what a run would need and what this machine allows, without opening connections.
    Plan(Options),
    /// Show one report, several side by side, or the parts of one run merged.
    Report(Reports),
}

/// The flags of `loadgen report`.
#[derive(Clone, Debug, Args)]
pub struct Reports {
    /// Reports written by --json
    #[arg(required = true, value_name = "FILE.json")]
    pub files: Vec<PathBuf>,
    /// Merge files that are parts of one run (--part)
    #[arg(long)]
    pub merge: bool,
    /// Write the merged result to this file
    #[arg(long, value_name = "FILE", requires = "merge")]
    pub json: Option<PathBuf>,
    /// Write an HTML page with plots of all runs, side by side, to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl Options {
    /// Returns where to read the service's CPU time and memory, or `None` if no flag specifies it.
    ///
    /// # Errors
    /// Returns an error if the process or the listener cannot be found or does not respond. The program then exits with
    /// code 2.
    pub fn server(&self) -> Result<Option<Server>, String> {
        if let Some(pid) = self.server_pid {
            let server = Server::process(pid);
            return server
                .map(Some)
                .map_err(|error| format!("--server-pid {pid}: {error}"));
        }
        let Some(url) = &self.admin else {
            return Ok(None);
        };
        let target = Target::parse(url, self.i_own_this_target)
            .map_err(|error| format!("--admin: {error}"))?;
        if target.tls {
            return Err(format!("--admin {url}: must be http://ADDRESS:PORT"));
        }
        let server = Server::admin(target.address, self.token()?);
        server
            .map(Some)
            .map_err(|error| format!("--admin {url}: {error}"))
    }

    /// Creates the document that describes a run, before the run starts. The engine then fills in the results.
    #[must_use]
    pub fn document(&self, machine: &DriverMachine) -> Document {
        let mut versions =
            EventArguments::from([("loadgen".into(), env!("CARGO_PKG_VERSION").into())]);
        if let Some(version) = &self.service_version {
            versions.insert("service".into(), version.as_str().into());
        }
        let (mode, target) = (self.mode.name(), self.targets.join(","));
        Document {
            machine: members(machine),
            versions,
            ..Document::new(mode, &target, members(self), String::new())
        }
    }

    /// Reads the admin token from the file named by the flag. Without the flag, the environment variable names the
    /// file.
    fn token(&self) -> Result<Option<String>, String> {
        let of_environment = std::env::var_os(TOKEN_FILE).filter(|value| !value.is_empty());
        let (name, path) = match (&self.token_file, of_environment) {
            (Some(path), _) => ("--token-file", path.clone()),
            (None, Some(path)) => (TOKEN_FILE, path.into()),
            (None, None) => return Ok(None),
        };
        let refused = |rule: &str| format!("{name} {}: {rule}", path.display());
        let text = std::fs::read_to_string(&path)
            .map_err(|error| refused(&format!("must be a readable file: {error}")))?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused(
                "must be a file with one line of printable ASCII characters",
            ));
        }
        Ok(Some(token.to_owned()))
    }
}

/// Parses a number of seconds. If the text contains a unit, the error suggests the number in seconds.
fn seconds(text: &str) -> Result<f64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let units = [("s", 1.0), ("m", 60.0), ("min", 60.0), ("h", 3600.0)];
    let hint = units.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(format!(": {}", number * factor))
    });
    Err(format!(
        "expected a number of seconds{}",
        hint.unwrap_or_default()
    ))
}

const TOKEN_FILE: &str = "HELIOGRAPH_ADMIN_TOKEN_FILE";

impl CommandLine {
    /// Parses a command line, whose first word is the program name. Inserts the flags from a scenario file before those
    /// on the command line. The error says what is wrong with a flag or with the scenario file, and where.
    pub fn read(
        words: Vec<String>,
        read: impl Fn(&Path) -> std::io::Result<String>,
    ) -> Result<Self, clap::Error> {
        let named = words
            .get(1)
            .filter(|word| matches!(word.as_str(), "run" | "plan"));
        let Some(place) = named.and_then(|_| scenario::place(&words)) else {
            return Self::of(words);
        };
        let path = words.get(place).map(PathBuf::from).unwrap_or_default();
        let fault = |what: String| {
            let text = format!("{}: {what}\n", path.display());
            Self::command().error(ErrorKind::Io, text)
        };
        let text = read(&path).map_err(|error| fault(error.to_string()))?;
        let flags = scenario::flags(&text).map_err(|error| {
            Self::command().error(
                ErrorKind::InvalidValue,
                format!("{}:{error}\n", path.display()),
            )
        })?;
        let mut all = words;
        // A list on the command line replaces the whole list in the scenario file.
        let given = |word: &String| word == "--target" || word.starts_with("--target=");
        let overrides = all.iter().any(given);
        all.splice(
            2..2,
            flags.into_iter().filter(|flag| !(overrides && given(flag))),
        );
        Self::of(all)
    }

    fn of(words: Vec<String>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&program().try_get_matches_from(words)?)
    }
}

fn program() -> clap::Command {
    CommandLine::command()
        .mut_subcommand("run", |it| it.after_help(RUN_EXAMPLES))
        .mut_subcommand("plan", |it| it.after_help(PLAN_EXAMPLE))
        .mut_subcommand("report", |it| it.after_help(REPORT_EXAMPLES))
}

/// Headings for the flags of `run` and `plan` in the help text, in the order in which they are displayed.
const TARGET: &str = "Target";
const LOAD: &str = "Load";
const CHANNELS: &str = "Signatures and channels";
const MACHINES: &str = "Processes and machines";
const SERVER: &str = "CPU and memory of the server";
const REPORT: &str = "Report";

const RUN_EXAMPLES: &str = "\
Examples:
  loadgen run --target http://127.0.0.1:8443 --rate 100 --duration 30 --html report.html
  loadgen run --target http://127.0.0.1:8443 --mode storm --channels 5000";

const PLAN_EXAMPLE: &str = "\
Example:
  loadgen plan --target http://127.0.0.1:8443 --mode idle --channels 50000";

const REPORT_EXAMPLES: &str = "\
Examples:
  loadgen report before.json after.json --html both.html
  loadgen report --merge part-1.json part-2.json --json whole.json";

/// Kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Masters and viewers exchange messages in a closed loop: CPU per message.
    Relay,
    /// Idle connections: memory per connection.
    Idle,
    /// Repeated connect, upgrade and close: CPU per connection.
    Connect,
    /// Sessions like those of real viewers, started on schedule: connect, offer, answer, candidates both ways, hold,
    /// disconnect.
    Sessions,
    /// All masters and viewers connect at once, as after a restart, and reconnect when they are refused
    /// or cut off.
    Storm,
}

impl Mode {
    /// Returns the name of the mode, as used on the command line and in the document.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Idle => "idle",
            Self::Connect => "connect",
            Self::Sessions => "sessions",
            Self::Storm => "storm",
        }
    }

    /// Returns whether sessions start on schedule, regardless of how the target performs.
    #[must_use]
    pub const fn is_open_loop(self) -> bool {
        match self {
            Self::Sessions | Self::Storm => true,
            Self::Relay | Self::Idle | Self::Connect => false,
        }
    }
}

/// Kernel interface used for connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum EngineChoice {
    /// Uses io_uring if available, otherwise epoll.
    #[default]
    Auto,
    /// Uses io_uring; the run fails if it is unavailable.
    IoUring,
    /// Uses epoll, which every Linux system supports.
    Epoll,
}

/// The flags of `loadgen run`, as given.
#[derive(Clone, Debug, Args, Serialize)]
#[command(args_override_self = true)]
pub struct Options {
    /// Scenario file (TOML; its keys are the names of flags); flags on the command line override it
    #[arg(value_name = "SCENARIO.toml")]
    pub scenario: Option<PathBuf>,
    /// URL of the service: http://, https://, ws:// or wss:// HOST[:PORT]; for several nodes, repeat the flag or
    /// separate with commas: parties are spread over the nodes, and move to the next one when they lose a connection
    #[arg(
        help_heading = TARGET,
        long = "target",
        value_name = "URL",
        required = true,
        value_delimiter = ','
    )]
    #[serde(rename = "target", serialize_with = "joined")]
    pub targets: Vec<String>,
    /// Another URL of the same service, used by a share of the sessions
    #[arg(long, help_heading = TARGET, value_name = "URL", requires = "tls_percent")]
    pub tls_target: Option<String>,
    /// Percentage of sessions that use --tls-target
    #[arg(long, help_heading = TARGET, value_name = "N", requires = "tls_target")]
    pub tls_percent: Option<u32>,
    /// Certificate authority (PEM) to trust instead of the system's
    #[arg(long, help_heading = TARGET, value_name = "FILE", conflicts_with = "insecure")]
    pub tls_ca: Option<PathBuf>,
    /// Accept any certificate (loopback only)
    #[arg(long, help_heading = TARGET)]
    pub insecure: bool,
    /// Resume TLS 1.3 sessions with the service's tickets, each used once; by default, every handshake is a full one
    #[arg(long, help_heading = TARGET)]
    pub resume: bool,
    /// Allow a target that is not on this machine
    #[arg(long, help_heading = TARGET)]
    pub i_own_this_target: bool,
    /// Confirm a load of more than 100 connections per second, or 1,000 concurrent connections, on another machine
    #[arg(long, help_heading = TARGET)]
    pub yes: bool,
    /// Kind of load
    #[arg(long, help_heading = LOAD, value_enum, default_value = "sessions")]
    pub mode: Mode,
    /// Number of channels, each with one master
    #[arg(long, help_heading = LOAD, value_name = "N", default_value_t = 100)]
    pub channels: u32,
    /// Number of viewers per channel; with --mode connect, only viewers connect, or only masters if this is 0
    #[arg(long, help_heading = LOAD, value_name = "V", default_value_t = 1)]
    pub viewers_per_channel: u32,
    /// Duration of the measured phase in seconds, during which sessions start (sessions) or connections are held
    /// (storm); defaults to 10 unless --sessions and --rate determine it
    #[arg(long, help_heading = LOAD, value_name = "S", value_parser = seconds)]
    pub duration: Option<f64>,
    /// Number of sessions (sessions)
    #[arg(long, help_heading = LOAD, value_name = "N")]
    pub sessions: Option<u32>,
    /// Maximum number of sessions started per second (sessions), by default 10 unless --sessions is given; messages
    /// sent per second by all peers together, on schedule instead of in a closed loop (relay)
    #[arg(long, help_heading = LOAD, value_name = "R")]
    pub rate: Option<f64>,
    /// Distribution of session starts over time (sessions)
    #[arg(long, help_heading = LOAD, value_enum, default_value = "steady")]
    pub arrival: ArrivalSchedule,
    /// Seconds that a session stays connected after its last message (sessions)
    #[arg(long, help_heading = LOAD, value_name = "S", default_value_t = 0.0)]
    pub hold: f64,
    /// Maximum number of seconds from a session's connect to its last message; messages that arrive later count as lost
    #[arg(long, help_heading = LOAD, value_name = "S", default_value_t = 20.0)]
    pub patience: f64,
    /// Number of ICE candidates sent by each side (sessions, storm)
    #[arg(long, help_heading = LOAD, value_name = "N", default_value_t = 4)]
    pub candidates: u32,
    /// Delay in milliseconds before each candidate of a side, after its answer or previous candidate; 0 sends all at
    /// once (sessions, storm)
    #[arg(long, help_heading = LOAD, value_name = "MS", default_value_t = 20)]
    pub trickle: u64,
    /// Payload length of offers and answers in characters, a multiple of 4; defaults to --payload
    #[arg(long, help_heading = LOAD, value_name = "BYTES")]
    pub sdp_payload: Option<usize>,
    /// Random seed; must be the same for all parts of a run
    #[arg(long, help_heading = LOAD, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Number of messages in flight from each peer to each counterpart (relay)
    #[arg(long, help_heading = LOAD, value_name = "N", default_value_t = 1)]
    pub window: u32,
    /// Payload length of each message in characters, a multiple of 4
    #[arg(long, help_heading = LOAD, value_name = "BYTES", default_value_t = 200)]
    pub payload: usize,
    /// Sign requests with the keys in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN
    #[arg(long, help_heading = CHANNELS, overrides_with = "no_auth")]
    pub presign: bool,
    /// Do not sign requests (the default)
    #[arg(long, help_heading = CHANNELS, overrides_with = "presign")]
    pub no_auth: bool,
    /// Before each session, request its endpoints and TURN servers by API calls on separate connections (for masters,
    /// only the endpoint), and connect to the returned endpoints (sessions, storm)
    #[arg(long, help_heading = CHANNELS)]
    pub discover: bool,
    /// Create the channels through the API before the run and delete them afterwards
    #[arg(long, help_heading = CHANNELS)]
    pub create_channels: bool,
    /// Region in the channels' ARNs
    #[arg(long, help_heading = CHANNELS, value_name = "NAME", default_value = "us-west-2")]
    pub region: String,
    /// Account id in the channels' ARNs
    #[arg(long, help_heading = CHANNELS, value_name = "ID", default_value = "123456789012")]
    pub account_id: String,
    /// Prefix of channel names, followed by a number
    #[arg(long, help_heading = CHANNELS, value_name = "TEXT", default_value = "loadgen-")]
    pub channel_prefix: String,
    /// Number of processes to split the run over
    #[arg(long, help_heading = MACHINES, value_name = "N", default_value_t = 1)]
    pub processes: u32,
    /// Part of the run for this machine: its channels and their sessions; the reports of all parts can be merged
    /// exactly
    #[arg(long, help_heading = MACHINES, value_name = "K/N", default_value = "1/1")]
    pub part: RunShare,
    /// Start the load at this time (UTC, such as 2026-01-31T23:59:59Z), so that parts on several machines start
    /// together; all connections should be open by then
    #[arg(long, help_heading = MACHINES, value_name = "TIME")]
    pub start_at: Option<PlannedMoment>,
    /// CPUs to use, each with one pinned thread, such as 1 or 0,2-3; by default, one unpinned thread
    #[arg(long, help_heading = MACHINES, value_name = "LIST", value_parser = cpu_list)]
    pub cores: Option<CpuList>,
    /// Kernel interface: auto (io_uring if available, otherwise epoll), io_uring or epoll
    #[arg(
        long,
        help_heading = MACHINES,
        value_enum,
        value_name = "ENGINE",
        hide_possible_values = true,
        default_value = "auto"
    )]
    pub engine: EngineChoice,
    /// Local addresses to connect from in rotation: ADDRESS/BITS (such as 127.0.1.1/24) or FIRST-LAST
    #[arg(long, help_heading = MACHINES, value_name = "RANGE")]
    pub source_addresses: Option<String>,
    /// Process id of the server on this machine, to measure its CPU time and memory
    #[arg(long, help_heading = SERVER, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Admin listener of the server (http://ADDRESS:PORT), to measure the CPU time and memory of a server on another
    /// machine
    #[arg(long, help_heading = SERVER, value_name = "URL", conflicts_with = "server_pid")]
    pub admin: Option<String>,
    /// File with the token for --admin; defaults to the file named by HELIOGRAPH_ADMIN_TOKEN_FILE
    #[arg(long, help_heading = SERVER, value_name = "FILE", requires = "admin")]
    pub token_file: Option<PathBuf>,
    /// Thresholds against which the report compares the measurements.
    #[command(flatten)]
    #[serde(flatten)]
    pub thresholds: ThresholdFlags,
    /// Version of the service, to be shown in the report
    #[arg(long, help_heading = REPORT, value_name = "TEXT")]
    pub service_version: Option<String>,
    /// Write all figures to this file as JSON
    #[arg(long, help_heading = REPORT, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write an HTML page with plots to this file
    #[arg(long, help_heading = REPORT, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print only errors, and one line that explains a nonzero exit code
    #[arg(long, help_heading = REPORT)]
    pub quiet: bool,
    /// Run as one of several processes: report progress on standard output and wait for the start time on standard
    /// input
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub in_step: bool,
}

fn joined<S: serde::Serializer>(targets: &[String], out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&targets.join(","))
}

/// Thresholds that a run should meet. The report highlights missed ones in color.
///
/// Latency thresholds apply to the headline latency of the verdict: from a session's start to its answer (sessions,
/// storm), of a message (relay), or of the upgrade (idle, connect).
#[derive(Clone, Copy, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Thresholds")]
pub struct ThresholdFlags {
    /// Threshold for the median latency in milliseconds: from a session's start to its answer (sessions, storm), of a
    /// message (relay), or of the upgrade (idle, connect)
    #[arg(long, value_name = "MS")]
    pub p50_below: Option<f64>,
    /// Threshold for the 90th percentile latency, in milliseconds
    #[arg(long, value_name = "MS")]
    pub p90_below: Option<f64>,
    /// Threshold for the 99th percentile latency, in milliseconds
    #[arg(long, value_name = "MS")]
    pub p99_below: Option<f64>,
    /// Threshold for the 99.9th percentile latency, in milliseconds
    #[arg(long, value_name = "MS")]
    pub p999_below: Option<f64>,
    /// Threshold for the maximum latency, in milliseconds
    #[arg(long, value_name = "MS")]
    pub max_below: Option<f64>,
    /// Threshold for the percentage of failed sessions, or of failed connections in modes without sessions
    #[arg(long, value_name = "PERCENT")]
    pub failed_below: Option<f64>,
    /// Exit with code 4 if a threshold is missed and the run was otherwise successful; a figure that was not measured
    /// counts as missed
    #[arg(long)]
    pub fail_on_threshold: bool,
}

/// A nonempty list of CPU numbers in ascending order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CpuList(pub Vec<usize>);

fn cpu_list(text: &str) -> Result<CpuList, String> {
    let wrong = || format!("{text}: expected CPU numbers below {CPUS_MAX}, such as 1 or 0,2-3");
    let mut list = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().map_err(|_| wrong())?;
        let last: usize = last.parse().map_err(|_| wrong())?;
        if first > last || last >= CPUS_MAX {
            return Err(wrong());
        }
        list.extend(first..=last);
    }
    list.sort_unstable();
    list.dedup();
    Ok(CpuList(list))
}

/// Maximum number of CPUs in a list: the size of the kernel's default CPU mask.
const CPUS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_time_with_a_unit_the_seconds_are_told() {
        let wrong = |text: &str| Err(format!("expected a number of seconds{text}"));
        assert_eq!((seconds("2.5"), seconds("2m")), (Ok(2.5), wrong(": 120")));
        assert_eq!((seconds("x"), seconds("")), (wrong(""), wrong("")));
    }

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list("3,0-1,1"), Ok(CpuList(vec![0, 1, 3])));
        assert!(cpu_list("").is_err() && cpu_list("1024").is_err());
    }

    #[test]
    fn every_flag_of_a_run_is_in_a_group_and_the_examples_are_taken() {
        let program = program();
        let run = program.find_subcommand("run").unwrap();
        let lost = |flag: &&clap::Arg| {
            !flag.is_positional() && !flag.is_hide_set() && flag.get_help_heading().is_none()
        };
        let lost: Vec<_> = run
            .get_arguments()
            .filter(lost)
            .map(clap::Arg::get_id)
            .collect();
        assert!(lost.is_empty(), "{lost:?}");
        for text in [RUN_EXAMPLES, PLAN_EXAMPLE, REPORT_EXAMPLES] {
            for example in text.lines().skip(1) {
                let words = example.split_whitespace().map(str::to_owned).collect();
                assert!(CommandLine::of(words).is_ok(), "{example}");
            }
        }
    }
}
