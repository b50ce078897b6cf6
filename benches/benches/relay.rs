//! End-to-end comparison of the broker with its rivals: the cost of a message, a connection and an idle connection for
//! each server process.
//!
//! ```text
//! cargo bench -p benches --bench relay                                     # all cases, all servers
//! cargo bench -p benches --bench relay -- --case connect --rounds 5        # one case
//! cargo bench -p benches --bench relay -- --broker before=PATH             # another binary of the broker beside ours
//! cargo bench -p benches --bench relay -- --test                           # only that all run and answer right
//! cargo run -p benches --bin compare -- BEFORE.json AFTER.json             # two records side by side
//! ```
//! Servers and driver are release binaries, which are built first; servers and driver have one core each. Each round
//! runs all servers in turn. The record contains the machine and the figures of all rounds; the table shows the best
//! figure, the median, the median user time, and ratios of the best figures.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use benches::compare::case::Case;
use benches::compare::record::Record;
use benches::compare::run::{Terms, run};
use benches::compare::server::{Programs, Server, cores};
use benches::compare::table::{BROKER, Table};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{fs, io, thread};

#[derive(Debug, Parser)]
struct Options {
    /// Run only cases whose names contain this text: pairs, bursts, fan-in, sdp, connect, idle, many, open-2000,
    /// open-20000, session, light, latency, calls, resume; pairs, connect and idle with -tls; connect and session with
    /// -signed
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// Run only this case; repeatable
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    /// Run only servers whose names begin with this text; repeatable
    #[arg(long, value_name = "NAME")]
    server: Vec<String>,
    /// Compare with another binary of the broker; repeatable
    #[arg(long, value_name = "NAME=PATH")]
    broker: Vec<String>,
    /// Number of rounds
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// Measured time of each round, in seconds
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// File for the record [default: benches/record/DATE-relay.json]
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Only check that all cases run and all answers are right, without measuring
    #[arg(long)]
    test: bool,
    /// Set by cargo when it runs benches
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = if options.test || !options.bench {
        check(&options)
    } else {
        measure(&options)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("relay: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs each case briefly on each server, without measuring.
fn check(options: &Options) -> io::Result<()> {
    let target = target();
    let programs = Programs::build(&target, false)?;
    let (cases, servers) = chosen(options, &programs, &target)?;
    let terms = Terms {
        seconds: 0.2,
        is_small: true,
        cores: None,
    };
    let (terms, programs, cases) = (&terms, &programs, &cases);
    thread::scope(|scope| {
        let all: Vec<_> = servers
            .iter()
            .map(|server| {
                let directory = target.join("relay").join(&server.name);
                scope.spawn(move || {
                    let mut taken = cases.iter().filter(|case| server.takes(case));
                    taken.try_for_each(|case| {
                        let report = run(server, case, terms, programs, &directory)?;
                        let figure = report.pointer(case.figure.pointer());
                        let value = figure.and_then(serde_json::Value::as_f64);
                        let (server, case) = (&server.name, &case.name);
                        value
                            .map(|_| println!("{case}, {server}: ok"))
                            .ok_or_else(|| {
                                io::Error::other(format!("{case}, {server}: no figure in {report}"))
                            })
                    })
                })
            })
            .collect();
        all.into_iter()
            .try_for_each(|server| server.join().expect("a check does not panic"))
    })
}

fn measure(options: &Options) -> io::Result<()> {
    let target = target();
    let programs = Programs::build(&target, true)?;
    let (cases, servers) = chosen(options, &programs, &target)?;
    let cores = cores()?;
    let terms = Terms {
        seconds: options.seconds,
        is_small: false,
        cores: Some(cores),
    };
    let directory = target.join("relay").join("measured");
    let mut record = Record {
        seconds: options.seconds,
        cores,
        compiler: compiler(),
        ..Record::default()
    };
    for case in &cases {
        println!("{}: {}", case.name, case.what);
        for _ in 0..options.rounds {
            for server in servers.iter().filter(|server| server.takes(case)) {
                let report = match run(server, case, &terms, &programs, &directory) {
                    Ok(report) => report,
                    // A server that fails gets no figure; the others are still compared.
                    Err(error) => {
                        println!("  {error}");
                        continue;
                    }
                };
                if record.started.is_empty() {
                    record.started = report["started"].as_str().unwrap_or_default().to_owned();
                    record.machine = report["machine"].clone();
                }
                let figure = report.pointer(case.figure.pointer());
                if let Some(value) = figure.and_then(serde_json::Value::as_f64) {
                    record.add(&case.name, &server.name, case.figure.unit(), value);
                    let share = report["user_share"].as_f64();
                    if let Some(share) = share.filter(|_| case.figure.is_cpu_time()) {
                        record.add_user(&case.name, &server.name, value * share);
                    }
                    if let Some(us) = report.pointer(LATENESS).and_then(serde_json::Value::as_f64) {
                        record.add_lateness(&case.name, &server.name, us);
                    }
                }
            }
        }
    }
    println!("{}", Table(&record));
    let path = options.record.clone().unwrap_or_else(|| {
        let date = record.started.get(..10).unwrap_or("unknown");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/record");
        Path::new(folder).join(format!("{date}-relay.json"))
    });
    record.write(&path)?;
    println!("record: {}", path.display());
    Ok(())
}

fn chosen(
    options: &Options,
    programs: &Programs,
    target: &Path,
) -> io::Result<(Vec<Case>, Vec<Server>)> {
    let mut cases = Vec::new();
    for name in &options.case {
        let case = Case::of(name);
        cases.push(case.ok_or_else(|| io::Error::other(format!("--case {name}: there is none")))?);
    }
    if cases.is_empty() {
        cases.extend(Case::all());
    }
    let filter = options.filter.as_deref().unwrap_or_default();
    cases.retain(|case| case.name.contains(filter));
    let mut servers = vec![Server::broker(BROKER, programs.broker.clone())];
    let dev = format!("{BROKER}-dev");
    servers.push(Server::dev(&dev, programs.broker.clone()));
    let two = format!("{BROKER}-two-shards");
    servers.push(Server::two_shards(&two, programs.broker.clone()));
    let on_epoll = format!("{BROKER}-epoll");
    servers.push(Server::on_epoll(&on_epoll, programs.broker.clone()));
    for other in &options.broker {
        let (name, path) = other
            .split_once('=')
            .ok_or_else(|| io::Error::other(format!("--broker {other}: expected NAME=PATH")))?;
        let path = fs::canonicalize(path)?;
        servers.push(Server::broker(&format!("{BROKER}-{name}"), path));
    }
    let clients = std::env::var_os("HELIOGRAPH_CLIENTS").map(PathBuf::from);
    servers.extend(Server::rivals(
        &clients.unwrap_or_else(|| target.join("clients")),
    ));
    if !options.server.is_empty() {
        let wanted = |server: &Server| {
            let mut names = options.server.iter();
            names.any(|name| server.name.starts_with(name.as_str()))
        };
        servers.retain(wanted);
    }
    Ok((cases, servers))
}

fn target() -> PathBuf {
    let profile = Path::new(env!("CARGO_BIN_EXE_rival")).parent();
    profile
        .and_then(Path::parent)
        .map_or_else(|| "target".into(), Path::to_path_buf)
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}

const LATENESS: &str = "/schedule_lag_us/p99";
