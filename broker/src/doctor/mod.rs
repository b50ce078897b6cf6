//! `heliograph doctor`: what keeps a broker from running on this machine, or may before long, a line each with the
//! remedy. It leaves nothing behind, and does not disturb a broker that runs.
//!
//! In reading order: this page; `line`; `machine` (kernel, limits, CPUs, clock), `files` (configuration, certificate,
//! data directory), `running` (the broker that runs, or the ports that one would need).

mod files;
mod line;
mod machine;
mod running;

use crate::admin_client::AdminListener;
use crate::config::{self, Cpus, DoctorFlags, ServeFlags};
use crate::failure::Failure;
use crate::finding::{Level, count};
use crate::terminal::{json, write};
use crate::{cluster_admin, server};
use broker_core::settings::Settings;
use line::{Line, word};
use serde_json::json;
use std::io::{self, Write};
use std::time::SystemTime;

/// Looks at everything, and prints a line each; with `--ready` only asks the broker that runs.
///
/// # Errors
/// [`Failure::Configuration`] when something must be set right, [`Failure::Fatal`] after a warning, or when the broker
/// that was asked is not ready.
pub fn run(flags: &DoctorFlags, out: &mut dyn Write) -> Result<(), Failure> {
    if flags.ready {
        return running::ready(&AdminListener::of(&flags.asked)?.at_once(), out);
    }
    let lines = lines(flags);
    let text = if flags.json {
        format!("{}\n", json(&document(&lines)))
    } else {
        lines.iter().map(Line::text).collect()
    };
    write(out, &text)?;
    let findings: Vec<_> = lines.into_iter().map(|line| line.finding).collect();
    let warnings = count(&findings, Level::Warning, "warning");
    match (count(&findings, Level::Error, "failure"), warnings) {
        (None, None) => Ok(()),
        (None, Some(warnings)) => Err(Failure::Fatal(warnings)),
        (Some(failures), None) => Err(Failure::Configuration(failures)),
        (Some(failures), Some(warnings)) => {
            Err(Failure::Configuration(format!("{failures}, {warnings}")))
        }
    }
}

fn lines(flags: &DoctorFlags) -> Vec<Line> {
    let config = flags.asked.config.as_deref();
    let flags_of_serve = ServeFlags {
        dev: config.is_none(),
        config: config.map(Into::into),
        ..ServeFlags::default()
    };
    let cpus = Cpus::of_this_process();
    let mut lines = machine::of_kernel();
    lines.push(machine::clock());
    let draft = config::draft(&flags_of_serve, &cpus);
    match server::check(draft, SystemTime::now()) {
        Err(error) => lines.extend(files::faults(&error)),
        Ok(checked) => {
            lines.extend(files::of_configuration(config, &checked));
            let settings = &checked.settings;
            lines.push(machine::descriptors(settings));
            lines.push(machine::cpus(settings, &cpus));
            lines.extend(files::of_data_dir(&settings.data_dir));
            lines.extend(of_broker(flags, settings));
            if let Some(config) = config.filter(|_| settings.cluster.etcd.is_on()) {
                lines.extend(of_cluster(config));
            }
        }
    }
    lines
}

/// The broker that runs with this configuration; else whether one could.
fn of_broker(flags: &DoctorFlags, settings: &Settings) -> Vec<Line> {
    let is_asked = settings.admin.listen.is_some() || flags.asked.admin.is_some();
    let asked = is_asked.then(|| AdminListener::of(&flags.asked).map(AdminListener::at_once));
    match asked.map(|asked| asked.map(|asked| (running::status(&asked), asked))) {
        Some(Err(failure)) => return vec![Line::error("broker", failure.to_string())],
        Some(Ok((Ok(status), asked))) => return running::of_running(&asked, &status, settings),
        Some(Ok((Err(error), asked))) if error.kind() == io::ErrorKind::TimedOut => {
            let text = format!("http://{}: {error}", asked.host);
            return vec![Line::error("broker", text)];
        }
        Some(Ok((Err(_), _))) | None => {}
    }
    let mut lines = vec![
        Line::ok("broker", "none answers with this configuration"),
        machine::shards(settings),
        files::of_lock(&settings.data_dir),
    ];
    let is_free = lines.iter().all(|line| line.finding.level != Level::Error);
    if is_free {
        lines.extend(files::of_contents(&settings.data_dir));
    }
    lines.extend(running::of_ports(settings));
    lines
}

fn of_cluster(config: &std::path::Path) -> Vec<Line> {
    let check = "cluster";
    match cluster_admin::findings(config) {
        Ok(findings) => {
            let lines = findings.into_iter();
            lines.map(|finding| Line { check, finding }).collect()
        }
        Err(failure) => vec![Line::error(check, failure.to_string())],
    }
}

/// `{"checks":[{"check":"kernel","level":"ok","text":"…"}],"level":"ok"}`, where the last is the worst of all.
fn document(lines: &[Line]) -> serde_json::Value {
    let worst = lines.iter().map(|line| line.finding.level).max();
    let checks: Vec<_> = lines
        .iter()
        .map(|Line { check, finding }| {
            json!({ "check": check, "level": word(finding.level), "text": finding.text })
        })
        .collect();
    json!({ "checks": checks, "level": word(worst.unwrap_or(Level::Ok)) })
}
