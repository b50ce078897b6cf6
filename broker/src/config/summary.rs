//! Summarizes a configuration, permissions and devices for operators.

use crate::config::credentials::Loaded;
use crate::{memory, terminal::plain};
use broker_core::auth::provider::{KeySource, Provider};
use broker_core::auth::{Credentials, Principal, Role, RoleAlias, ThingAuthority, Things};
use broker_core::settings::value::ConfigSpan;
use broker_core::settings::{KEYS, Settings};
use codec::policy::{Action, Policy};
use codec::sigv4::Stamp;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// Summarizes the settings, including the maximum memory that the settings and the principals may require. Contains no
/// secrets.
#[must_use]
pub fn summary(settings: &Settings, credentials: Option<&Credentials>) -> String {
    let filled = |text: &str| {
        KEYS.iter().fold(text.to_owned(), |text, key| {
            let place = format!("{{{}}}", key.path);
            match text.contains(&place) {
                true => text.replace(&place, &key.value(settings).to_string()),
                false => text,
            }
        })
    };
    // If the admin listener is disabled, its URL is shown as `off`.
    let keys = SUMMARY
        .iter()
        .map(|(name, text)| (*name, filled(text).replace("http://off", "off")));
    lines(keys.chain([
        ("ice", format!("{} servers", settings.ice.len())),
        ("memory", memory::sum(settings, credentials)),
    ]))
}

const SUMMARY: [(&str, &str); 9] = [
    ("listen", "{listen}"),
    ("admin", "http://{admin.listen}"),
    ("region", "{region}, account {account_id}"),
    ("profile", "{profile}"),
    ("auth", "{auth}"),
    ("shards", "{shards} on CPUs {cpus}"),
    ("data", "{data_dir}, log {log_format}"),
    (
        "limits",
        "payload {limits.payload_bytes} B, message {limits.message_bytes} B, {limits.viewers_per_channel} viewers a \
         channel, {limits.connections} connections",
    ),
    ("timeouts", "idle {timeouts.idle}, drain {timeouts.drain}"),
];

/// Formats one line for each principal, role, provider, role alias and device authority, at most 100 of each kind,
/// followed by the warnings. Contains no secrets.
#[must_use]
pub fn credentials_summary(loaded: &Loaded) -> String {
    let credentials = &loaded.credentials;
    let mut rows = listed("principal", credentials.principals(), of_principal);
    rows.extend(listed("role", credentials.roles(), of_role));
    rows.extend(listed("provider", credentials.providers(), of_provider));
    rows.extend(listed("role alias", credentials.aliases(), of_alias));
    let things = || credentials.things().into_iter();
    rows.extend(listed("things", things(), of_things));
    let authorities = things().flat_map(|things| &things.authorities);
    rows.extend(listed("authority", authorities, of_authority));
    rows.extend(loaded.warnings.iter().map(|line| ("warning", line.clone())));
    lines(rows)
}

fn listed<T>(
    kind: &'static str,
    all: impl Iterator<Item = T>,
    line: fn(T) -> String,
) -> Vec<(&'static str, String)> {
    let all: Vec<T> = all.collect();
    let more = all.len().saturating_sub(LISTED_MAX);
    let more = (more > 0).then(|| format!("… and {more} more"));
    let lines = all.into_iter().take(LISTED_MAX).map(line).chain(more);
    lines.map(|line| (kind, line)).collect()
}

fn of_principal(principal: &Principal) -> String {
    let (name, account) = (&principal.name, &principal.account);
    let mut text = format!("{name}, account {account}, key {}", principal.access_key_id);
    if let Some(expires_s) = principal.expires_s {
        let _ = write!(text, ", until {}", Stamp::from_epoch(expires_s)); // writing to a String never fails
    }
    text + &tolerance(principal.clock_tolerance_s) + &rights(&principal.policies)
}

fn of_role(role: &Role) -> String {
    let (name, account) = (&role.name, &role.account);
    let span = ConfigSpan(u64::from(role.max_session_s) * 1000);
    let named = role.trust.principals();
    let trusted: BTreeSet<_> = named.filter_map(|it| it.split_once(':')).collect();
    let more = trusted.len().saturating_sub(TRUSTED_TOLD_MAX);
    let trusted = trusted.into_iter().take(TRUSTED_TOLD_MAX);
    let trusted: Vec<_> = trusted.map(|(_, name)| name).collect();
    let mut text = format!(
        "{name}, account {account}, for up to {span}{}, trust names {}",
        tolerance(role.clock_tolerance_s),
        trusted.join(" ")
    );
    if more > 0 {
        let _ = write!(text, " and {more} more"); // writing to a String never fails
    }
    text + &rights(&role.policies)
}

fn tolerance(clock_tolerance_s: Option<u64>) -> String {
    let text = |tolerance_s| format!(", clock off by up to {tolerance_s}s");
    clock_tolerance_s.map(text).unwrap_or_default()
}

fn of_provider(provider: &Arc<Provider>) -> String {
    let keys = match &provider.keys {
        KeySource::File(keys) => format!("{} keys of a file", keys.len()),
        KeySource::Discovery(_) => "keys by discovery".to_owned(),
    };
    let (issuer, account) = (&provider.issuer, &provider.account);
    let clients = provider.client_ids.len();
    format!("{issuer}, account {account}, {clients} client ids, {keys}")
}

fn of_alias(alias: &RoleAlias) -> String {
    let (name, account, role) = (&alias.name, &alias.account, &alias.role);
    let span = ConfigSpan(u64::from(alias.duration_s) * 1000);
    format!("{name}, account {account}: role {role} for {span}")
}

fn of_things(things: &Things) -> String {
    let hosts = things.hosts.join(" ");
    let (certificates, off) = (things.registry.len(), things.registry.switched_off());
    let off = match off {
        0 => String::new(),
        off => format!(", {off} names switched off"),
    };
    let authorities = things.authorities.len();
    format!(
        "at {hosts}, {certificates} certificates by the registry{off}, {authorities} authorities"
    ) + &rights(&things.policies)
}

fn of_authority(authority: &ThingAuthority) -> String {
    let names = authority.names.as_deref().unwrap_or("*");
    let (subject, end) = (&authority.subject, Stamp::from_epoch(authority.ends_s));
    let mut text = format!("{subject}, names {names}, until {end}");
    // Writing to a `String` never fails.
    if let Some(revoked) = authority.revoked {
        let _ = write!(text, ", {revoked} revoked");
    }
    if let Some(ends_s) = authority.list_ends_s {
        let _ = write!(text, ", list until {}", Stamp::from_epoch(ends_s));
    }
    text + &rights(&authority.policies)
}

fn rights(policies: &[Arc<Policy>]) -> String {
    let each = policies.iter();
    let allowed = each.flat_map(|policy| policy.allowed_somewhere());
    let allowed: BTreeSet<_> = allowed.collect();
    let actions = if allowed.is_empty() {
        "nothing".to_owned()
    } else if allowed.len() == Action::ALL.len() {
        "every action".to_owned()
    } else {
        let names: Vec<_> = allowed.into_iter().map(Action::name).collect();
        names.join(" ")
    };
    let mut text = format!(": may {actions}");
    if policies.iter().any(|policy| policy.denies()) {
        text.push_str(", less what its policies deny");
    }
    text
}

fn lines(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let line = |(name, value): (_, String)| format!("{name:<12}{}\n", plain(&value));
    rows.into_iter().map(line).collect()
}

const LISTED_MAX: usize = 100;

const TRUSTED_TOLD_MAX: usize = 5;
