//! IAM policy documents: which action on which resource a principal may do.
//!
//! # Theory of operation
//! A document is read once, wholly, or refused: what we would have to guess at (a key or an operator that nobody knows,
//! a variable without the version that has them) does not load, since ignoring it could grant what its author denied.
//! ```text
//! text ─ Policy::parse ──▶ bytes: of each statement effect, actions as a set of bits, resources, conditions
//! Request{action, resource, client id, context} ─ Policy::decide ──▶ Deny (one is enough) | Open | Allow | NoMatch
//! ```
//! A statement matches when its actions hold the request's, one of its resources matches, and each of its conditions
//! holds. Values of the request are literal: what would be a wildcard or a variable in a policy means itself in a value
//! that takes the place of a variable. A request that no document allows is denied by the caller, which joins the
//! decisions of several documents.
//!
//! The tags of a channel are known where it lives. A decision that depends on them is [`Decision::Open`] elsewhere, and
//! no other is ([`Policy::reads`] says which policies name them at all).
//!
//! A policy is its bytes: reading them again takes no work, so a sealed token holds them in place of the text.
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

/// A policy document that was read: fewer bytes than its text has. Shared by all principals that name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// One statement behind the other.
    statements: Box<[u8]>,
    /// The keys that they name.
    keys: KeyNames,
    /// The name by which operators know it; empty for one that has none.
    name: Box<str>,
}

/// The statement that refuses, as a by-product of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ground {
    /// Position in the document, from 1.
    pub statement: usize,
    /// The condition for which it does not allow the request; `None` when it denies it.
    failed: Option<u16>,
}

/// A request to be decided.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The action.
    pub action: Action,
    /// The ARN that the action applies to; `*` for actions without a resource. For the creation of a channel, whose
    /// creation time is not known yet, literally `arn:aws:kinesisvideo:<region>:<account>:channel/<name>/*`.
    pub resource: &'a str,
    /// The client id of a viewer that connects or fetches ICE servers.
    pub client_id: Option<&'a str>,
    /// The values of all other condition keys.
    pub context: &'a dyn Context,
}

/// The decision of one document on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Some statement allows it and none denies it.
    Allow,
    /// Some statement denies it.
    Deny,
    /// Depends on a value that is not known here.
    Open,
    /// No statement applies to it.
    NoMatch,
}

impl Decision {
    /// Joins the decisions of two documents of one principal: a denial wins, then what is open, then an allowance.
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
    /// Reads a document of at most [`POLICY_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// The first fault, with its line and column.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::parse_bounded(text, POLICY_BYTES_MAX, VARIABLES_MAX)
    }

    /// Reads a document that came with GetFederationToken: of at most [`SESSION_POLICY_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_session(text: &str) -> Result<Self, PolicyError> {
        Self::parse_bounded(text, SESSION_POLICY_BYTES_MAX, SESSION_VARIABLES_MAX)
    }

    /// Reads a document as [`Self::parse`] does, for the operator who wrote it.
    ///
    /// # Errors
    /// All faults in their order, [`FAULTS_MAX`] at most. Invalid JSON, and a list or an object where none is allowed,
    /// end the reading. The document is read as often as it has faults.
    pub fn parse_with_faults(text: &str) -> Result<Self, Vec<PolicyError>> {
        Self::parse(text).map_err(|first| all_faults(text, Grammar::Permissions, first))
    }

    fn parse_bounded(
        text: &str,
        bytes_max: usize,
        variables_max: usize,
    ) -> Result<Self, PolicyError> {
        within(text, bytes_max)?;
        let statements = read::document(text, Grammar::Permissions, variables_max, 0)?;
        let unread = || PolicyError::whole("the document cannot be kept".to_owned());
        Self::of_bytes(&statements).ok_or_else(unread)
    }

    /// The bytes of the policy, for [`Self::of_bytes`]. Programs of other versions read them too.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        &self.statements
    }

    /// The policy of these bytes; `None` when they are none of [`Self::bytes`].
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

    /// Trust ground under a name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let name = name.into();
        Self { name, ..self }
    }

    /// The name by which operators know it; empty for one that has none.
    #[must_use]
    pub const fn name(&self) -> &str {
        &self.name
    }

    /// Decides on a request, and adds the work to `steps`: for each pattern that is looked at, the bytes of the text
    /// times the words of the pattern at most, which are ⌈its bytes / 64⌉. Allocates nothing.
    ///
    /// Conditions and variables have a bound of their own, which grows with the document: a request whose values take
    /// more work is denied. No usual document comes near it.
    ///
    /// Sets `ground` to the statement that denies the request; or to the first one that would allow it, except for a
    /// condition.
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
            // Else it is the same whether what is open applies or not.
            (Decision::Allow | Decision::NoMatch, Some(true))
            | (Decision::NoMatch, Some(false)) => Decision::Open,
            (decision, _) => decision,
        }
    }

    /// The first statement that allows a request, whatever others deny: its position in the document, from 1. For
    /// operators, not for decisions.
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

    /// The key of the condition that did not hold; `None` for a statement that denies.
    #[must_use]
    pub fn failed_key(&self, ground: Ground) -> Option<String> {
        let nth = usize::from(ground.failed?);
        let Some(nth) = nth.checked_sub(1) else {
            return Some(KeyName::ClientId.as_str().to_owned());
        };
        let statement = self.statements().nth(ground.statement.checked_sub(1)?)?;
        let Key { name, detail } = statement.conditions().nth(nth)??.key;
        if name == KeyName::Claim {
            return Some(detail.to_owned()); // it is the whole key
        }
        Some(format!("{}{detail}", name.as_str()))
    }

    /// Whether some statement names a key, in a condition or as a variable.
    #[must_use]
    pub const fn reads(&self, name: KeyName) -> bool {
        self.keys.has(name)
    }

    /// The claims of providers that its statements name, each as `ISSUER:CLAIM`.
    #[must_use]
    pub fn claims(&self) -> BTreeSet<String> {
        let mut claims = BTreeSet::new();
        for statement in self.statements() {
            // Each part was read before.
            let _ = statement.each_key(|key, _| {
                if key.name == KeyName::Claim {
                    claims.insert(key.detail.to_owned());
                }
            });
        }
        claims
    }

    /// The actions that some statement allows on something, whatever others deny: for summaries, not for decisions.
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

    /// The only client id for which the policy allows the action: each statement that allows it names this id alone by
    /// `StringEquals`. `None` where more than one client id may be allowed, or none.
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

    /// Whether some statement denies something.
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

/// Refuses a text of more bytes than a document may have.
fn within(text: &str, bytes_max: usize) -> Result<(), PolicyError> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    let rule = format!(
        "the document has {} bytes, allowed at most {bytes_max}",
        text.len()
    );
    Err(PolicyError::whole(rule))
}

/// The faults of a document whose first one is known, in their order, [`FAULTS_MAX`] at most.
fn all_faults(text: &str, grammar: Grammar, first: PolicyError) -> Vec<PolicyError> {
    if first.line() == 0 {
        return vec![first];
    }
    let later = (1..FAULTS_MAX)
        .map_while(|forgiven| read::document(text, grammar, VARIABLES_MAX, forgiven).err());
    let mut faults = vec![first];
    for fault in later {
        // One that is not forgiven is found again.
        if faults.last() == Some(&fault) {
            break;
        }
        faults.push(fault);
    }
    faults
}

// Errors of a policy document, with their place.

/// The first fault of a document. Displays as `line 3, column 14: …`; quotes of the document at most a short excerpt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    line: usize,
    column: usize,
    rule: String,
}

impl PolicyError {
    /// A fault of the document as a whole.
    pub(crate) const fn whole(rule: String) -> Self {
        Self {
            line: 0,
            column: 0,
            rule,
        }
    }

    /// The line, counted from 1; 0 for the document as a whole.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// The column of the last byte that was read, in bytes counted from 1; 0 for the document as a whole. It is at the
    /// end of what is wrong, or just behind.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }

    /// The fault, and what is allowed instead.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
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
