//! The members of policy documents and the values that they may have.

use crate::policy::limits::PATTERN_BYTES_MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grammar {
    Permissions,
    Trust,
}

impl Grammar {
    pub(crate) const fn members(self) -> &'static [&'static str] {
        match self {
            Self::Permissions => STATEMENT_MEMBERS,
            Self::Trust => TRUST_MEMBERS,
        }
    }

    const fn needed(self) -> [&'static str; 3] {
        match self {
            Self::Permissions => ["Effect", "Action", "Resource"],
            Self::Trust => ["Effect", "Principal", "Action"],
        }
    }
}

#[derive(Default)]
pub(crate) struct Members(Vec<&'static str>);

impl Members {
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
                "{}: {why}, expected {}",
                excerpt(name),
                known.join(", ")
            ));
        };
        if self.0.contains(&member) {
            return Err(format!("{member}: expected once"));
        }
        self.0.push(member);
        Ok(member)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    /// Checks that a statement has all required members. Errors in the values have already been reported at their
    /// positions.
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
            "Version {}: expected \"2012-10-17\", \"2008-10-17\"",
            excerpt(text)
        )),
    }
}

pub(crate) fn effect(text: &str) -> Result<Effect, String> {
    match text {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        _ => Err(format!(
            "Effect {}: expected \"Allow\", \"Deny\"",
            excerpt(text)
        )),
    }
}

pub(crate) fn resource(text: &str) -> Result<&str, String> {
    let text = bounded(text)?;
    if text != "*" && !text.starts_with("arn:") {
        return Err(format!(
            "resource {}: expected \"*\" or an ARN such as \
             \"arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/*\", with * and ? anywhere",
            excerpt(text)
        ));
    }
    Ok(text)
}

/// Converts a trust document's principal to its stored form: the kind, a colon and the name. An account id becomes the
/// ARN of the account's root.
pub(crate) fn principal(kind: &str, text: &str) -> Result<String, String> {
    let text = bounded(text)?;
    let wrong = |rule: &str| format!("principal {}: {rule}", excerpt(text));
    if kind == "AWS" && text == "*" {
        return Ok(EVERYBODY.to_owned());
    }
    if text.contains(['*', '?']) {
        return Err(wrong("expected no * and ?, except \"AWS\": \"*\" alone"));
    }
    match kind {
        "AWS" if is_account(text) => Ok(format!("AWS:arn:aws:iam::{text}:root")),
        "AWS" if !is_caller(text) => Err(wrong(
            "expected an account or an ARN such as \"arn:aws:iam::123456789012:user/back-end\", of root, user/NAME, \
             role/NAME or assumed-role/ROLE/SESSION",
        )),
        _ => Ok(format!("{kind}:{text}")),
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

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

pub(crate) fn bounded(text: &str) -> Result<&str, String> {
    if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
        return Err(format!(
            "{}: expected 1 to {PATTERN_BYTES_MAX} bytes",
            excerpt(text)
        ));
    }
    Ok(text)
}

pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

pub(crate) const PRINCIPAL_KINDS: &[&str] = &["AWS", "Service", "Federated"];

pub(crate) const EVERYBODY: &str = "AWS:*";

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

const TRUST_MEMBERS: &[&str] = &[
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Condition",
];

/// Pairs of mutually exclusive members. If one member of a pair is required, the other may take its place.
const PAIRS: [(&str, &str); 3] = [
    ("Action", "NotAction"),
    ("Resource", "NotResource"),
    ("Principal", "NotPrincipal"),
];

pub(crate) const VERSION_WITH_VARIABLES: &str = "2012-10-17";

const EXCERPT_CHARS_MAX: usize = 80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}
