//! The `loadgen` binary. Parses the flags into a plan, runs it, prints the result and sets the exit code.

use loadgen::edge::{
    RunError, StartSignal, limits, machine, run, run_id, run_parts, word_of_stdin,
};
use loadgen::live::{LiveView, Part};
use loadgen::needs::Needs;
use loadgen::options::{CommandLine, LoadCommand, Options, Reports};
use loadgen::page::page;
use loadgen::result::table::{Paint, table};
use loadgen::result::{Document, Run, merge};
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let line = match CommandLine::read(words.clone(), |path| std::fs::read_to_string(path)) {
        Ok(line) => line,
        // Exit with 0 for `--help` and `--version`, and with 2 for errors.
        Err(error) => error.exit(),
    };
    let result = match &line.command {
        LoadCommand::Run(options) => execute(options, words.get(2..).unwrap_or_default()),
        LoadCommand::Plan(options) => plan(options),
        LoadCommand::Report(reports) => show(reports),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // If writing to stderr fails, there is nowhere to report it.
            let name = if io::stderr().is_terminal() {
                "error"
            } else {
                "loadgen"
            };
            let _ = writeln!(io::stderr(), "{name}: {error}");
            let code = error
                .downcast_ref::<RunError>()
                .map_or(USAGE, RunError::exit_code);
            ExitCode::from(code)
        }
    }
}

fn execute(options: &Options, flags: &[String]) -> Result<u8, Box<dyn Error>> {
    let plan = options.plan(run_id(), |name| std::env::var(name).ok())?;
    let mut view = LiveView::new(options.quiet);
    let document = if options.processes > 1 {
        let document = run_parts(options, flags, &mut view);
        view.end();
        document?
    } else {
        let (server, whole) = (options.server()?, options.document(&machine()));
        let document = if options.in_step {
            run(
                &plan,
                &whole,
                server,
                &word_of_stdin(),
                &mut Part(io::stdout()),
            )
        } else {
            let start = options
                .start_at
                .map_or(StartSignal::AtOnce, |at| StartSignal::At(at.0));
            run(&plan, &whole, server, &start, &mut view)
        };
        view.end();
        document?
    };
    let code = document.exit_code();
    if options.quiet && !options.in_step && code != 0 {
        writeln!(io::stderr(), "loadgen: {}", document.headline())?;
    }
    if let Some(file) = &options.json {
        write("--json", file, &document.json()?)?;
    }
    let run = Run {
        name: options.mode.name().to_owned(),
        document,
    };
    put(&[run], options.html.as_deref(), options.quiet)?;
    Ok(code)
}

fn plan(options: &Options) -> Result<u8, Box<dyn Error>> {
    let plan = options.plan(run_id(), |name| std::env::var(name).ok())?;
    let needs = Needs::of(options, &plan, limits());
    write!(io::stdout(), "{needs}")?;
    Ok(if needs.are_met() { 0 } else { USAGE })
}

fn show(reports: &Reports) -> Result<u8, Box<dyn Error>> {
    let mut runs = Vec::new();
    for file in &reports.files {
        let about = |error: &dyn Error| format!("{}: {error}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| about(&error))?;
        let document = Document::parse(&text).map_err(|error| about(&error))?;
        let name = file
            .file_stem()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        runs.push(Run { name, document });
    }
    if reports.merge {
        let parts: Vec<Document> = runs.into_iter().map(|run| run.document).collect();
        let document = merge(&parts)?;
        if let Some(file) = &reports.json {
            write("--json", file, &document.json()?)?;
        }
        let name = format!("{} parts", parts.len());
        runs = vec![Run { name, document }];
    }
    put(&runs, reports.html.as_deref(), false)?;
    // With a single report, its exit code becomes that of the program.
    Ok(match &runs[..] {
        [run] => run.document.exit_code(),
        _ => 0,
    })
}

fn put(runs: &[Run], html: Option<&Path>, quiet: bool) -> Result<(), Box<dyn Error>> {
    if let Some(file) = html {
        write("--html", file, &page(runs)?)?;
    }
    if !quiet {
        let paint = Paint::of(io::stdout().is_terminal());
        write!(io::stdout(), "{}", table(runs, paint))?;
    }
    Ok(())
}

fn write(flag: &str, file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("{flag} {}: {error}", file.display()))
}

const USAGE: u8 = 2;
