//! The configuration file. Most keys are read through the table of keys. The entries of `[[hook]]`, `[[ice]]` and
//! `[clients]` have no defaults and are read here.

use crate::config::document::{Raw, TableReader, digits, list, text};
use crate::files;
use crate::hooks::address;
use broker_core::settings::value::{self, Checked, letters};
use broker_core::settings::{
    CLIENTS_MAX, Client, Field, HOOKS_MAX, Hook, Ice, IceCredential, KEYS, Key, Kind, RATE_MAX,
    Rate, Settings,
};
use std::path::{Path, PathBuf};

/// Reads the whole file into `settings`, which must contain the defaults.
pub(crate) fn read(top: &mut TableReader<'_, '_>, settings: &mut Settings) {
    read_table(top, "", settings);
    top.tables("hook", |nth, section| read_hook(nth, section, settings));
    top.tables("ice", |_, section| {
        let Settings { ice, ice_files, .. } = &mut *settings;
        ice.extend(read_ice(section, ice_files));
    });
    top.named_tables("clients", |name, section| {
        read_client(name, section, &mut settings.clients)
    });
}

fn read_table(section: &mut TableReader<'_, '_>, table: &'static str, settings: &mut Settings) {
    let mut inner = None;
    for key in KEYS {
        let outer = key.table().rsplit_once('.').map_or("", |(outer, _)| outer);
        if !key.table().is_empty() && outer == table && inner != Some(key.table()) {
            inner = Some(key.table());
            let name = key.table().rsplit('.').next().unwrap_or_default();
            section.section(name, |section| read_table(section, key.table(), settings));
        }
        if key.table() != table {
            continue;
        }
        if let Kind::Rate(field) = &key.kind {
            section.section(key.name(), |section| rate(section, field, settings));
        } else {
            section.read(key.name(), |value| store(value, key, settings));
        }
    }
}

/// Parses and stores a value that is not a table. The value has the same syntax as the key's flag. A value of the wrong
/// type is treated as an empty string, so that the error lists the valid values.
fn store(value: &Raw<'_>, key: &Key, settings: &mut Settings) -> Checked<()> {
    match &key.kind {
        Kind::Number(..) => key.put(settings, &[&digits(value)]),
        Kind::Switch(_) => {
            let on = value.as_bool().map(|on| on.to_string());
            key.put(settings, &[&on.unwrap_or_default()])
        }
        Kind::Cpus { .. } if value.is_array() => {
            let numbers = value.as_array().into_iter().flatten();
            let numbers: Vec<_> = numbers.map(|number| digits(number.get_ref())).collect();
            key.put(settings, &[&numbers.join(",")])
        }
        Kind::List {
            entries,
            may_be_empty,
            ..
        } => {
            let entry = |entry| text(entry, |text| key.check(text).map(|()| text));
            let least = usize::from(!may_be_empty);
            key.put(settings, &list(value, least, entries, entry)?)
        }
        Kind::Paths { .. } if value.is_array() => {
            let path = |entry| text(entry, |path| value::filled(path).map(|_| path));
            key.put(settings, &list(value, 1, "files", path)?)
        }
        Kind::Cpus { .. }
        | Kind::Duration(..)
        | Kind::Path { .. }
        | Kind::Paths { .. }
        | Kind::Rate(_)
        | Kind::Text { .. } => text(value, |text| key.put(settings, &[text])),
    }
}

/// Parses `{ rate = 5, burst = 25 }`. `burst` defaults to the number of requests that `rate` allows in five seconds.
fn rate(section: &mut TableReader<'_, '_>, field: &Field<Rate>, settings: &mut Settings) {
    let rate = section.read("rate", |value| small(value, 0)).map(Rate::of);
    let mut rate = rate.unwrap_or_else(|| (field.get)(settings));
    if let Some(burst) = section.read("burst", |value| small(value, 1)) {
        rate.burst = burst;
    }
    (field.set)(settings, rate);
}

fn small(value: &Raw<'_>, least: u64) -> Checked<u32> {
    let number = value::number(&digits(value), &(least..=RATE_MAX.into()))?;
    Ok(u32::try_from(number).unwrap_or(RATE_MAX))
}

// Entries of `[[hook]]`.

fn read_hook(nth: usize, section: &mut TableReader<'_, '_>, settings: &mut Settings) {
    if nth == HOOKS_MAX {
        section.fault(format!("expected at most {HOOKS_MAX} hooks"));
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
        section.fault("expected client_cert and client_key together");
    }
    if !section.has("channels") && !section.has("tag") {
        section.fault("expected entries with channels, tag or both");
    }
    for key in ["name", "url", "events", "secret_file"] {
        if !section.has(key) {
            section.fault("expected entries with name, url, events and secret_file");
            break;
        }
    }
    let needed = (name, url, events, secret_file);
    let (Some(name), Some(url), Some([wakes, presence, problems]), Some(secret_file)) = needed
    else {
        return;
    };
    settings.hooks.push(Hook {
        name,
        url: url.into(),
        wakes,
        presence,
        problems,
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
    let rule = format!("expected 1 to {NAME_BYTES_MAX} of the characters a-z A-Z 0-9 _ . -");
    let name = letters(text, 1..=NAME_BYTES_MAX, plain, &rule)?;
    match others.contains(&name) {
        true => Err("expected a name that no other hook has".into()),
        false => Ok(name.into()),
    }
}

fn events(value: &Raw<'_>) -> Checked<[bool; 3]> {
    let one = |text: &str| {
        let place = EVENTS.iter().position(|name| *name == text);
        place.ok_or_else(|| "expected wake, presence, problems".to_owned())
    };
    let rule = "events: wake, presence, problems";
    let events = list(value, 1, rule, |event| text(event, one))?;
    Ok([0, 1, 2].map(|place| events.contains(&place)))
}

const EVENTS: [&str; 3] = ["wake", "presence", "problems"];

fn include<'d>(value: &'d Raw<'d>) -> Checked<Vec<&'static str>> {
    let one = |text: &str| match text {
        "remote" => Ok("remote"),
        "client_id" => Ok("client_id"),
        _ => Err("expected remote, client_id".to_owned()),
    };
    list(value, 0, "remote, client_id", |entry| text(entry, one))
}

fn pattern(text: &str) -> Checked<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-*".contains(&byte);
    let rule = format!(
        "expected 1 to {PATTERN_BYTES_MAX} of the characters of a channel's name, and * for any text"
    );
    letters(text, 1..=PATTERN_BYTES_MAX, plain, &rule).map(str::to_owned)
}

fn tag(text: &str) -> Checked<(String, String)> {
    let parts = text.split_once('=');
    let parts = parts.filter(|(key, _)| !key.is_empty());
    let (key, value) = parts.ok_or("expected a key and a value of a tag: key=value")?;
    Ok((key.into(), value.into()))
}

fn path(text: &str) -> Checked<PathBuf> {
    Ok(value::filled(text)?.into())
}

fn switch(value: &Raw<'_>) -> Checked<bool> {
    value.as_bool().ok_or_else(|| "expected true, false".into())
}

/// Maximum length of a hook's name in bytes. The name is used as a metric label and as a path segment.
const NAME_BYTES_MAX: usize = 32;
/// Maximum length of a pattern in bytes, the same as for a channel name.
const PATTERN_BYTES_MAX: usize = 256;
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=30_000;
const TIMEOUT_MS_DEFAULT: u64 = 5_000;
const RETRY_MS: std::ops::RangeInclusive<u64> = 0..=600_000;
const RETRY_MS_DEFAULT: u64 = 60_000;

// Entries of `[clients]`.

fn read_client(name: &str, section: &mut TableReader<'_, '_>, clients: &mut Vec<Client>) {
    let user_agent = section.text("user_agent", user_agent);
    let row = Client::new(name, &user_agent.unwrap_or_default());
    let row = Client {
        frame_bytes: section.read("frame_bytes", bytes),
        message_bytes: section.read("message_bytes", bytes),
        go_away: section.read("go_away", switch).unwrap_or(row.go_away),
        role_path: section.read("role_path", switch).unwrap_or(row.role_path),
        ..row
    };
    if !section.has("user_agent") {
        section.fault("expected rows with user_agent");
    }
    if let Err(rule) = self::name(name, &[]) {
        section.fault(rule);
    }
    let is_full = clients.len() >= CLIENTS_MAX;
    match clients.iter_mut().find(|other| other.name == name) {
        Some(built_in) => *built_in = row,
        None if !is_full => clients.push(row),
        None => section.fault(format!(
            "expected at most {CLIENTS_MAX} clients, with those built in"
        )),
    }
}

fn user_agent(text: &str) -> Checked<String> {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte);
    let rule = format!("expected 1 to {PATTERN_BYTES_MAX} characters of ASCII, and * for any text");
    letters(text, 1..=PATTERN_BYTES_MAX, plain, &rule).map(str::to_owned)
}

fn bytes(value: &Raw<'_>) -> Checked<usize> {
    let number = value::number(&digits(value), &CLIENT_BYTES)?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// Valid range for a client's maximum message size in bytes, the same as for `[limits] wss_message_bytes`. A client
/// with a smaller maximum could not receive any message.
const CLIENT_BYTES: std::ops::RangeInclusive<u64> = 1024..=2 << 20;

// Entries of `[[ice]]`.

fn read_ice(section: &mut TableReader<'_, '_>, files: &mut Vec<PathBuf>) -> Option<Ice> {
    let urls = section.read("urls", urls).unwrap_or_default();
    let secrets = section.read("secret", secrets);
    let from_file = section.text("secret_file", |path| {
        files.push(path.into());
        secret_file(Path::new(path))
    });
    let username = section.text("username", value::ice_word);
    let password = section.text("password", value::ice_word);
    let ttl_ms = section.text("ttl", |text| value::duration(text, ICE_TTL_MS_LEAST..=DAY));
    let ttl_seconds = u32::try_from(ttl_ms.unwrap_or(ICE_TTL_MS) / 1000).ok()?;

    let rule = match ["username", "password", "secret", "secret_file"].map(|key| section.has(key)) {
        [true, true, false, false] | [false, false, true, false] | [false, false, false, true] => {
            None
        }
        [false, false, false, false] => urls.iter().any(|url| url.starts_with("turn")).then_some(
            "expected without username and password, secret or secret_file for stun: URLs only",
        ),
        [_, _, _, _] => Some("expected one of username with password, secret, secret_file"),
    };
    if let Some(rule) = rule {
        section.fault(rule);
    }
    if !section.has("urls") {
        section.fault("expected entries with urls");
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

/// Reads an ICE server's URLs. There may be at most four, since the C SDK rejects more (`MAX_ICE_CONFIG_URI_COUNT`).
fn urls(value: &Raw<'_>) -> Checked<Vec<String>> {
    let urls = list(value, 1, "URLs", |url| text(url, value::ice_url))?;
    if urls.len() > 4 {
        return Err("expected a list of 1 to 4 URLs".into());
    }
    Ok(urls)
}

/// Reads one secret, or several during a secret rotation.
fn secrets(value: &Raw<'_>) -> Checked<Vec<String>> {
    if value.is_str() {
        return Ok(vec![text(value, value::ice_word)?]);
    }
    list(value, 1, "secrets", |secret| text(secret, value::ice_word))
}

fn secret_file(path: &Path) -> Checked<Vec<String>> {
    let read = files::readable(path, SECRET_BYTES_MAX)?;
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
/// Minimum TTL in milliseconds. GetIceServerConfig permits 30 s. The C SDK, however, refreshes the configuration 30 s
/// before it expires (`ICE_CONFIGURATION_REFRESH_GRACE_PERIOD`), and rejects TTLs of 30 s or less.
const ICE_TTL_MS_LEAST: u64 = 60_000;
/// Default TTL in milliseconds, the same as AWS returns. Source: GetIceServerConfig, `Ttl`.
const ICE_TTL_MS: u64 = 300_000;
/// Maximum size of a secrets file in bytes. A secret rotation needs far less.
const SECRET_BYTES_MAX: usize = 64 * 1024;
