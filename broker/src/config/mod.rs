//! From flags and file to [`Settings`]: what may be written, what it must satisfy, and what everybody else reads.
//!
//! In reading order: `settings` and `quotas` (the result), `flags` (the command line), `file` (every key with its range), `check` (rules
//! that join keys), `credentials` (who may do what: a file of its own), `document` and `value` (how a text is read), `summary`, `error`, `cpus`.
//!
//! All faults are found in one go. Nothing outside this folder knows that there was a file.

mod check;
mod cpus;
mod credentials;
mod credentials_files;
mod credentials_summary;
mod document;
mod error;
mod file;
mod flags;
mod json;
mod quotas;
mod settings;
mod summary;
mod value;

pub use cpus::Cpus;
pub use credentials::{Loaded, load_credentials};
pub use credentials_summary::credentials_summary;
pub use error::{ConfigError, Fault, Place};
pub use flags::{AdminFlag, Arguments, Command, CpuList, PresignFlags, ServeFlags};
pub use json::json;
pub use settings::{
    Admin, Advertise, Auth, Ice, IceCredential, Limits, Listen, LogFormat, Options, Profile,
    Quotas, Rate, Scheme, Settings, Timeouts, TlsFiles,
};
pub use summary::summary;

use check::Purpose;
use document::Reader;
use std::path::Path;

/// The settings of `broker serve`: the file that the flags name, overridden by the flags.
///
/// # Errors
/// Every fault of the file and the flags, and every rule that they break together.
pub fn load(flags: &ServeFlags, machine: &Cpus) -> Result<Settings, ConfigError> {
    match &flags.config {
        Some(path) => settle(Some(path), &content(path)?, flags, Purpose::Serve, machine),
        None => settle(None, "", flags, Purpose::Serve, machine),
    }
}

/// The settings that a file alone gives: `broker check-config`. What flags can still add is not asked for.
///
/// # Errors
/// Every fault of the file.
pub fn check_file(path: &Path, machine: &Cpus) -> Result<Settings, ConfigError> {
    check_text(path, &content(path)?, machine)
}

/// Like [`check_file`], with the file's content at hand.
///
/// # Errors
/// Every fault of the text.
pub fn check_text(path: &Path, text: &str, machine: &Cpus) -> Result<Settings, ConfigError> {
    settle(
        Some(path),
        text,
        &ServeFlags::default(),
        Purpose::Check,
        machine,
    )
}

/// Like [`load`], with the file's content at hand.
///
/// # Errors
/// Every fault of the text and the flags.
pub fn load_text(
    path: &Path,
    text: &str,
    flags: &ServeFlags,
    machine: &Cpus,
) -> Result<Settings, ConfigError> {
    settle(Some(path), text, flags, Purpose::Serve, machine)
}

fn settle(
    file: Option<&Path>,
    text: &str,
    flags: &ServeFlags,
    purpose: Purpose,
    machine: &Cpus,
) -> Result<Settings, ConfigError> {
    let mut reader = Reader::new(text);
    let document = reader.parse();
    if !reader.faults.is_empty() {
        return Err(ConfigError::new(file, reader.faults)); // what a broken text means is anybody's guess
    }
    let written = document
        .get("profile")
        .and_then(|value| value.get_ref().as_str());
    let profile = flags
        .profile
        .or_else(|| written.and_then(|text| value::profile(text).ok()));

    let mut settings = Settings::new(profile.unwrap_or(Profile::Default), flags.dev);
    (settings.shards, settings.cpus) = (0, Vec::new());
    reader.document(&document, |top| file::read(top, &mut settings));
    file::override_by_flags(&mut settings, flags, &mut reader);
    settings.fewer_shards = settings.dev && settings.shards == 0;
    (settings.shards, settings.cpus) = machine.resolve(settings.shards, settings.cpus);
    let is_written = reader.place_of("limits.channels_per_account") != Place::Default;
    if settings.strict() && !is_written && LARGE_REGIONS.contains(&settings.region.as_str()) {
        settings.limits.channels_per_account = 10_000;
    }
    check::check(&settings, purpose, machine, &mut reader);
    if reader.faults.is_empty() {
        Ok(settings)
    } else {
        Err(ConfigError::new(file, reader.faults))
    }
}

/// Regions where an account may have twice as many channels. Source: KVS WebRTC service quotas, "CreateSignalingChannel".
const LARGE_REGIONS: [&str; 2] = ["us-east-1", "us-west-2"];

fn content(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| {
        let rule = format!("{}: cannot be read: {error}", path.display());
        let fault = Fault {
            place: Place::Default,
            key: String::new(),
            value: String::new(),
            rule,
        };
        ConfigError::new(Some(path), vec![fault])
    })
}
