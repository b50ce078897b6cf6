//! Log lines, all on stderr: what operators should know, and nothing per message.

use crate::config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Sends log lines to stderr from here on. `RUST_LOG` sets what is logged; without it, `info` and above.
///
/// # Panics
/// When it is called twice in a process.
pub fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().init(),
    }
}
