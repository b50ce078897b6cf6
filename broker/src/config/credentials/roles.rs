//! Roles of a credentials file.

use crate::config::credentials::files::Files;
use crate::config::credentials::names::{policies_of, policy_names, user_name};
use crate::config::document::{Section, text};
use broker_core::auth::Role;
use broker_core::settings::value;
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
