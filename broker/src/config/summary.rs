//! A readable summary of a configuration.

use crate::memory;
use broker_core::settings::Settings;
use broker_core::settings::value::Span;
use std::fmt::Write;

/// A few lines on the settings; no secrets.
#[must_use]
pub fn summary(settings: &Settings) -> String {
    let mut lines = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(lines, "{name:<12}{value}");
    };
    let listen: Vec<_> = settings.listen.iter().map(ToString::to_string).collect();
    let admin = settings
        .admin
        .listen
        .map_or_else(|| "off".to_owned(), |addr| format!("http://{addr}"));
    line("listen", listen.join(" "));
    line("admin", admin);
    line(
        "region",
        format!("{}, account {}", settings.region, settings.account_id),
    );
    line("profile", settings.profile.to_string());
    line("auth", settings.auth.to_string());
    line(
        "shards",
        format!("{} on CPUs {:?}", settings.shards, settings.cpus),
    );
    line(
        "data",
        format!(
            "{}, log {}",
            settings.data_dir.display(),
            settings.log_format
        ),
    );
    let limits = &settings.limits;
    line(
        "limits",
        format!(
            "payload {} B, message {} B, {} viewers a channel, {} connections",
            limits.payload_bytes,
            limits.message_bytes,
            limits.viewers_per_channel,
            limits.connections
        ),
    );
    let timeouts = &settings.timeouts;
    line(
        "timeouts",
        format!(
            "idle {}, drain {}",
            Span(timeouts.idle_ms),
            Span(timeouts.drain_ms)
        ),
    );
    line("ice", format!("{} servers", settings.ice.len()));
    line(
        "memory",
        memory::sum(&memory::budget(settings), &memory::records(settings)),
    );
    lines
}
