//! The entries of `[[ice]]`.

use crate::config::document::{Raw, Section, list, text};
use crate::files;
use broker_core::settings::value::{self, Checked};
use broker_core::settings::{Ice, IceCredential};
use std::path::Path;

/// Reads one entry.
pub(crate) fn read(section: &mut Section<'_, '_>) -> Option<Ice> {
    let urls = section.read("urls", urls).unwrap_or_default();
    let secrets = section.read("secret", secrets);
    let from_file = section.text("secret_file", |path| secret_file(Path::new(path)));
    let username = section.text("username", value::ice_word);
    let password = section.text("password", value::ice_word);
    let ttl_ms = section.text("ttl", |text| value::duration(text, ICE_TTL_MS_LEAST..=DAY));
    let ttl_seconds = u32::try_from(ttl_ms.unwrap_or(ICE_TTL_MS) / 1000).ok()?;

    let rule = match ["username", "password", "secret", "secret_file"].map(|key| section.has(key)) {
        [true, true, false, false] | [false, false, true, false] | [false, false, false, true] => {
            None
        }
        [false, false, false, false] => urls.iter().any(|url| url.starts_with("turn")).then_some(
            "allowed without username and password, secret or secret_file for stun: URLs only",
        ),
        [_, _, _, _] => Some("allowed one of username with password, secret, secret_file"),
    };
    if let Some(rule) = rule {
        section.fault(rule);
    }
    if !section.has("urls") {
        section.fault("allowed entries with urls");
    }
    let credential = match (username, password, secrets.or(from_file)) {
        (Some(username), Some(password), _) => IceCredential::Fixed { username, password },
        (_, _, Some(secrets)) => IceCredential::Secrets(secrets),
        (_, _, None) => IceCredential::None,
    };
    Some(Ice {
        urls,
        credential,
        ttl_seconds,
    })
}

/// Source: C SDK, `MAX_ICE_CONFIG_URI_COUNT` 4: it takes more for an error.
fn urls(value: &Raw<'_>) -> Checked<Vec<String>> {
    let urls = list(value, 1, "URLs", |url| text(url, value::ice_url))?;
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
    list(value, 1, "secrets", |secret| text(secret, value::ice_word))
}

/// One secret a line.
fn secret_file(path: &Path) -> Checked<Vec<String>> {
    let read = files::read_text(path, SECRET_BYTES_MAX)
        .map_err(|error| format!("must be a readable file: {error}"))?;
    let lines = read
        .content
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let secrets = lines.map(value::ice_word).collect::<Checked<Vec<_>>>()?;
    if secrets.is_empty() {
        return Err("must be a file with one secret a line".into());
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
