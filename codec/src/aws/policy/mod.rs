//! IAM policy documents: which action on which resource a principal may do.
//!
//! # Theory of operation
//! A document is read once, wholly, or refused: what we would have to guess at (a condition that we do not evaluate,
//! `NotAction`, a variable) does not load, since ignoring it could grant what its author denied.
//! ```text
//! text ─ Policy::parse ──▶ bytes: of each statement effect, actions as a set of bits, resources, client ids
//! Request{action, resource, client id} ─ Policy::decide ──▶ Deny (one is enough) | Allow | NoMatch
//! ```
//! A statement matches when its actions hold the request's, one of its resources matches, and each of its conditions
//! holds. A condition on the client id does not hold for a request that has none. A request that no document allows is
//! denied by the caller, which joins the decisions of several documents.
//!
//! A policy is its bytes: reading them again takes no work, so a sealed token holds them in place of the text.
//!
//! Source: IAM User Guide, "Grammar of the IAM JSON policy language", "Policy evaluation logic"; Service Authorization
//! Reference, "Amazon Kinesis Video Streams", "AWS Security Token Service".

mod action;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod names;
mod pattern;
mod read;
mod rules;
mod statement;

pub use action::Action;
pub use error::PolicyError;

use action::Actions;
use statement::{Statement, Subject};

/// A policy document that was read: fewer bytes than its text has. Shared by all principals that name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// One statement behind the other.
    statements: Box<[u8]>,
}

/// A request to be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The action.
    pub action: Action,
    /// The ARN that the action applies to; `*` for actions without a resource. For the creation of a channel, whose
    /// creation time is not known yet, literally `arn:aws:kinesisvideo:<region>:<account>:channel/<name>/*`.
    pub resource: &'a str,
    /// The client id of a viewer that connects or fetches ICE servers.
    pub client_id: Option<&'a str>,
}

/// The decision of one document on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Some statement allows it and none denies it.
    Allow,
    /// Some statement denies it.
    Deny,
    /// No statement applies to it.
    NoMatch,
}

impl Decision {
    /// Joins the decisions of two documents of one principal: a denial wins, then an allowance.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Deny, _) | (_, Self::Deny) => Self::Deny,
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
        Self::parse_bounded(text, POLICY_BYTES_MAX)
    }

    /// Reads a document that came with GetFederationToken: of at most [`SESSION_POLICY_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_session(text: &str) -> Result<Self, PolicyError> {
        Self::parse_bounded(text, SESSION_POLICY_BYTES_MAX)
    }

    /// Reads a document as [`Self::parse`] does, for the operator who wrote it.
    ///
    /// # Errors
    /// All faults in their order, [`FAULTS_MAX`] at most. Invalid JSON, and a list or an object where none is allowed,
    /// end the reading. The document is read as often as it has faults.
    pub fn parse_with_faults(text: &str) -> Result<Self, Vec<PolicyError>> {
        let first = match Self::parse(text) {
            Ok(policy) => return Ok(policy),
            Err(error) => error,
        };
        if first.line() == 0 {
            return Err(vec![first]);
        }
        let later = (1..FAULTS_MAX).map_while(|forgiven| read::document(text, forgiven).err());
        let mut faults = vec![first];
        for fault in later {
            // One that is not forgiven is found again.
            if faults.last() == Some(&fault) {
                break;
            }
            faults.push(fault);
        }
        Err(faults)
    }

    fn parse_bounded(text: &str, bytes_max: usize) -> Result<Self, PolicyError> {
        if text.len() > bytes_max {
            let rule = format!(
                "the document has {} bytes, allowed at most {bytes_max}",
                text.len()
            );
            return Err(PolicyError::whole(rule));
        }
        let statements = read::document(text, 0)?.into_boxed_slice();
        Ok(Self { statements })
    }

    /// The bytes of the policy, for [`Self::of_bytes`]. Programs of other versions read them too.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        &self.statements
    }

    /// The policy of these bytes; `None` when they are none of [`Self::bytes`].
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, rest) = Statement::read(rest)?;
        }
        Some(Self {
            statements: bytes.into(),
        })
    }

    /// Decides on a request, and adds the work to `steps`: for each pattern that is looked at, the bytes of the text
    /// times the words of the pattern at most, which are ⌈its bytes / 64⌉. Allocates nothing.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>, steps: &mut u64) -> Decision {
        let subject = Subject::new(request);
        let mut decision = Decision::NoMatch;
        for statement in self.statements() {
            let denies = statement.effect == Effect::Deny;
            if (decision == Decision::Allow && !denies) || !statement.matches(&subject, steps) {
                continue;
            }
            if denies {
                return Decision::Deny;
            }
            decision = Decision::Allow;
        }
        decision
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

/// The effect of a statement on the requests that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// Longest document in bytes. Source: ours; IAM's own bounds (2,048 to 10,240 without blanks) lie below.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;

/// Longest document of GetFederationToken in bytes. Source: STS API Reference, `Policy`: *Maximum length of 2048*.
pub const SESSION_POLICY_BYTES_MAX: usize = 2048;

/// Most statements of a document.
pub const STATEMENTS_MAX: usize = 256;

/// Most entries of one list of a statement: actions, resources, values of a condition.
pub const ENTRIES_MAX: usize = 512;

/// Longest single pattern in bytes: twice a channel ARN.
pub const PATTERN_BYTES_MAX: usize = 2048;

/// Most faults that are reported of one document.
pub const FAULTS_MAX: usize = 20;

#[cfg(test)]
mod tests;
