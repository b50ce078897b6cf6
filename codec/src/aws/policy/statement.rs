//! One statement, read.

use super::action::Actions;
use super::pattern::Pattern;
use super::{Effect, Request};

/// A statement of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) effect: Effect,
    pub(super) actions: Actions,
    /// At least one; one must match.
    pub(super) resources: Vec<Pattern>,
    /// Each must hold.
    pub(super) conditions: Vec<Condition>,
}

/// A condition on `kinesisvideo:ClientId`: one of its values must be the request's client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// `StringEquals`.
    Equals(Vec<Box<str>>),
    /// `StringLike`.
    Like(Vec<Pattern>),
}

impl Statement {
    /// Whether it applies to a request.
    pub(super) fn matches(&self, request: &Request<'_>) -> bool {
        let resource = request.resource.as_bytes();
        self.actions.has(request.action)
            && self
                .resources
                .iter()
                .any(|pattern| pattern.matches(resource))
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(request.client_id))
    }
}

impl Condition {
    /// Whether it is `StringEquals`.
    pub(super) const fn is_equality(&self) -> bool {
        match self {
            Self::Equals(_) => true,
            Self::Like(_) => false,
        }
    }

    /// Whether it holds. Source: IAM User Guide, "Condition operators": a key that is absent matches nothing.
    fn holds(&self, client_id: Option<&str>) -> bool {
        let Some(id) = client_id else { return false };
        match self {
            Self::Equals(values) => values.iter().any(|value| **value == *id),
            Self::Like(values) => values.iter().any(|value| value.matches(id.as_bytes())),
        }
    }
}
