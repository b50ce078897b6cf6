//! Names within a credentials file: of policies, users and roles.

use crate::config::document::{Raw, text};
use broker_core::settings::value::{Checked, letters};
use codec::policy::Policy;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The policies of these names that loaded.
pub(crate) fn policies_of(
    names: &[String],
    known: &BTreeMap<String, Option<Arc<Policy>>>,
) -> Vec<Arc<Policy>> {
    let policies = names.iter().filter_map(|name| known.get(name)?.clone());
    policies.collect()
}

/// The names of a principal's policies, each of which there is; none is allowed.
pub(crate) fn policy_names(
    value: &Raw<'_>,
    known: &BTreeMap<String, Option<Arc<Policy>>>,
) -> Checked<Vec<String>> {
    let rule = || format!("allowed a list of up to {POLICIES_PER_PRINCIPAL_MAX} policy names");
    let entries = value.as_array().ok_or_else(rule)?;
    if entries.len() > POLICIES_PER_PRINCIPAL_MAX {
        return Err(rule());
    }
    let mut names = Vec::new();
    for entry in entries {
        let name = text(entry.get_ref(), |text| Ok(text.to_owned())).map_err(|_| rule())?;
        if !known.contains_key(&name) {
            let mut some: Vec<_> = known
                .keys()
                .take(NAMES_TOLD_MAX)
                .map(String::as_str)
                .collect();
            if known.len() > some.len() {
                some.push("…");
            }
            return Err(match some.join(", ") {
                none if none.is_empty() => format!("there is no [policy.{name}], nor any other"),
                some => format!("there is no [policy.{name}], allowed {some}"),
            });
        }
        names.push(name);
    }
    Ok(names)
}

/// A name of an IAM user. Source: IAM API Reference, `userNameType`.
pub(crate) fn user_name(text: &str) -> Checked<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    let rule = "allowed 1 to 64 of the characters A-Z a-z 0-9 _ + = , . @ -";
    letters(text, 1..=64, is_allowed, rule).map(str::to_owned)
}

/// Most policies of one principal; IAM has 10 to 20. Each is asked for each request.
const POLICIES_PER_PRINCIPAL_MAX: usize = 20;

/// Most names that a fault lists.
const NAMES_TOLD_MAX: usize = 10;
