//! The binary `broker`: flags, configuration, then the server.

use broker::config::{self, Arguments, Command, Cpus, LogFormat, ServeFlags};
use broker::server::{self, Failure};
use broker::{side, tls_files};
use clap::Parser;
use std::io::Write;
use std::panic;
use std::path::Path;
use std::process::{self, ExitCode};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Command::Serve(flags) => serve(flags),
        Command::CheckConfig { file } => check_config(file),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn serve(flags: &ServeFlags) -> Result<(), Failure> {
    die_whole();
    // Before any thread is started: they inherit the mask.
    side::block_signals()
        .map_err(|error| Failure::Fatal(format!("signals cannot be blocked: {error}")))?;
    let settings = config::load(flags, &Cpus::of_this_process());
    let settings = settings.map_err(|error| Failure::Configuration(error.to_string()))?;
    log_to_stderr(settings.log_format);
    server::run(settings)
}

/// A thread that panics ends the process with exit code 1, in every build: half a server is worse than none.
fn die_whole() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        tell(what);
        process::exit(1);
    }));
}

fn check_config(file: &Path) -> Result<(), Failure> {
    let settings = config::check_file(file, &Cpus::of_this_process());
    let settings = settings.map_err(|error| Failure::Configuration(error.to_string()))?;
    if let Some(files) = &settings.tls {
        tls_files::server_config(files).map_err(Failure::Configuration)?;
    }
    let summary = config::summary(&settings);
    std::io::stdout()
        .write_all(summary.as_bytes())
        .map_err(|error| Failure::Fatal(format!("stdout: {error}")))
}

/// `RUST_LOG` sets what is logged; without it, what operators should know.
fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().init(),
    }
}
