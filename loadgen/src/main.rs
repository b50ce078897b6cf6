//! The binary `loadgen`: flags to plan, plan to run, run to report and exit code.

use clap::Parser;
use loadgen::edge::{machine, run, run_id};
use loadgen::options::{Command, CommandLine, Options};
use loadgen::report::{Report, Verdict};
use std::io::{self, Write};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Command::Run(options) = CommandLine::parse().command;
    match execute(&options) {
        Ok(verdict) => ExitCode::from(verdict.exit_code()),
        Err(error) => {
            // Nobody is left to be told if this fails.
            let _ = writeln!(io::stderr(), "loadgen: {error}");
            ExitCode::from(USAGE)
        }
    }
}

fn execute(options: &Options) -> Result<Verdict, Box<dyn std::error::Error>> {
    let plan = options.plan(run_id())?;
    let mut tell = |line: &str| {
        if !options.quiet {
            let _ = writeln!(io::stderr(), "{line}");
        }
    };
    let finished = run(&plan, options.server_pid, &mut tell)?;
    let machine = machine();
    let report = Report::new(options, &finished, &machine);
    if let Some(file) = &options.json {
        std::fs::write(file, report.json()?)
            .map_err(|error| format!("--json {}: {error}", file.display()))?;
    }
    if !options.quiet {
        write!(io::stdout(), "{report}")?;
    }
    Ok(Verdict::of(&finished))
}

/// Wrong usage, or limits of this machine.
const USAGE: u8 = 2;
