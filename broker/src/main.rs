//! The `heliograph` binary. Parses the flags, loads the configuration, then runs the server.

use broker::commands::{
    backup, bundle, cluster, devices, doctor, env, forget, hook_test, policy_test, presign, report,
    seccomp, tail, top, trace, why,
};
use broker::config::{self, Arguments, Command, ConfigError, ServeFlags};
use broker::server;
use broker::{Failure, Screen, channels, print, say, side, version};
use broker_core::settings::{LogFormat, LogLevel};
use std::io::stdout;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // This must come first, since the setting does not affect memory that is already in use.
    side::avoid_huge_pages();
    let arguments = Arguments::of_process();
    let result = match &arguments.command {
        Command::Serve(flags) => match serve(flags) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Command::CheckConfig { file, flags } => check_config(file, flags),
        Command::Doctor(flags) => doctor::run(flags, &mut stdout(), Screen::stdout()),
        Command::Presign(flags) => presign::run(flags).and_then(|text| print(&text)),
        Command::Backup(flags) => backup::run(flags).and_then(|text| print(&text)),
        Command::Bundle(flags) => bundle::run(flags).and_then(|text| print(&text)),
        Command::Report(flags) => report::run(flags, &mut stdout()),
        Command::Channels(flags) => channels::run(flags, &mut stdout()),
        Command::Things(command) => devices::run(command, &mut stdout()),
        Command::Why(flags) => why::run(flags, Screen::stdout()).and_then(|text| print(&text)),
        Command::Forget(flags) => forget::run(flags, &mut stdout()),
        Command::Tail(flags) => tail::run(flags, &mut stdout(), Screen::stdout()),
        Command::Top(flags) => top::run(flags, &mut stdout(), Screen::stdout()),
        Command::Completions { shell } => print(&config::completions(*shell)),
        Command::Policy(command) => match policy_test::run(command, &mut stdout()) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(failure) => Err(failure),
        },
        Command::HookTest(flags) => hook_test(flags).and_then(|text| print(&text)),
        Command::Env(flags) => env::run(flags).and_then(|text| print(&text)),
        Command::SeccompProfile(flags) => seccomp::run(flags).and_then(|text| print(&text)),
        Command::Version(flags) => print(&version::text(flags)),
        Command::Trace(flags) => trace::run(flags, &mut stdout(), Screen::stdout()),
        Command::Cluster(flags) => cluster::run(flags, &mut stdout()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&Screen::stderr().failure(&failure).trim_end());
            ExitCode::from(failure.code())
        }
    }
}

fn serve(flags: &ServeFlags) -> Result<ExitCode, Failure> {
    side::end_on_panic();
    side::forbid_core_files();
    // This must come before any thread is spawned, since threads inherit the signal mask.
    side::block_signals()
        .map_err(|error| Failure::Fatal(format!("signals cannot be blocked: {error}")))?;
    let draft = config::draft(flags);
    let format = config::log_format(flags, &draft);
    let checked = server::check_start(draft, SystemTime::now());
    // On a developer's terminal, shows only lines that require action, unless `--verbose` is given.
    let is_quiet = flags.dev && !flags.verbose && Screen::stderr().is_terminal();
    let level = match &checked {
        Ok(checked) if !is_quiet || checked.settings.log_level != LogLevel::Info => {
            checked.settings.log_level
        }
        _ if is_quiet => LogLevel::Warn,
        _ => LogLevel::Info,
    };
    let log = side::log_to_stderr(format, level.into())
        .map_err(|error| Failure::Fatal(format!("the log cannot be written: {error}")))?;
    let checked = checked.map_err(|error| refusal(&error, flags.dev));
    let ended = checked.and_then(|checked| {
        for notice in &checked.notices {
            tracing::warn!("{notice}");
        }
        server::run(&checked, flags, &log)
    });
    let result = match ended {
        // Programs that read JSON logs expect no other lines.
        Err(failure) if format == LogFormat::Json => {
            let code = failure.code();
            tracing::error!(code, "{failure}");
            Ok(ExitCode::from(code))
        }
        ended => ended.map(|()| ExitCode::SUCCESS),
    };
    log.flush(FLUSH_MAX);
    result
}

/// Returns the failure to report for an invalid configuration. If only credentials are missing, its message suggests
/// `--dev`.
fn refusal(error: &ConfigError, dev: bool) -> Failure {
    let lacks_credentials = error.faults().iter().any(|fault| fault.key == "auth");
    let hint = if lacks_credentials && !dev {
        "\nTo try it: heliograph serve --dev"
    } else {
        ""
    };
    Failure::Configuration(format!("{}{hint}", told(error)))
}

/// Formats a configuration's faults. On a terminal, also shows the affected lines of the file.
fn told(error: &ConfigError) -> String {
    if Screen::stderr().is_terminal() {
        error.marked()
    } else {
        error.to_string()
    }
}

fn check_config(file: &Path, flags: &ServeFlags) -> Result<(), Failure> {
    if flags.config.is_some() {
        let rule = "check-config takes the file as its argument: heliograph check-config FILE";
        return Err(Failure::Configuration(rule.into()));
    }
    let flags = ServeFlags {
        config: Some(file.into()),
        ..flags.clone()
    };
    let checked = server::check(config::draft(&flags), SystemTime::now());
    let checked = checked.map_err(|error| Failure::Configuration(told(&error)))?;
    let unadvertised = checked.settings.unadvertised();
    let warnings = checked.warnings.iter().chain(&checked.notices);
    for warning in warnings.chain(&unadvertised) {
        say(warning);
    }
    let principals = checked.credentials.as_ref().map(|it| &*it.credentials);
    let mut summary = config::summary(&checked.settings, principals);
    if let Some(loaded) = &checked.credentials {
        summary.push_str(&config::credentials_summary(loaded));
    }
    print(&summary)
}

/// Maximum time that shutdown waits for a blocked stderr. It waits at most three times.
const FLUSH_MAX: std::time::Duration = std::time::Duration::from_millis(500);
