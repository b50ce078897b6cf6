//! Readable summaries: of a configuration, of permissions, and of devices.

use crate::config::credentials::Loaded;
use crate::{memory, terminal::plain};
use broker_core::auth::provider::{KeySource, Provider};
use broker_core::auth::{Credentials, Principal, Role, RoleAlias, ThingAuthority, Things};
use broker_core::settings::value::Span;
use broker_core::settings::{KEYS, Settings};
use codec::policy::{Action, Policy};
use codec::sigv4::Stamp;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// A few lines on the settings, and on the memory that they and the principals may take; no secrets.
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
    let keys = SUMMARY.iter().map(|(name, text)| (*name, filled(text)));
    lines(keys.chain([
        ("ice", format!("{} servers", settings.ice.len())),
        ("memory", memory::sum(settings, credentials)),
    ]))
}

/// The lines on keys.
const SUMMARY: [(&str, &str); 9] = [
    ("listen", "{listen}"),
    ("admin", "{admin.listen}"),
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

/// A line for each principal, role, role alias and authority of devices (of very many only the first), then the
/// warnings; no secrets.
#[must_use]
pub fn credentials_summary(loaded: &Loaded) -> String {
    let principals = loaded.credentials.principals().take(PRINCIPALS_TOLD_MAX);
    let more = loaded.credentials.len().saturating_sub(PRINCIPALS_TOLD_MAX);
    let more = (more > 0).then(|| format!("… and {more} more"));
    let principals = principals.map(permissions).chain(more);
    let roles = loaded.credentials.roles().take(ROLES_TOLD_MAX);
    let more = loaded.credentials.roles().count();
    let more = more.saturating_sub(ROLES_TOLD_MAX);
    let more = (more > 0).then(|| format!("… and {more} more"));
    let roles = roles.map(role_permissions).chain(more);
    let providers = loaded.credentials.providers();
    let providers = providers.map(|provider| ("provider", of_provider(provider)));
    let warnings = loaded.warnings.iter().cloned();
    lines(
        principals
            .map(|line| ("principal", line))
            .chain(roles.map(|line| ("role", line)))
            .chain(providers)
            .chain(device_lines(&loaded.credentials))
            .chain(warnings.map(|line| ("warning", line))),
    )
}

fn permissions(principal: &Principal) -> String {
    let Principal {
        name,
        account,
        access_key_id,
        policies,
        ..
    } = principal;
    let mut text = format!("{name}, account {account}, key {access_key_id}");
    if let Some(expires_s) = principal.expires_s {
        let _ = write!(text, ", until {}", Stamp::from_epoch(expires_s));
    }
    if let Some(tolerance_s) = principal.clock_tolerance_s {
        let _ = write!(text, ", clock off by up to {tolerance_s}s");
    }
    text + &rights(policies)
}

fn role_permissions(role: &Role) -> String {
    let Role {
        name,
        account,
        policies,
        trust,
        max_session_s,
        clock_tolerance_s,
    } = role;
    let span = Span(u64::from(*max_session_s) * 1000);
    let mut text = format!("{name}, account {account}, for up to {span}");
    if let Some(tolerance_s) = clock_tolerance_s {
        let _ = write!(text, ", clock off by up to {tolerance_s}s");
    }
    let trusted: BTreeSet<_> = trust
        .principals()
        .filter_map(|it| it.split_once(':'))
        .collect();
    let more = trusted.len().saturating_sub(TRUSTED_TOLD_MAX);
    let trusted = trusted.into_iter().take(TRUSTED_TOLD_MAX);
    let trusted: Vec<_> = trusted.map(|(_, name)| name).collect();
    let _ = write!(text, ", trust names {}", trusted.join(" "));
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text + &rights(policies)
}

fn of_provider(provider: &Provider) -> String {
    let Provider {
        account,
        issuer,
        client_ids,
        keys,
        ..
    } = provider;
    let keys = match keys {
        KeySource::File(keys) => format!("{} keys of a file", keys.len()),
        KeySource::Discovery(_) => "keys by discovery".to_owned(),
    };
    let clients = client_ids.len();
    format!("{issuer}, account {account}, {clients} client ids, {keys}")
}

/// The actions that policies allow somewhere.
fn rights(policies: &[Arc<Policy>]) -> String {
    let allowed = policies
        .iter()
        .flat_map(|policy| policy.allowed_somewhere());
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

/// A line each, the values below each other; a line end in a value makes none.
fn lines(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let line = |(name, value): (_, String)| format!("{name:<12}{}\n", plain(&value));
    rows.into_iter().map(line).collect()
}

/// Most principals that are listed one by one.
const PRINCIPALS_TOLD_MAX: usize = 100;

/// Most roles that are listed one by one.
const ROLES_TOLD_MAX: usize = 100;

/// Most principals of a trust that are listed.
const TRUSTED_TOLD_MAX: usize = 5;

// Lines on the devices of a credentials file: role aliases, the registry, authorities.

/// A line for each role alias, for `[things]`, and for each authority; of very many aliases only the first.
fn device_lines(credentials: &Credentials) -> Vec<(&'static str, String)> {
    let more = credentials.aliases().count();
    let more = more.saturating_sub(ALIASES_TOLD_MAX);
    let more = (more > 0).then(|| format!("… and {more} more"));
    let aliases = credentials.aliases().take(ALIASES_TOLD_MAX);
    let aliases = aliases.map(of_alias).chain(more);
    let aliases = aliases.map(|line| ("role alias", line));
    let things = credentials.things();
    let authorities = things.iter().flat_map(|things| &things.authorities);
    let authorities = authorities.map(|authority| ("authority", of_authority(authority)));
    let things = things.map(|things| ("things", of_things(things)));
    aliases.chain(things).chain(authorities).collect()
}

fn of_alias(alias: &RoleAlias) -> String {
    let RoleAlias {
        name,
        role,
        account,
        duration_s,
    } = alias;
    let span = Span(u64::from(*duration_s) * 1000);
    format!("{name}, account {account}: role {role} for {span}")
}

fn of_things(things: &Things) -> String {
    let hosts = things.hosts.join(" ");
    let (registry, authorities) = (&things.registry, things.authorities.len());
    let mut text = format!(
        "at {hosts}, {} certificates by the registry",
        registry.len()
    );
    let off = registry.switched_off();
    if off > 0 {
        let _ = write!(text, ", {off} names switched off"); // a String takes all
    }
    let _ = write!(text, ", {authorities} authorities");
    text + &rights(&things.policies)
}

fn of_authority(authority: &ThingAuthority) -> String {
    let ThingAuthority {
        key: _,
        names,
        revoked,
        policies,
        subject,
        ends_s,
        list_ends_s,
    } = authority;
    let names = names.as_deref().unwrap_or("*");
    let mut text = format!(
        "{subject}, names {names}, until {}",
        Stamp::from_epoch(*ends_s)
    );
    // A String takes all.
    if let Some(revoked) = revoked {
        let _ = write!(text, ", {revoked} revoked");
    }
    if let Some(ends_s) = list_ends_s {
        let _ = write!(text, ", list until {}", Stamp::from_epoch(*ends_s));
    }
    text + &rights(policies)
}

/// Most role aliases that are listed one by one.
const ALIASES_TOLD_MAX: usize = 100;
