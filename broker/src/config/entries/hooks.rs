//! The entries of `[[hook]]`.

use crate::config::document::{Raw, Section, list, text};
use crate::hooks::address;
use broker_core::settings::value::{self, Checked};
use broker_core::settings::{HOOKS_MAX, Hook, Settings};
use std::path::PathBuf;

/// Reads the entry of this place, if it has what an entry needs.
pub(crate) fn read(nth: usize, section: &mut Section<'_, '_>, settings: &mut Settings) {
    if nth == HOOKS_MAX {
        section.fault(format!("allowed at most {HOOKS_MAX} hooks"));
    }
    let others: Vec<_> = settings.hooks.iter().map(|hook| &*hook.name).collect();
    let name = section.text("name", |text| name(text, &others));
    let allow_plain = section.read("allow_plain", switch).unwrap_or(false);
    let url = section.text("url", |text| address::check(text, allow_plain));
    let events = section.read("events", events);
    let channels = section.text("channels", pattern);
    let tag = section.text("tag", tag);
    let secret_file = section.text("secret_file", path);
    let client_cert: Option<PathBuf> = section.text("client_cert", path);
    let client_key: Option<PathBuf> = section.text("client_key", path);
    let ca = section.text("ca", path);
    let timeout = section.text("timeout", |text| value::duration(text, TIMEOUT_MS));
    let retry = section.text("retry_for", |text| value::duration(text, RETRY_MS));
    let include = section.read("include", include).unwrap_or_default();
    if section.has("client_cert") != section.has("client_key") {
        section.fault("allowed client_cert and client_key together");
    }
    if !section.has("channels") && !section.has("tag") {
        section.fault("allowed entries with channels, tag or both");
    }
    for key in ["name", "url", "events", "secret_file"] {
        if !section.has(key) {
            section.fault("allowed entries with name, url, events and secret_file");
            break;
        }
    }
    let needed = (name, url, events, secret_file);
    let (Some(name), Some(url), Some((wakes, presence)), Some(secret_file)) = needed else {
        return;
    };
    settings.hooks.push(Hook {
        name,
        url: url.into(),
        wakes,
        presence,
        channels,
        tag,
        secret_file,
        client: client_cert.zip(client_key),
        ca,
        timeout_ms: timeout.unwrap_or(TIMEOUT_MS_DEFAULT),
        retry_ms: retry.unwrap_or(RETRY_MS_DEFAULT),
        include_remote: include.contains(&"remote"),
        include_client_id: include.contains(&"client_id"),
        allow_plain,
    });
}

fn name(text: &str, others: &[&str]) -> Checked<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(plain) {
        return Err(format!(
            "allowed 1 to {NAME_BYTES_MAX} of the characters a-z A-Z 0-9 _ . -"
        ));
    }
    if others.contains(&text) {
        return Err("allowed a name that no other hook has".into());
    }
    Ok(text.into())
}

fn events(value: &Raw<'_>) -> Checked<(bool, bool)> {
    let one = |text: &str| match text {
        "wake" => Ok((true, false)),
        "presence" => Ok((false, true)),
        _ => Err("allowed wake, presence".to_owned()),
    };
    let events = list(value, 1, "events: wake, presence", |event| text(event, one))?;
    Ok(events
        .iter()
        .fold((false, false), |all, one| (all.0 | one.0, all.1 | one.1)))
}

fn include<'d>(value: &'d Raw<'d>) -> Checked<Vec<&'static str>> {
    let one = |text: &str| match text {
        "remote" => Ok("remote"),
        "client_id" => Ok("client_id"),
        _ => Err("allowed remote, client_id".to_owned()),
    };
    list(value, 0, "remote, client_id", |entry| text(entry, one))
}

fn pattern(text: &str) -> Checked<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-*".contains(&byte);
    if text.is_empty() || text.len() > PATTERN_BYTES_MAX || !text.bytes().all(plain) {
        return Err(format!(
            "allowed 1 to {PATTERN_BYTES_MAX} of the characters of a channel's name, and * for any text"
        ));
    }
    Ok(text.into())
}

fn tag(text: &str) -> Checked<(String, String)> {
    let parts = text.split_once('=');
    let parts = parts.filter(|(key, _)| !key.is_empty());
    let (key, value) = parts.ok_or("allowed a key and a value of a tag: key=value")?;
    Ok((key.into(), value.into()))
}

fn path(text: &str) -> Checked<PathBuf> {
    Ok(value::filled(text)?.into())
}

fn switch(value: &Raw<'_>) -> Checked<bool> {
    value.as_bool().ok_or_else(|| "allowed true, false".into())
}

/// It is a label of metrics and a part of paths.
const NAME_BYTES_MAX: usize = 32;
/// Longest pattern: as long as the longest name of a channel.
const PATTERN_BYTES_MAX: usize = 256;
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=30_000;
const TIMEOUT_MS_DEFAULT: u64 = 5_000;
const RETRY_MS: std::ops::RangeInclusive<u64> = 0..=600_000;
const RETRY_MS_DEFAULT: u64 = 60_000;
