//! Lines on the devices of a credentials file: role aliases, the registry, authorities.

use crate::config::summary::rights;
use broker_core::auth::{Credentials, RoleAlias, ThingAuthority, Things};
use broker_core::settings::value::Span;
use codec::sigv4::Stamp;
use std::fmt::Write;

/// A line for each role alias, for `[things]`, and for each authority; of very many aliases only the first.
pub(crate) fn lines(credentials: &Credentials) -> Vec<(&'static str, String)> {
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
    if let Some(ends_s) = list_ends_s {
        let revoked = revoked.len();
        let _ = write!(
            text,
            ", {revoked} revoked, list until {}",
            Stamp::from_epoch(*ends_s)
        );
    }
    text + &rights(policies)
}

/// Most role aliases that are listed one by one.
const ALIASES_TOLD_MAX: usize = 100;
