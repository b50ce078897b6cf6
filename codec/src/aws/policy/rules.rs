//! The members that a policy document may hold, and their values.

use super::effect::Effect;
use super::limits::PATTERN_BYTES_MAX;

/// The members that an object had so far.
#[derive(Default)]
pub(super) struct Members(Vec<&'static str>);

impl Members {
    /// The known member of a name, if it is one and occurs for the first time.
    pub(super) fn note(
        &mut self,
        name: &str,
        known: &[&'static str],
    ) -> Result<&'static str, String> {
        let Some(&member) = known.iter().find(|member| **member == name) else {
            let why = if UNEVALUATED.contains(&name) {
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

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    /// Checks that a statement had what it needs. A member with an invalid value was reported at its place.
    pub(super) fn require_statement(&self) -> Result<(), String> {
        for (name, other) in PAIRS {
            if self.has(name) && self.has(other) {
                return Err(format!("the statement must have either {name} or {other}"));
            }
        }
        let missing = ["Effect", "Action", "Resource"].into_iter().filter(|name| {
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

pub(super) fn version(text: &str) -> Result<(), String> {
    match text {
        VERSION_WITH_VARIABLES | "2008-10-17" => Ok(()),
        _ => Err(format!(
            "Version {}: allowed \"2012-10-17\", \"2008-10-17\"",
            excerpt(text)
        )),
    }
}

pub(super) fn effect(text: &str) -> Result<Effect, String> {
    match text {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        _ => Err(format!(
            "Effect {}: allowed \"Allow\", \"Deny\"",
            excerpt(text)
        )),
    }
}

pub(super) fn resource(text: &str) -> Result<&str, String> {
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

/// A value of a condition, which may be empty.
pub(super) fn value(text: &str) -> Result<&str, String> {
    if text.is_empty() {
        Ok(text)
    } else {
        bounded(text)
    }
}

pub(super) fn bounded(text: &str) -> Result<&str, String> {
    if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
        return Err(format!(
            "{}: allowed 1 to {PATTERN_BYTES_MAX} bytes",
            excerpt(text)
        ));
    }
    Ok(text)
}

/// A text in quotes, cut off when long.
pub(super) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// In place of the name of a member that is skipped.
pub(super) const IGNORED: &str = "";

pub(super) const DOCUMENT_MEMBERS: &[&str] = &["Version", "Id", "Statement"];

pub(super) const STATEMENT_MEMBERS: &[&str] = &[
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

/// Members of which a statement has one.
const PAIRS: [(&str, &str); 2] = [("Action", "NotAction"), ("Resource", "NotResource")];

/// Members that IAM has and that change who may do what, so they are distinguished from misspelt ones.
const UNEVALUATED: &[&str] = &["Principal", "NotPrincipal"];

/// The version whose texts may have variables.
pub(super) const VERSION_WITH_VARIABLES: &str = "2012-10-17";

const EXCERPT_CHARS_MAX: usize = 80;
