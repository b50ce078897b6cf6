//! The members that a policy document may hold, and their values.

use crate::policy::limits::PATTERN_BYTES_MAX;

/// The kind of a document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grammar {
    /// The rights of its owner: its statements have resources.
    Permissions,
    /// The trust of a role: its statements have principals.
    Trust,
}

impl Grammar {
    /// The members that a statement may have.
    pub(crate) const fn members(self) -> &'static [&'static str] {
        match self {
            Self::Permissions => STATEMENT_MEMBERS,
            Self::Trust => TRUST_MEMBERS,
        }
    }

    /// The members that a statement must have.
    const fn needed(self) -> [&'static str; 3] {
        match self {
            Self::Permissions => ["Effect", "Action", "Resource"],
            Self::Trust => ["Effect", "Principal", "Action"],
        }
    }
}

/// The members that an object had so far.
#[derive(Default)]
pub(crate) struct Members(Vec<&'static str>);

impl Members {
    /// The known member of a name, if it is one and occurs for the first time.
    pub(crate) fn note(
        &mut self,
        name: &str,
        known: &[&'static str],
    ) -> Result<&'static str, String> {
        let Some(&member) = known.iter().find(|member| **member == name) else {
            let why = if [STATEMENT_MEMBERS, TRUST_MEMBERS]
                .iter()
                .any(|all| all.contains(&name))
            {
                "not evaluated here"
            } else {
                "unknown member"
            };
            return Err(format!(
                "{}: {why}, allowed {}",
                excerpt(name),
                known.join(", ")
            ));
        };
        if self.0.contains(&member) {
            return Err(format!("{member}: allowed once"));
        }
        self.0.push(member);
        Ok(member)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    /// Checks that a statement had what it needs. A member with an invalid value was reported at its place.
    pub(crate) fn require_statement(&self, grammar: Grammar) -> Result<(), String> {
        for (name, other) in PAIRS {
            if self.has(name) && self.has(other) {
                return Err(format!("the statement must have either {name} or {other}"));
            }
        }
        let missing = grammar.needed().into_iter().filter(|name| {
            let is_other = |(known, other): &(&str, &str)| known == name && self.has(other);
            !self.has(name) && !PAIRS.iter().any(is_other)
        });
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("the statement lacks {}", missing.join(", ")))
    }
}

pub(crate) fn version(text: &str) -> Result<(), String> {
    match text {
        VERSION_WITH_VARIABLES | "2008-10-17" => Ok(()),
        _ => Err(format!(
            "Version {}: allowed \"2012-10-17\", \"2008-10-17\"",
            excerpt(text)
        )),
    }
}

pub(crate) fn effect(text: &str) -> Result<Effect, String> {
    match text {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        _ => Err(format!(
            "Effect {}: allowed \"Allow\", \"Deny\"",
            excerpt(text)
        )),
    }
}

pub(crate) fn resource(text: &str) -> Result<&str, String> {
    let text = bounded(text)?;
    if text != "*" && !text.starts_with("arn:") {
        return Err(format!(
            "resource {}: allowed \"*\" or an ARN such as \
             \"arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/*\", with * and ? anywhere",
            excerpt(text)
        ));
    }
    Ok(text)
}

/// A principal of a trust document as it is kept: its kind, a colon and its name. An account is its root.
pub(crate) fn principal(kind: &str, text: &str) -> Result<String, String> {
    let text = bounded(text)?;
    let wrong = |rule: &str| format!("principal {}: {rule}", excerpt(text));
    if kind == "AWS" && text == "*" {
        return Ok(EVERYBODY.to_owned());
    }
    if text.contains(['*', '?']) {
        return Err(wrong("allowed no * and ?, except \"AWS\": \"*\" alone"));
    }
    match kind {
        "AWS" if is_account(text) => Ok(format!("AWS:arn:aws:iam::{text}:root")),
        "AWS" if !is_caller(text) => Err(wrong(
            "allowed an account or an ARN such as \"arn:aws:iam::123456789012:user/back-end\", of root, user/NAME, \
             role/NAME or assumed-role/ROLE/SESSION",
        )),
        _ => Ok(format!("{kind}:{text}")),
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text is the ARN of somebody who may assume a role.
fn is_caller(arn: &str) -> bool {
    let iam = arn.strip_prefix("arn:aws:iam::");
    let sts = arn.strip_prefix("arn:aws:sts::");
    let Some((account, name)) = iam.or(sts).and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    let kinds: &[&str] = match iam {
        Some(_) => &["user/", "role/"],
        None => &["assumed-role/", "federated-user/"],
    };
    let is_named = kinds
        .iter()
        .filter_map(|kind| name.strip_prefix(kind))
        .any(|name| !name.is_empty());
    is_account(account) && (is_named || (iam.is_some() && name == "root"))
}

/// A value of a condition, which may be empty.
pub(crate) fn value(text: &str) -> Result<&str, String> {
    if text.is_empty() {
        Ok(text)
    } else {
        bounded(text)
    }
}

pub(crate) fn bounded(text: &str) -> Result<&str, String> {
    if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
        return Err(format!(
            "{}: allowed 1 to {PATTERN_BYTES_MAX} bytes",
            excerpt(text)
        ));
    }
    Ok(text)
}

/// A text in quotes, cut off when long.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// The kinds of principals.
pub(crate) const PRINCIPAL_KINDS: &[&str] = &["AWS", "Service", "Federated"];

/// Every principal, as it is kept.
pub(crate) const EVERYBODY: &str = "AWS:*";

/// In place of the name of a member that is skipped.
pub(crate) const IGNORED: &str = "";

pub(crate) const DOCUMENT_MEMBERS: &[&str] = &["Version", "Id", "Statement"];

const STATEMENT_MEMBERS: &[&str] = &[
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

/// Members of a statement of a trust document. Each kind of document has members that the other one does not evaluate:
/// they are distinguished from misspelt ones.
const TRUST_MEMBERS: &[&str] = &[
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Condition",
];

/// Members of which a statement has one.
const PAIRS: [(&str, &str); 3] = [
    ("Action", "NotAction"),
    ("Resource", "NotResource"),
    ("Principal", "NotPrincipal"),
];

/// The version whose texts may have variables.
pub(crate) const VERSION_WITH_VARIABLES: &str = "2012-10-17";

const EXCERPT_CHARS_MAX: usize = 80;

/// The effect of a statement on the requests that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}
