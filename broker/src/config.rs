//! Reads [`Settings`] from flags and a file.
//!
//! The table [`KEYS`](broker_core::settings::KEYS) contains every key with its range, default and flag. The modules, in
//! reading order: `flags` (the command line), `help` (its help texts), `key_flags` (flags that override keys), `lan`
//! (what `--lan` and `--container` expand to), `file` (the configuration file), `rules` (rules across keys),
//! `credentials` (the credentials file), `document` (TOML parsing), `draft` (the settings read so far, with all
//! faults), `json` and `summary` (display of settings). This module also determines which CPUs the process may use.
//!
//! All faults are reported in one pass. No code outside this module ever sees the file.

mod credentials;
mod document;
mod draft;
mod file;
mod flags;
mod help;
mod json;
mod key_flags;
mod lan;
mod rules;
mod summary;

use crate::files;
use aws_lc_rs::digest::{SHA256, digest};
use broker_core::limits::SHARDS_MAX;
use broker_core::settings::{
    LogFormat, Oidc, Profile, Settings, channels_per_account_strict, value,
};
pub(crate) use credentials::last_line;
#[cfg(test)]
pub(crate) use credentials::read_lines;
pub use credentials::{Loaded, load_credentials};
use data_encoding::HEXLOWER;
use document::Document;
use draft::Findings;
pub use draft::{ConfigError, Draft, Fault, ValuePlace};
pub use flags::{
    AdminFlags, Arguments, BackupFlags, BundleFlags, ChannelsCommand, ChannelsFlags,
    ClusterCommand, ClusterFlags, Command, DoctorFlags, EnvFlags, EnvFormat, ForgetFlags,
    HookTestFlags, PolicyCommand, PolicyTestFlags, PresignFlags, ReportFlags, SeccompFlags,
    ServeFlags, TailFlags, TailLevel, ThingsCheckFlags, ThingsCommand, ThingsImportFlags,
    ThingsIssueFlags, TopFlags, TraceFlags, VersionFlags, WhyFlags,
};
pub use help::{completions, program};
pub use json::json;
pub use key_flags::KeyFlags;
use lan::Networks;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
pub use summary::{credentials_summary, summary};

/// Reads the settings of `heliograph serve` from the configuration file named by the flags. Flags override the file.
/// Does not read the files that the configuration names.
#[must_use]
pub fn draft(flags: &ServeFlags) -> Draft {
    let machine = &Cpus::of_this_process();
    let Some(path) = &flags.config else {
        return settle(None, "", flags, machine);
    };
    match files::read_text(path, FILE_BYTES_MAX) {
        Ok(read) => {
            let mut draft = settle(Some(path), &read.content, flags, machine);
            draft.sha256 = hex_sha256(read.content.as_bytes());
            draft
        }
        Err(error) => {
            let rule = format!("{}: cannot be read: {error}", path.display());
            let mut findings = Findings::default();
            findings.fault("", "", rule);
            Draft::new(Some(path), None, findings)
        }
    }
}

/// Returns the hexadecimal SHA-256 of a configuration file, or `None` if the file cannot be read.
pub(crate) fn sha256_of(file: &Path) -> Option<Box<str>> {
    let read = files::read_text(file, FILE_BYTES_MAX).ok()?;
    Some(hex_sha256(read.content.as_bytes()))
}

fn hex_sha256(content: &[u8]) -> Box<str> {
    HEXLOWER.encode(digest(&SHA256, content).as_ref()).into()
}

/// Returns the log format, which can be determined even if the configuration has faults.
#[must_use]
pub fn log_format(flags: &ServeFlags, draft: &Draft) -> LogFormat {
    let flag = flags
        .keys
        .text("log_format")
        .and_then(|text| text.parse().ok());
    let settings = draft.settings().map(|settings| settings.log_format);
    flag.or(settings).unwrap_or_default()
}

/// Reads the console accounts from the current configuration file, ignoring all other keys. `listen` is the address of
/// the process's admin listener, which determines the rules for accounts. It is passed in because a flag may have set
/// it. The error lists all faults in the accounts table.
pub(crate) fn accounts_of(
    file: &Path,
    listen: Option<SocketAddr>,
) -> Result<Option<Oidc>, ConfigError> {
    let keys = listen.map(|at| KeyFlags::of("admin.listen", at.to_string()));
    let draft = draft_of(file, "admin.oidc", keys.unwrap_or_default());
    Ok(draft.finish(Vec::new())?.admin.oidc)
}

/// Reads one table of the configuration file. Flags override the file. Ignores faults in other tables, since flags of
/// `serve` may correct them.
pub(crate) fn draft_of(file: &Path, table: &str, keys: KeyFlags) -> Draft {
    let flags = ServeFlags {
        config: Some(file.into()),
        keys,
        ..ServeFlags::default()
    };
    let mut draft = draft(&flags);
    draft.only(table);
    draft
}

/// Reads settings from a configuration file's text. Flags override the text. Does not read the files that the text
/// names.
///
/// # Errors
/// Returns all faults in the text and the flags.
pub fn load_text(
    path: &Path,
    text: &str,
    flags: &ServeFlags,
    machine: &Cpus,
) -> Result<Settings, ConfigError> {
    settle(Some(path), text, flags, machine).finish(Vec::new())
}

/// Checks the rules that involve several keys. On a reload, `settings` combines the file's new values with the old
/// values of keys that cannot change at runtime. The error lists all violations.
pub(crate) fn hold_together(settings: &Settings) -> Result<(), ConfigError> {
    let mut findings = Findings::default();
    rules::check(settings, &Cpus::of_this_process(), &mut findings);
    match findings.faults.is_empty() {
        true => Ok(()),
        false => Err(ConfigError::new(None, findings.faults)),
    }
}

fn settle(file: Option<&Path>, text: &str, flags: &ServeFlags, machine: &Cpus) -> Draft {
    let mut settings = Settings::default();
    let read = Document::new(text).read(|top| {
        let given = flags.keys.text("profile").or_else(|| top.peek("profile"));
        let profile = given.and_then(|text| value::word(text).ok());
        settings = Settings::new(profile.unwrap_or(Profile::Default), flags.dev);
        (settings.shards, settings.cpus) = (0, Vec::new());
        file::read(top, &mut settings);
    });
    let mut findings = match read {
        Ok(findings) => findings,
        Err(findings) => return Draft::new(file, None, findings),
    };
    settings.config = file.map(Path::to_path_buf);
    rules::certificate(&mut settings, &mut findings);
    flags.keys.apply(&mut settings, &mut findings);
    (settings.allow_remote, settings.open_try) = (flags.allow_remote, flags.open);
    if flags.container {
        lan::publish(&mut settings, &findings);
    }
    settings.accept_etcd = flags.accept_etcd;
    (settings.plain, settings.ready_file) = (flags.plain, flags.ready_file.clone());
    if let Some(wanted) = flags.lan {
        lan::apply(wanted, Networks::read(), &mut settings, &mut findings);
    }
    if settings.data_dir == Path::new(IN_MEMORY) {
        (settings.data_dir, settings.data_dir_ends) = (memory_directory(), true);
    }
    settings.fewer_shards = settings.dev && settings.shards == 0;
    (settings.shards, settings.cpus) = machine.resolve(settings.shards, settings.cpus);
    let is_written = findings.place_of("limits.channels_per_account") != ValuePlace::Default;
    if settings.strict() && !is_written {
        settings.limits.channels_per_account = channels_per_account_strict(&settings.region);
    }
    rules::check(&settings, machine, &mut findings);
    Draft::new(file, Some(settings), findings)
}

/// Returns the path of a new directory under `/dev/shm`. On machines without `/dev/shm`, startup chooses another
/// location.
fn memory_directory() -> PathBuf {
    let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = started.map_or(0, |since| since.as_nanos());
    Path::new("/dev/shm").join(format!("heliograph-{}-{nanos}", std::process::id()))
}

/// The value of `data_dir` that selects a directory in memory.
const IN_MEMORY: &str = ":memory:";

/// Maximum size of a configuration file in bytes. The documented sample is a hundred times smaller.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// The CPUs that the process may run on, and how many of them it may fully use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// The CPUs in the affinity mask, in ascending order. Never empty.
    pub allowed: Vec<usize>,
    /// The number of CPUs in the mask or the cgroup's CPU quota (cgroup v1 or v2), whichever is smaller. At least 1.
    pub count: usize,
}

impl Cpus {
    /// Reads the affinity mask from `/proc/self/status`, and gets the quota from the standard library. Without `/proc`,
    /// assumes that the CPUs are numbered consecutively from 0.
    #[must_use]
    pub fn of_this_process() -> Self {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let allowed = allowed(&status).unwrap_or_else(|| (0..count).collect());
        Self { allowed, count }
    }

    /// Returns `shards` and `cpus`, replacing a 0 or an empty list with this machine's default.
    pub(crate) fn resolve(&self, shards: usize, cpus: Vec<usize>) -> (usize, Vec<usize>) {
        let cpus = match cpus.is_empty() {
            true => self.allowed.clone(),
            false => cpus,
        };
        let shards = match shards {
            0 => self.count.min(cpus.len()).clamp(1, SHARDS_MAX),
            written => written,
        };
        (shards, cpus)
    }
}

fn allowed(status: &str) -> Option<Vec<usize>> {
    let mut lists = status.lines();
    let list = lists.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    value::cpus(list?.trim()).ok()
}

#[cfg(test)]
mod cpus_tests {
    use super::*;

    #[test]
    fn the_mask_is_read() {
        let status =
            "Name:\tbroker\nCpus_allowed:\tf\nCpus_allowed_list:\t0-1,4\nMems_allowed:\t1\n";
        assert_eq!(allowed(status), Some(vec![0, 1, 4]));
        assert_eq!(allowed("Name:\tbroker\n"), None);
    }

    #[test]
    fn this_process_may_use_some() {
        let cpus = Cpus::of_this_process();
        assert!(!cpus.allowed.is_empty() && cpus.count >= 1);
    }

    #[test]
    fn shards_follow_the_quota_the_list_or_the_operator() {
        let machine = Cpus {
            allowed: vec![2, 3, 6, 7],
            count: 3,
        };
        assert_eq!(machine.resolve(0, vec![]), (3, vec![2, 3, 6, 7]));
        assert_eq!(machine.resolve(0, vec![6, 7]), (2, vec![6, 7]));
        assert_eq!(machine.resolve(8, vec![6, 7]), (8, vec![6, 7]));
    }
}
