//! A readable summary of permissions.

use super::credentials::Loaded;
use broker_core::auth::Principal;
use codec::aws::policy::Action;
use codec::aws::sigv4::Stamp;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A line for each principal (of very many only the first), then the warnings; no secrets.
#[must_use]
pub fn credentials_summary(loaded: &Loaded) -> String {
    let mut lines = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(lines, "{name:<12}{value}");
    };
    let count = loaded.credentials.len();
    for principal in loaded.credentials.principals().take(PRINCIPALS_TOLD_MAX) {
        line("principal", &words(principal));
    }
    if count > PRINCIPALS_TOLD_MAX {
        line(
            "principal",
            &format!("… and {} more", count - PRINCIPALS_TOLD_MAX),
        );
    }
    for warning in &loaded.warnings {
        line("warning", warning);
    }
    lines
}

fn words(principal: &Principal) -> String {
    let Principal {
        name,
        account,
        access_key_id,
        ..
    } = principal;
    let mut text = format!("{name}, account {account}, key {access_key_id}");
    if let Some(expires_s) = principal.expires_s {
        let _ = write!(text, ", until {}", Stamp::from_epoch(expires_s));
    }
    if let Some(tolerance_s) = principal.clock_tolerance_s {
        let _ = write!(text, ", clock off by up to {tolerance_s}s");
    }
    let allowed: BTreeSet<_> = principal
        .policies
        .iter()
        .flat_map(|policy| policy.allowed_somewhere())
        .collect();
    let actions = if allowed.is_empty() {
        "nothing".to_owned()
    } else if allowed.len() == Action::ALL.len() {
        "every action".to_owned()
    } else {
        let names: Vec<_> = allowed.into_iter().map(Action::name).collect();
        names.join(" ")
    };
    let _ = write!(text, ": may {actions}");
    if principal.policies.iter().any(|policy| policy.denies()) {
        text.push_str(", less what its policies deny");
    }
    text
}

/// Most principals that are listed one by one.
const PRINCIPALS_TOLD_MAX: usize = 100;
