//! OpenID providers in a credentials file.

use crate::config::credentials::files::Files;
use crate::config::document::{Raw, TableReader, list, text};
use crate::config::{credentials::CredentialsDraft, draft::Findings};
use broker_core::auth::PROVIDER_BYTES_MAX;
use broker_core::auth::provider::{Algorithms, Discovery, KeySource, Provider};
use broker_core::limits::{CLAIM_NAMES_MAX, CLIENT_IDS_MAX};
use broker_core::settings::value::{self, Checked, letters};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Reads the provider with this issuer. Returns `None` if it is invalid. `account_id` is the default account.
pub(crate) fn provider(
    section: &mut TableReader<'_, '_>,
    issuer: &str,
    account_id: &str,
    files: &mut Files,
) -> Option<Provider> {
    section.named(checked_issuer(issuer));
    let account = section.text("account", value::account_id);
    let client_ids = section.read("client_ids", client_ids);
    let keys = section.text("jwks_file", |written| files.key_set(written));
    let ca = section.text("ca", |written| files.certificates(written));
    let hosts = section.read("jwks_hosts", hosts);
    let algorithms = section.read("algorithms", algorithms);
    let rule = || "expected true or false".to_owned();
    let private = section.read("private", |value| value.as_bool().ok_or_else(rule));
    if !section.has("client_ids") {
        section.fault("client_ids needed: the clients whose tokens are accepted");
    }
    let of_discovery = ["ca", "jwks_hosts", "private"].into_iter();
    let of_discovery: Vec<_> = of_discovery.filter(|key| section.has(key)).collect();
    if section.has("jwks_file") && !of_discovery.is_empty() {
        section.fault(format!(
            "expected without {}: nothing is fetched where jwks_file has the keys",
            of_discovery.join(", ")
        ));
    }
    if section.has_faults() {
        return None;
    }
    let keys = match keys {
        Some(keys) => KeySource::File(Arc::new(keys)),
        None => KeySource::Discovery(Discovery {
            ca,
            hosts: hosts.unwrap_or_default(),
            private: private.unwrap_or_default(),
        }),
    };
    Some(Provider {
        account: account.as_deref().unwrap_or(account_id).into(),
        issuer: issuer.into(),
        client_ids: client_ids?,
        algorithms: algorithms.unwrap_or_default(),
        keys,
        claims: Vec::new(),
    })
}

/// Checks the rules that involve several providers, and collects the claims that policies and trust policies use.
pub(crate) fn check(book: &mut CredentialsDraft, findings: &mut Findings) {
    let claims = claims(book);
    let mut issuers = BTreeSet::new();
    for provider in &mut book.providers {
        let key = format!("oidc_provider.{}", provider.issuer);
        if !issuers.insert(provider.issuer.to_ascii_lowercase()) {
            let rule = "expected once: condition keys are compared without regard to case";
            findings.fault(&key, "{ … }", rule);
        }
        provider.claims = names_of(provider, &claims);
        if provider.claims.len() > CLAIM_NAMES_MAX {
            let rule = format!(
                "expected at most {CLAIM_NAMES_MAX} claims beside sub and aud in policies and trusts of the file"
            );
            findings.fault(&key, "{ … }", rule);
        }
    }
    for role in &book.roles {
        for (arn, names_claim) in role.trust.federated() {
            let provider = book.providers.iter().find(|it| arn_of(it) == arn);
            let is_wide = provider.is_some_and(|it| it.client_ids.len() > 1);
            if is_wide && !names_claim {
                let rule = format!(
                    "a statement of its trust lets in all users of all clients of {arn}: needs a condition on \
                     its sub, its aud or another claim"
                );
                findings.fault(&format!("role.{}", role.name), "{ … }", rule);
            }
        }
    }
}

/// Calls `remark` with each warning about a role, provider or policy, and with the key that it refers to. `console` is
/// the OpenID provider of the console's accounts.
pub(crate) fn remarks(
    book: &CredentialsDraft,
    console: Option<&str>,
    remark: &mut impl FnMut(String, String),
) {
    let mut trusted = BTreeSet::new();
    for role in &book.roles {
        let name = &role.name;
        for (arn, names_claim) in role.trust.federated() {
            trusted.insert(arn);
            let text = match book.providers.iter().find(|it| arn_of(it) == arn) {
                None => format!("role {name} trusts {arn}, which is not in this file"),
                Some(_) if !names_claim => format!(
                    "role {name} accepts every user of {arn}: its trust has no condition on a claim"
                ),
                Some(_) => continue,
            };
            remark(format!("role.{name}"), text);
        }
    }
    for provider in &book.providers {
        let arn = arn_of(provider);
        if !trusted.contains(&*arn) && console != Some(&*provider.issuer) {
            let text = format!("no role trusts {arn}, so its tokens are refused");
            remark(format!("oidc_provider.{}", provider.issuer), text);
        }
    }
    let known = |claim: &str| {
        let issuer = claim.rsplit_once(':').map_or("", |(issuer, _)| issuer);
        let mut issuers = book.providers.iter().map(|it| &it.issuer);
        issuers.any(|its| its.eq_ignore_ascii_case(issuer))
    };
    for (name, policy) in &book.policies {
        let claims = policy.iter().flat_map(|policy| policy.claims());
        for claim in claims.filter(|claim| !known(claim)) {
            let text = format!("policy {name}: {claim} is not a claim of a provider of this file");
            remark(format!("policy.{name}"), text);
        }
    }
    // A policy or trust policy that tests an e-mail address should also test that the address has been verified.
    let roles = book.roles.iter();
    let trusts = roles.map(|role| ("role", role.name.as_str(), role.trust.claims()));
    let policies = book.policies.values().flatten();
    let policies = policies.map(|policy| ("policy", policy.name(), policy.claims()));
    for (table, name, claims) in trusts.chain(policies) {
        let small: BTreeSet<_> = claims.iter().map(|it| it.to_ascii_lowercase()).collect();
        for claim in &claims {
            let own = claim.to_ascii_lowercase();
            if own.ends_with(":email") && !small.contains(&format!("{own}_verified")) {
                let text = format!(
                    "{table} {name}: {claim} may be an unverified address: also compare {claim}_verified with true"
                );
                remark(format!("{table}.{name}"), text);
            }
        }
    }
}

fn arn_of(provider: &Provider) -> String {
    let (account, issuer) = (&provider.account, &provider.issuer);
    format!("arn:aws:iam::{account}:oidc-provider/{issuer}")
}

/// Returns the lower-cased claims that policies and trust policies use.
fn claims(book: &CredentialsDraft) -> BTreeSet<String> {
    let policies = book.policies.values().flatten();
    let policies = policies.flat_map(|policy| policy.claims());
    let trusts = book.roles.iter().flat_map(|role| role.trust.claims());
    let all = policies.chain(trusts);
    all.map(|claim| claim.to_ascii_lowercase()).collect()
}

/// Returns the `claims` that this provider's tokens may contain, without their prefix. Omits `sub` and `aud`, which
/// every token has.
fn names_of(provider: &Provider, claims: &BTreeSet<String>) -> Vec<Box<str>> {
    let issuer = provider.issuer.to_ascii_lowercase();
    let names = claims.iter().filter_map(|key| {
        let name = key.strip_prefix(&*issuer)?.strip_prefix(':')?;
        (!matches!(name, "sub" | "aud")).then(|| name.into())
    });
    names.collect()
}

/// Validates an issuer, which is a host with an optional path, written without `https://`.
fn checked_issuer(text: &str) -> Checked<&str> {
    let host = text.split('/').next().unwrap_or_default();
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&byte);
    let is_host = host.contains('.') && checked_host(host).is_ok();
    if is_host && text.len() <= PROVIDER_BYTES_MAX && text.bytes().all(is_path) {
        return Ok(text);
    }
    Err(format!(
        "expected an issuer without https://, such as id.example.com/realms/home: a host with a dot and a path, at \
         most {PROVIDER_BYTES_MAX} bytes"
    ))
}

fn checked_host(text: &str) -> Checked<Box<str>> {
    let (name, port) = text.split_once(':').unwrap_or((text, "443"));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let rule = "expected a host name, such as keys.example.com, or with a port";
    letters(name, 1..=253, is_name, rule)?;
    if name.split('.').any(str::is_empty) || port.parse::<u16>().is_err() {
        return Err(rule.into());
    }
    Ok(text.into())
}

fn client_ids(value: &Raw<'_>) -> Checked<Vec<Box<str>>> {
    let rule = || format!("expected 1 to {CLIENT_IDS_MAX} texts of 1 to 255 visible characters");
    let is_visible = |byte: u8| byte.is_ascii_graphic();
    let one = |id| letters(id, 1..=255, is_visible, "").map(Box::from);
    let ids = value.as_array().ok_or_else(rule)?;
    let ids = ids.iter().map(|entry| text(entry.get_ref(), one));
    let ids: Checked<Vec<Box<str>>> = ids.collect();
    let ids = ids
        .ok()
        .filter(|ids| (1..=CLIENT_IDS_MAX).contains(&ids.len()));
    ids.ok_or_else(rule)
}

fn hosts<'d>(value: &'d Raw<'d>) -> Checked<Vec<Box<str>>> {
    let hosts = list(value, 1, "host names", |entry| text(entry, checked_host))?;
    if hosts.len() > HOSTS_MAX {
        return Err(format!("expected at most {HOSTS_MAX} host names"));
    }
    Ok(hosts)
}

fn algorithms<'d>(value: &'d Raw<'d>) -> Checked<Algorithms> {
    let names = list(value, 1, "algorithms", |entry| text(entry, Ok))?;
    let rule = || format!("expected some of {}", Algorithms::NAMES.join(", "));
    Algorithms::of_names(names).ok_or_else(rule)
}

/// Maximum number of hosts that may serve a provider's keys, in addition to the issuer's own.
const HOSTS_MAX: usize = 8;
