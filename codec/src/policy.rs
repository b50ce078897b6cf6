//! IAM policy documents, which define which actions a principal may perform on which resources.
//!
//! # Theory of operation
//! A document is either parsed completely or rejected. Anything ambiguous is an error, since ignoring it could grant
//! what the author meant to deny. Examples are an unknown key or operator, and a variable in a document whose version
//! does not support variables.
//! ```text
//! text ─ Policy::parse ──▶ bytes: for each statement, its effect, actions (a set of bits), resources, conditions
//! Request{action, resource, client id, context} ─ Policy::decide ──▶ Deny (one is enough) | Open | Allow | NoMatch
//! ```
//! A statement matches a request if its actions include the request's action, at least one of its resources matches,
//! and all its conditions hold. Request values are literal: a wildcard or variable in the value of a variable has no
//! special meaning. The caller combines the decisions of several documents, and denies a request that none of them
//! allows.
//!
//! Only the shard that owns a channel knows the channel's tags. On other shards, decisions that depend on tags are
//! [`Decision::Open`]; no other decisions are. [`Policy::reads`] returns whether a policy uses tags.
//!
//! Sealed tokens contain policies in serialized form, which can be loaded without parsing.
//!
//! Source: IAM User Guide, "Grammar of the IAM JSON policy language", "Policy evaluation logic"; Service Authorization
//! Reference, "Amazon Kinesis Video Streams", "AWS Security Token Service".

mod action;
mod condition;
mod context;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod list;
mod operator;
mod pattern;
mod read;
mod remarks;
mod rules;
mod scalars;
mod statement;
mod trust;
mod variable;

pub use action::Action;
use action::Actions;
use condition::{ConditionWork, Match};
pub use condition::{Context, Key, KeyName, ShortText, VALUE_BYTES_MAX, Value};
use context::KeyNames;
pub use limits::{
    ENTRIES_MAX, FAULTS_MAX, PATTERN_BYTES_MAX, POLICY_BYTES_MAX, SESSION_POLICY_BYTES_MAX,
    SESSION_VARIABLES_MAX, STATEMENTS_MAX, TRUST_BYTES_MAX, VARIABLES_MAX,
};
use rules::{Effect, Grammar};
use statement::{Statement, StatementSubject};
use std::collections::BTreeSet;
use std::fmt;
pub use trust::{Trust, TrustDecision, TrustGround, Trusted};

/// A parsed policy document, which is more compact than the document's text. Shared by all principals that refer to the
/// policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    statements: Box<[u8]>,
    keys: KeyNames,
    name: Box<str>,
}

/// The statement that caused a request to be denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ground {
    /// Position of the statement in the document, counted from 1.
    pub statement: usize,
    /// The condition that kept the statement from allowing the request, or `None` if the statement denies the request.
    failed: Option<u16>,
}

/// A request to be authorized.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The action of the request.
    pub action: Action,
    /// ARN of the resource, or `*` for actions without a resource. When a channel is created, its creation time is not
    /// known yet, so the ARN ends in a literal `*`: `arn:aws:kinesisvideo:<region>:<account>:channel/<name>/*`.
    pub resource: &'a str,
    /// Client id of the viewer that connects or fetches ICE servers.
    pub client_id: Option<&'a str>,
    /// The values of all other condition keys.
    pub context: &'a dyn Context,
}

/// A single document's decision on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// At least one statement allows the request, and none denies it.
    Allow,
    /// At least one statement denies the request.
    Deny,
    /// The decision depends on a value that this shard does not know.
    Open,
    /// No statement applies to the request.
    NoMatch,
}

impl Decision {
    /// Combines the decisions of two documents of the same principal. `Deny` overrides `Open`, and `Open` overrides
    /// `Allow`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Deny, _) | (_, Self::Deny) => Self::Deny,
            (Self::Open, _) | (_, Self::Open) => Self::Open,
            (Self::Allow, _) | (_, Self::Allow) => Self::Allow,
            (Self::NoMatch, Self::NoMatch) => Self::NoMatch,
        }
    }
}

impl Policy {
    /// Parses a document of at most [`POLICY_BYTES_MAX`] bytes. On failure, returns the first error with its line and
    /// column.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::bounded(text, POLICY_BYTES_MAX, VARIABLES_MAX)
    }

    /// Parses a document of at most [`SESSION_POLICY_BYTES_MAX`] bytes that was passed to GetFederationToken.
    pub fn parse_session(text: &str) -> Result<Self, PolicyError> {
        Self::bounded(text, SESSION_POLICY_BYTES_MAX, SESSION_VARIABLES_MAX)
    }

    /// Parses a document like [`Self::parse`], but returns up to [`FAULTS_MAX`] errors in order, for operators. Parsing
    /// stops at invalid JSON, and at a list or object where neither is permitted. The document is parsed once for each
    /// error.
    pub fn parse_with_faults(text: &str) -> Result<Self, Vec<PolicyError>> {
        Self::parse(text).map_err(|first| all_faults(text, Grammar::Permissions, first))
    }

    fn bounded(text: &str, bytes_max: usize, variables_max: usize) -> Result<Self, PolicyError> {
        within(text, bytes_max)?;
        let statements = read::document(text, Grammar::Permissions, variables_max, 0)?;
        let unread = || PolicyError::whole("the document cannot be kept".to_owned());
        Self::of_bytes(&statements).ok_or_else(unread)
    }

    /// Returns the policy in serialized form, which [`Self::of_bytes`] loads. Other versions of the program also read
    /// this format.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        &self.statements
    }

    /// Loads a serialized policy. Returns `None` if [`Self::bytes`] did not produce the bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (mut rest, mut keys) = (bytes, KeyNames::default());
        while !rest.is_empty() {
            let statement;
            (statement, rest) = Statement::read(rest)?;
            statement.each_key(|key, _| keys.add(key.name))?;
        }
        Some(Self {
            statements: bytes.into(),
            keys,
            name: "".into(),
        })
    }

    /// Sets the name that is shown to operators.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let name = name.into();
        Self { name, ..self }
    }

    /// Returns the name that is shown to operators. Empty if the policy has no name.
    #[must_use]
    pub const fn name(&self) -> &str {
        &self.name
    }

    /// Evaluates a request without allocating. Adds the work done to `steps`: for each pattern, at most the length of
    /// the text in bytes multiplied by the number of 64-byte words in the pattern.
    ///
    /// Evaluating conditions and variables is subject to a separate limit, which is proportional to the size of the
    /// document. Requests that would exceed it are denied. Ordinary documents stay far below this limit.
    ///
    /// Sets `ground` to the statement that denies the request or, if there is none, to the first statement that would
    /// allow the request if its conditions were met.
    #[must_use]
    pub fn decide(
        &self,
        request: &Request<'_>,
        steps: &mut u64,
        ground: &mut Option<Ground>,
    ) -> Decision {
        let subject = StatementSubject::new(request);
        let mut work = ConditionWork::new(self.statements.len());
        let (mut decision, mut open) = (Decision::NoMatch, None);
        for (number, statement) in (1..).zip(self.statements()) {
            let denies = statement.effect == Effect::Deny;
            if decision == Decision::Allow && !denies {
                continue;
            }
            work.failed = None;
            let matches = statement.matches(&subject, &mut work, steps);
            let rests_on = |failed| Ground {
                statement: number,
                failed,
            };
            if work.is_over() || (denies && matches == Match::Yes) {
                *ground = (!work.is_over()).then(|| rests_on(None));
                decision = Decision::Deny;
                break;
            }
            match matches {
                Match::Yes => decision = Decision::Allow,
                Match::Open => open = open.max(Some(denies)),
                Match::No if denies => {}
                Match::No => *ground = ground.or(work.failed.map(|nth| rests_on(Some(nth)))),
            }
        }
        *steps += work.steps;
        match (decision, open) {
            // In all other cases, the unknown value cannot change the decision.
            (Decision::Allow | Decision::NoMatch, Some(true))
            | (Decision::NoMatch, Some(false)) => Decision::Open,
            (decision, _) => decision,
        }
    }

    /// Returns the position, counted from 1, of the first statement that allows the request, even if another statement
    /// denies it.
    #[must_use]
    pub fn allowed_by(&self, request: &Request<'_>) -> Option<usize> {
        let subject = StatementSubject::new(request);
        let mut work = ConditionWork::new(self.statements.len());
        let mut statements = (1..).zip(self.statements());
        let (number, _) = statements.find(|(_, statement)| {
            statement.effect == Effect::Allow
                && statement.matches(&subject, &mut work, &mut 0) == Match::Yes
        })?;
        Some(number)
    }

    /// Returns the key of the condition that failed, or `None` if the statement denies the request.
    #[must_use]
    pub fn failed_key(&self, ground: Ground) -> Option<String> {
        let nth = usize::from(ground.failed?);
        let Some(nth) = nth.checked_sub(1) else {
            return Some(KeyName::ClientId.as_str().to_owned());
        };
        let statement = self.statements().nth(ground.statement.checked_sub(1)?)?;
        Some(statement.conditions().nth(nth)??.key.to_string())
    }

    /// Returns whether any statement uses this key, either in a condition or as a variable.
    #[must_use]
    pub const fn reads(&self, name: KeyName) -> bool {
        self.keys.has(name)
    }

    /// Returns the identity provider token claims that the statements use, each as `ISSUER:CLAIM`.
    #[must_use]
    pub fn claims(&self) -> BTreeSet<String> {
        let mut claims = BTreeSet::new();
        for statement in self.statements() {
            // This cannot fail, because every statement has already been decoded once.
            let _ = statement.each_key(|key, _| {
                if key.name == KeyName::Claim {
                    claims.insert(key.detail.to_owned());
                }
            });
        }
        claims
    }

    /// Returns the actions that at least one statement allows on some resource, even if another statement denies them.
    pub fn allowed_somewhere(&self) -> impl Iterator<Item = Action> + '_ {
        let allows = |statement: &Statement<'_>| statement.effect == Effect::Allow;
        let sets = self.statements().filter(allows);
        let all = sets.fold(Actions::default(), |all, statement| {
            all.union(statement.actions)
        });
        Action::ALL
            .into_iter()
            .filter(move |action| all.has(*action))
    }

    /// Returns the only client id for which the policy allows the action. Returns `None` unless every statement that
    /// allows the action has a `StringEquals` condition that permits only this id.
    #[must_use]
    pub fn sole_client_id(&self, action: Action) -> Option<&[u8]> {
        let allows = |statement: &Statement<'_>| {
            statement.effect == Effect::Allow && statement.actions.has(action)
        };
        let mut ids = self
            .statements()
            .filter(allows)
            .map(|statement| statement.equals.only());
        let first = ids.next()??;
        ids.all(|id| id == Some(first)).then_some(first)
    }

    /// Returns whether any statement has the effect `Deny`.
    #[must_use]
    pub fn denies(&self) -> bool {
        self.statements()
            .any(|statement| statement.effect == Effect::Deny)
    }

    fn statements(&self) -> impl Iterator<Item = Statement<'_>> {
        let mut rest = &*self.statements;
        std::iter::from_fn(move || {
            let (statement, behind) = Statement::read(rest)?;
            rest = behind;
            Some(statement)
        })
    }
}

fn within(text: &str, bytes_max: usize) -> Result<(), PolicyError> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    let rule = format!(
        "the document has {} bytes, expected at most {bytes_max}",
        text.len()
    );
    Err(PolicyError::whole(rule))
}

fn all_faults(text: &str, grammar: Grammar, first: PolicyError) -> Vec<PolicyError> {
    if first.line == 0 {
        return vec![first];
    }
    let later = (1..FAULTS_MAX)
        .map_while(|forgiven| read::document(text, grammar, VARIABLES_MAX, forgiven).err());
    let mut faults = vec![first];
    for fault in later {
        // If the parser cannot skip an error, it reports the same error again.
        if faults.last() == Some(&fault) {
            break;
        }
        faults.push(fault);
    }
    faults
}

/// An error in a document. Displayed as `line 3, column 14: …`, with at most a short excerpt of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The line, counted from 1, or 0 if the error concerns the document as a whole.
    pub line: usize,
    /// The column in bytes, counted from 1, or 0 if the error concerns the document as a whole. This is the position of
    /// the last byte read, which is where the error ends.
    pub column: usize,
    /// A description of the error, including the permitted values.
    pub rule: String,
}

impl PolicyError {
    pub(crate) const fn whole(rule: String) -> Self {
        Self {
            line: 0,
            column: 0,
            rule,
        }
    }
}

impl From<serde_json::Error> for PolicyError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let mut rule = error.to_string();
        if let Some(cut) = rule.strip_suffix(&format!(" at line {line} column {column}")) {
            rule.truncate(cut.len());
        }
        Self { line, column, rule }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(out, "line {}, column {}: ", self.line, self.column)?;
        }
        out.write_str(&self.rule)
    }
}

impl std::error::Error for PolicyError {}

#[cfg(test)]
mod tests;
