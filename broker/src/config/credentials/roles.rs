//! Roles in a credentials file, their aliases, and the policies and users that they refer to.

use crate::config::credentials::files::{Files, document};
use crate::config::document::{Raw, TableReader};
use broker_core::auth::{Role, RoleAlias};
use broker_core::settings::value::{self, Checked, letters};
use codec::policy::{Action, KeyName, Policy, Trust};
use codec::sigv4::CLOCK_TOLERANCE_S_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Reads the role with this name. Returns `None` if it is invalid. `account_id` is the default account.
pub(crate) fn role(
    section: &mut TableReader<'_, '_>,
    name: &str,
    account_id: &str,
    known: &KnownPolicies,
    files: &mut Files,
) -> Option<Role> {
    section.named(user_name(name));
    let account = section.text("account", value::account_id);
    let policies = section.read("policies", |value| policies(value, known));
    let (keys, parse) = (["trust", "trust_file"], Trust::parse_with_faults);
    let trust = document(section, keys, "trust policy", files, parse);
    let max_session_ms = section.text("max_session", |text| {
        value::duration(text, SESSION_MS_MIN..=SESSION_MS_MAX)
    });
    let clock_tolerance_s = clock_tolerance_s(section);
    if section.has_faults() {
        return None;
    }
    let session_s = max_session_ms.unwrap_or(SESSION_MS_DEFAULT) / 1000;
    Some(Role {
        name: name.to_owned(),
        account: account.unwrap_or_else(|| account_id.to_owned()),
        policies: policies.unwrap_or_default(),
        trust: trust?,
        max_session_s: u32::try_from(session_s).ok()?,
        clock_tolerance_s,
    })
}

/// Returns warnings about a role that is valid but suspicious. `arns` contains the ARNs of all principals and roles.
pub(crate) fn remarks(role: &Role, arns: &BTreeSet<String>) -> Vec<String> {
    let mut remarks = Vec::new();
    if role.policies.is_empty() {
        remarks.push("has no policies: requests of its sessions are denied".to_owned());
    }
    let can = [Action::AssumeRole, Action::AssumeRoleWithWebIdentity];
    if !can.into_iter().any(|action| role.trust.allows(action)) {
        remarks.push("has a trust that allows nobody to assume it".to_owned());
    }
    let absent = role.trust.principals().filter_map(|name| {
        let arn = name.strip_prefix("AWS:")?;
        let is_named = arn.contains(":user/") || arn.contains(":role/");
        (is_named && !arns.contains(arn)).then_some(arn)
    });
    remarks.extend(absent.map(|arn| format!("trusts {arn}, which is not in this file")));
    let of_trust = role.trust.remarks();
    remarks.extend(of_trust.map(|remark| format!("has a trust in which {remark}")));
    if role.trust.denies_sign_ins() {
        let remark = "has a trust with a denial for every principal (\"*\"), which applies to devices and users of \
                      providers as well";
        remarks.push(remark.to_owned());
    }
    let mut policies = role.policies.iter();
    let hangs_on_id = policies.any(|policy| policy.reads(KeyName::UserId));
    if hangs_on_id && !role.trust.reads(KeyName::RoleSessionName) {
        let remark = "has a permission that depends on aws:userid, whose last part the caller chooses: add a \
                      condition on sts:RoleSessionName to the trust";
        remarks.push(remark.to_owned());
    }
    remarks
}

const SESSION_MS_MIN: u64 = 15 * 60 * 1000;

/// Maximum value of `max_session`, in milliseconds. Source: IAM User Guide, "Update a role", *maximum session
/// duration*.
const SESSION_MS_MAX: u64 = 12 * 60 * 60 * 1000;

/// Default value of `max_session`, in milliseconds. Source: IAM User Guide, "Update a role".
const SESSION_MS_DEFAULT: u64 = 60 * 60 * 1000;

// Role aliases in a credentials file. Devices request a role by its alias.

pub(crate) fn alias(
    section: &mut TableReader<'_, '_>,
    name: &str,
    roles: &[Role],
) -> Option<RoleAlias> {
    section.named(alias_name(name));
    let role = section.text("role", |text| {
        let mut roles = roles.iter();
        let role = roles.find(|role| role.name == text);
        role.ok_or_else(|| format!("there is no [role.{text}]"))
    });
    let duration_ms = section.text("duration", |text| {
        value::duration(text, DURATION_MS_MIN..=DURATION_MS_MAX)
    });
    if !section.has("role") {
        section.fault("role needed");
    }
    if section.has_faults() {
        return None;
    }
    let role = role?;
    let duration_s = duration_ms.unwrap_or(DURATION_MS_DEFAULT) / 1000;
    Some(RoleAlias {
        name: name.into(),
        role: role.name.as_str().into(),
        account: role.account.as_str().into(),
        duration_s: u32::try_from(duration_s).ok()?,
    })
}

/// Returns a warning if an alias is valid but every request for it would be refused.
pub(crate) fn remark(alias: &RoleAlias, roles: &[Role]) -> Option<String> {
    let role = roles.iter().find(|role| *role.name == *alias.role)?;
    (alias.duration_s > role.max_session_s).then(|| {
        format!(
            "has a duration that is longer than max_session of role {}: every request is refused",
            alias.role
        )
    })
}

/// Validates an alias name. Source: AWS IoT API Reference, `CreateRoleAlias`, `roleAlias`.
fn alias_name(text: &str) -> Checked<()> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=,@-".contains(&byte);
    let rule = "expected 1 to 128 of the characters A-Z a-z 0-9 _ = , @ -";
    letters(text, 1..=128, is_allowed, rule).map(drop)
}

/// Minimum key lifetime in milliseconds. Source of this constant and the next two: AWS IoT API Reference,
/// `CreateRoleAlias`, `credentialDurationSeconds`.
const DURATION_MS_MIN: u64 = 15 * 60 * 1000;

const DURATION_MS_MAX: u64 = 12 * 60 * 60 * 1000;

const DURATION_MS_DEFAULT: u64 = 60 * 60 * 1000;

// References to policies, users and roles in a credentials file.

/// Policies by name. An invalid policy is stored as `None`, so that references to it are not reported as additional
/// faults.
pub(crate) type KnownPolicies = BTreeMap<String, Option<Arc<Policy>>>;

pub(crate) fn policies(value: &Raw<'_>, known: &KnownPolicies) -> Checked<Vec<Arc<Policy>>> {
    let rule = || format!("expected a list of up to {POLICIES_PER_PRINCIPAL_MAX} policy names");
    let entries = value.as_array().ok_or_else(rule)?;
    if entries.len() > POLICIES_PER_PRINCIPAL_MAX {
        return Err(rule());
    }
    let mut policies = Vec::new();
    for entry in entries {
        let name = entry.get_ref().as_str().ok_or_else(rule)?;
        let Some(policy) = known.get(name) else {
            let names = known.keys().map(String::as_str);
            let mut some: Vec<_> = names.take(NAMES_TOLD_MAX).collect();
            if known.len() > some.len() {
                some.push("…");
            }
            return Err(match some.join(", ") {
                none if none.is_empty() => format!("there is no [policy.{name}], nor any other"),
                some => format!("there is no [policy.{name}], expected {some}"),
            });
        };
        policies.extend(policy.clone());
    }
    Ok(policies)
}

/// Reads a principal's or role's clock tolerance, in seconds.
pub(crate) fn clock_tolerance_s(section: &mut TableReader<'_, '_>) -> Option<u64> {
    let tolerance_ms = section.text("clock_tolerance", |text| {
        value::duration(text, 1000..=CLOCK_TOLERANCE_S_MAX * 1000)
    });
    tolerance_ms.map(|ms| ms / 1000)
}

/// Validates an IAM user name. Source: IAM API Reference, `userNameType`.
pub(crate) fn user_name(text: &str) -> Checked<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    let rule = "expected 1 to 64 of the characters A-Z a-z 0-9 _ + = , . @ -";
    letters(text, 1..=64, is_allowed, rule).map(str::to_owned)
}

/// Maximum number of policies per principal. All of them are evaluated for each request. IAM allows 10 to 20.
const POLICIES_PER_PRINCIPAL_MAX: usize = 20;

const NAMES_TOLD_MAX: usize = 10;
