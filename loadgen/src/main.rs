//! The binary `loadgen`: flags to plan, plan to run, run to report and exit code.

use loadgen::edge::{RunError, limits, machine, run, run_id, run_parts};
use loadgen::needs::Needs;
use loadgen::options::{Command, CommandLine, Options, Reports};
use loadgen::report::{Report, merge, table};
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let line = match CommandLine::read(words.clone(), |path| std::fs::read_to_string(path)) {
        Ok(line) => line,
        // Help and version end well; faults in 2.
        Err(error) => error.exit(),
    };
    let result = match &line.command {
        Command::Run(options) => execute(options, words.get(2..).unwrap_or_default()),
        Command::Plan(options) => plan(options),
        Command::Report(reports) => show(reports),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nobody is left to be told if this fails.
            let _ = writeln!(io::stderr(), "loadgen: {error}");
            let code = error
                .downcast_ref::<RunError>()
                .map_or(USAGE, RunError::exit_code);
            ExitCode::from(code)
        }
    }
}

fn execute(options: &Options, flags: &[String]) -> Result<u8, Box<dyn Error>> {
    let mut tell = |line: &str| {
        if !options.quiet {
            let _ = writeln!(io::stderr(), "{line}");
        }
    };
    let plan = options.plan(run_id(), |name| std::env::var(name).ok())?;
    let report = if options.processes > 1 {
        run_parts(options, flags)?
    } else {
        let finished = run(&plan, options.server_pid, &mut tell)?;
        Report::new(options, &finished, &machine())
    };
    if let Some(file) = &options.json {
        write(file, &report.json()?)?;
    }
    if !options.quiet {
        write!(io::stdout(), "{report}")?;
    }
    Ok(report.verdict.exit_code())
}

fn plan(options: &Options) -> Result<u8, Box<dyn Error>> {
    let plan = options.plan(run_id(), |name| std::env::var(name).ok())?;
    let needs = Needs::of(options, &plan, limits());
    write!(io::stdout(), "{needs}")?;
    Ok(if needs.are_met() { 0 } else { USAGE })
}

fn show(reports: &Reports) -> Result<u8, Box<dyn Error>> {
    let mut named = Vec::new();
    for file in &reports.files {
        let about = |error: &dyn Error| format!("{}: {error}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| about(&error))?;
        let report: Report = serde_json::from_str(&text).map_err(|error| about(&error))?;
        let name = file
            .file_stem()
            .map(|name| name.to_string_lossy().into_owned());
        named.push((name.unwrap_or_default(), report));
    }
    if reports.merge {
        let parts: Vec<Report> = named.into_iter().map(|(_, report)| report).collect();
        let whole = merge(&parts)?;
        if let Some(file) = &reports.json {
            write(file, &whole.json()?)?;
        }
        write!(io::stdout(), "{whole}")?;
        return Ok(whole.verdict.exit_code());
    }
    match &named[..] {
        [(_, report)] => write!(io::stdout(), "{report}")?,
        several => write!(io::stdout(), "{}", table(several))?,
    }
    Ok(0)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("--json {}: {error}", file.display()))
}

/// Wrong usage, or limits of this machine.
const USAGE: u8 = 2;
