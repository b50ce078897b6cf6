//! The entries of `[[ice]]`.

use super::section::{Raw, Section, list, text};
use crate::files;
use broker_core::settings::value::{self, Checked};
use broker_core::settings::{Ice, IceCredential};
use std::path::Path;

/// Reads one entry.
pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Option<Ice> {
    let mut urls = Vec::new();
    section.read("urls", &mut urls, |value| self::urls(value));
    let (mut secret, mut from_file) = (None, None);
    section.read("secret", &mut secret, |value| secrets(value).map(Some));
    section.text("secret_file", &mut from_file, |path| {
        secret_file(Path::new(path)).map(Some)
    });
    let (mut username, mut password) = (None, None);
    section.text("username", &mut username, |text| {
        value::ice_word(text).map(Some)
    });
    section.text("password", &mut password, |text| {
        value::ice_word(text).map(Some)
    });
    let mut ttl_ms = ICE_TTL_MS;
    section.duration("ttl", &mut ttl_ms, ICE_TTL_MS_LEAST..=DAY);

    let written = ["username", "password", "secret", "secret_file"].map(|key| section.has(key));
    match written {
        [false, false, false, false] => {
            if urls.iter().any(|url| url.starts_with("turn")) {
                section.fault(
                    "{ … }",
                    "allowed without username and password, secret or secret_file for stun: URLs only",
                );
            }
        }
        [true, true, false, false] | [false, false, true, false] | [false, false, false, true] => {}
        [_, _, _, _] => section.fault(
            "{ … }",
            "allowed one of username with password, secret, secret_file",
        ),
    }
    if !section.has("urls") {
        section.fault("{ … }", "allowed entries with urls");
    }
    let credential = match (username, password, secret.or(from_file)) {
        (Some(username), Some(password), _) => IceCredential::Fixed { username, password },
        (_, _, Some(secrets)) => IceCredential::Secrets(secrets),
        (_, _, None) => IceCredential::None,
    };
    let ttl_seconds = u32::try_from(ttl_ms / 1000).ok()?;
    Some(Ice {
        urls,
        credential,
        ttl_seconds,
    })
}

/// Source: C SDK, `MAX_ICE_CONFIG_URI_COUNT` 4: it takes more for an error.
fn urls(value: &Raw<'_>) -> Checked<Vec<String>> {
    let urls = list(value, "URLs", |url| text(url, value::ice_url))?;
    if urls.len() > 4 {
        return Err("allowed a list of 1 to 4 URLs".into());
    }
    Ok(urls)
}

/// One secret, or several during a rotation.
fn secrets(value: &Raw<'_>) -> Checked<Vec<String>> {
    if value.is_str() {
        return Ok(vec![text(value, value::ice_word)?]);
    }
    list(value, "secrets", |secret| text(secret, value::ice_word))
}

/// One secret a line.
fn secret_file(path: &Path) -> Checked<Vec<String>> {
    let read = files::read_text(path, SECRET_BYTES_MAX)
        .map_err(|error| format!("allowed a file that can be read ({error})"))?;
    let lines = read
        .content
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let secrets = lines.map(value::ice_word).collect::<Checked<Vec<_>>>()?;
    if secrets.is_empty() {
        return Err("allowed a file with one secret a line".into());
    }
    Ok(secrets)
}

const DAY: u64 = 86_400_000;
/// GetIceServerConfig allows 30 s, but the C SDK asks again 30 s before the end, and refuses what has no more than that
/// (`ICE_CONFIGURATION_REFRESH_GRACE_PERIOD`).
const ICE_TTL_MS_LEAST: u64 = 60_000;
/// Source: GetIceServerConfig, `Ttl`; what AWS answers.
const ICE_TTL_MS: u64 = 300_000;
/// Longest file of secrets: more than a rotation needs.
const SECRET_BYTES_MAX: usize = 64 * 1024;
