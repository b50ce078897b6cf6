//! Roles of a credentials file, their aliases, and the policies and users that are referred to by name.

use crate::config::credentials::files::Files;
use crate::config::document::{Raw, Section, text};
use broker_core::auth::{Role, RoleAlias};
use broker_core::settings::value::{self, Checked, letters};
use codec::policy::{Action, KeyName, Policy, PolicyError, Trust};
use codec::sigv4::CLOCK_TOLERANCE_S_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A role with the names of its policies.
pub(crate) struct WrittenRole {
    pub(crate) role: Role,
    pub(crate) policies: Vec<String>,
}

/// A role of this name; of the server's account, unless it names one. `None` when it does not load.
pub(crate) fn role(
    section: &mut Section<'_, '_>,
    (name, account_id): (&str, &str),
    known: &BTreeMap<String, Option<Arc<Policy>>>,
    files: &mut Files,
) -> Option<WrittenRole> {
    if let Err(rule) = user_name(name) {
        section.fault(format!("the name: {rule}"));
    }
    let account = section.text("account", value::account_id);
    let names = section.read("policies", |value| policy_names(value, known));
    let any_text = |value| text(value, Ok).map_err(|rule| vec![rule]);
    let written = section.read_with_faults("trust", |value| {
        let told = |error: &PolicyError| format!("the document is no trust policy: {error}");
        let trust = Trust::parse_with_faults(any_text(value)?);
        trust.map_err(|errors| errors.iter().map(told).collect())
    });
    let from_file = section.read_with_faults("trust_file", |value| files.trust(any_text(value)?));
    let max_session_ms = section.text("max_session", |text| {
        value::duration(text, SESSION_MS_MIN..=SESSION_MS_MAX)
    });
    let tolerance_ms = section.text("clock_tolerance", |text| {
        value::duration(text, 1000..=CLOCK_TOLERANCE_S_MAX * 1000)
    });
    if section.has("trust") == section.has("trust_file") {
        section.fault("allowed with either trust or trust_file");
    }
    if section.has_faults() {
        return None;
    }
    let names = names.unwrap_or_default();
    let session_s = max_session_ms.unwrap_or(SESSION_MS_DEFAULT) / 1000;
    Some(WrittenRole {
        role: Role {
            name: name.to_owned(),
            account: account.unwrap_or_else(|| account_id.to_owned()),
            policies: policies_of(&names, known),
            trust: written.or(from_file)?,
            max_session_s: u32::try_from(session_s).ok()?,
            clock_tolerance_s: tolerance_ms.map(|ms| ms / 1000),
        },
        policies: names,
    })
}

/// Remarks on a role that is valid but looks forgotten or careless. `arns`: those of all principals and roles.
pub(crate) fn remarks(written: &WrittenRole, arns: &BTreeSet<String>) -> Vec<String> {
    let WrittenRole { role, policies } = written;
    let mut remarks = Vec::new();
    if policies.is_empty() {
        remarks.push("has no policies, so its sessions may do nothing".to_owned());
    }
    let can = [Action::AssumeRole, Action::AssumeRoleWithWebIdentity];
    if !can.into_iter().any(|action| role.trust.allows(action)) {
        remarks.push("has a trust that lets nobody assume it".to_owned());
    }
    let absent = role.trust.principals().filter_map(|name| {
        let arn = name.strip_prefix("AWS:")?;
        let is_named = arn.contains(":user/") || arn.contains(":role/");
        (is_named && !arns.contains(arn)).then_some(arn)
    });
    remarks.extend(absent.map(|arn| format!("trusts {arn}, which is not in this file")));
    remarks.extend(
        role.trust
            .remarks()
            .map(|remark| format!("has a trust of which {remark}")),
    );
    if role.trust.denies_sign_ins() {
        let remark = "has a trust that denies everybody something (\"*\"): that is denied to devices and users of \
                      providers as well";
        remarks.push(remark.to_owned());
    }
    let hangs_on_id = role
        .policies
        .iter()
        .any(|policy| policy.reads(KeyName::UserId));
    if hangs_on_id && !role.trust.reads(KeyName::RoleSessionName) {
        let remark = "has a permission that hangs on aws:userid, whose end the caller chooses: let the trust have a \
                      condition on sts:RoleSessionName";
        remarks.push(remark.to_owned());
    }
    remarks
}

/// The shortest bound of a session, in milliseconds.
const SESSION_MS_MIN: u64 = 15 * 60 * 1000;

/// The longest. Source: IAM User Guide, "Update a role", *maximum session duration*.
const SESSION_MS_MAX: u64 = 12 * 60 * 60 * 1000;

/// The bound of a session of a role that states none. Source: the same.
const SESSION_MS_DEFAULT: u64 = 60 * 60 * 1000;

// Role aliases of a credentials file: the names by which devices ask for a role.

/// A role alias of this name. `None` when it does not load.
pub(crate) fn alias(
    section: &mut Section<'_, '_>,
    name: &str,
    roles: &[WrittenRole],
) -> Option<RoleAlias> {
    if let Err(rule) = alias_name(name) {
        section.fault(format!("the name: {rule}"));
    }
    let role = section.text("role", |text| {
        let mut roles = roles.iter();
        let role = roles.find(|written| written.role.name == text);
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
    let role = &role?.role;
    let duration_s = duration_ms.unwrap_or(DURATION_MS_DEFAULT) / 1000;
    Some(RoleAlias {
        name: name.into(),
        role: role.name.as_str().into(),
        account: role.account.as_str().into(),
        duration_s: u32::try_from(duration_s).ok()?,
    })
}

/// Remarks on an alias that is valid but refuses everybody.
pub(crate) fn remark(alias: &RoleAlias, roles: &[WrittenRole]) -> Option<String> {
    let mut roles = roles.iter();
    let role = roles.find(|written| *written.role.name == *alias.role)?;
    (alias.duration_s > role.role.max_session_s).then(|| {
        format!(
            "has a duration that is longer than max_session of role {}: every request is refused",
            alias.role
        )
    })
}

/// Source: AWS IoT API Reference, `CreateRoleAlias`, `roleAlias`.
fn alias_name(text: &str) -> Checked<()> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=,@-".contains(&byte);
    let rule = "allowed 1 to 128 of the characters A-Z a-z 0-9 _ = , @ -";
    letters(text, 1..=128, is_allowed, rule).map(drop)
}

/// The shortest life of keys. Source: AWS IoT API Reference, `CreateRoleAlias`, `credentialDurationSeconds`; so are the
/// others.
const DURATION_MS_MIN: u64 = 15 * 60 * 1000;

/// The longest.
const DURATION_MS_MAX: u64 = 12 * 60 * 60 * 1000;

/// Of an alias that states none.
const DURATION_MS_DEFAULT: u64 = 60 * 60 * 1000;

// Names within a credentials file: of policies, users and roles.

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
