//! The serialized form of a statement.
//!
//! ```text
//! kind 1 | actions 4 | resources | values of StringEquals | values of StringLike | other conditions, if any
//! ```
//! Client id conditions are the most common kind, so they are stored as two lists of values. If such a condition is
//! missing, its list is empty. All other conditions are concatenated.

use crate::policy::Request;
use crate::policy::action::{ACTIONS_BYTES, Actions};
use crate::policy::condition::{Condition, ConditionWork, Key, Match};
use crate::policy::rules::{EVERYBODY, Effect};
use crate::policy::variable::{Expanded, Place, each_variable, expand, has_markers};
use crate::policy::{context::Values, list::List, operator::Operator, pattern::PatternText};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Statement<'p> {
    pub(crate) effect: Effect,
    pub(crate) actions: Actions,
    /// Whether the statement applies to all resources except those that match its patterns (`NotResource`).
    pub(crate) spares_resources: bool,
    pub(crate) expands_resources: bool,
    pub(crate) resources: List<'p>,
    /// `StringEquals` on `kinesisvideo:ClientId`. The request's client id must be equal to one of these values.
    pub(crate) equals: List<'p>,
    /// `StringLike` on `kinesisvideo:ClientId`. The request's client id must match one of these patterns.
    pub(crate) like: List<'p>,
    pub(crate) conditions: List<'p>,
}

#[derive(Clone, Copy)]
pub(crate) enum KeyUse {
    Condition(Operator),
    Variable {
        /// Whether the variable has a default, which is used if the request has no value for it.
        has_default: bool,
    },
}

pub(crate) struct StatementSubject<'a> {
    request: &'a Request<'a>,
    resource: PatternText<'a>,
    client_id: Option<PatternText<'a>>,
    values: Values<'a>,
}

impl<'a> StatementSubject<'a> {
    pub(crate) fn new(request: &'a Request<'a>) -> Self {
        Self {
            request,
            resource: PatternText::new(request.resource),
            client_id: request.client_id.map(PatternText::new),
            values: Values::new(request.client_id, request.context),
        }
    }

    /// Returns whether the request's resource matches a pattern. Returns `without_value` if a variable has no value.
    fn is_on(&self, pattern: &[u8], without_value: Match, work: &mut ConditionWork) -> Match {
        if !has_markers(pattern) {
            return self.resource.matches(pattern, &mut work.steps).into();
        }
        let (scratch, steps) = work.scratch();
        match expand(pattern, Place::Resource, &self.values, scratch, steps) {
            Expanded::Text(pattern) => self.resource.matches_expanded(pattern, steps).into(),
            Expanded::TooLong => Match::No,
            Expanded::WithoutValue => without_value,
            Expanded::Unknown => Match::Open,
        }
    }
}

impl<'p> Statement<'p> {
    /// Decodes a statement, and returns it together with the remaining bytes. Returns `None` if the bytes were not
    /// produced by [`Self::write`].
    pub(crate) fn read(bytes: &'p [u8]) -> Option<(Self, &'p [u8])> {
        let (&[kind], rest) = bytes.split_first_chunk()?;
        let (&actions, rest) = rest.split_first_chunk::<ACTIONS_BYTES>()?;
        let (resources, rest) = List::read(rest)?;
        let (equals, rest) = List::read(rest)?;
        let (like, rest) = List::read(rest)?;
        let (conditions, rest) = if kind & CONDITIONS == 0 {
            (List::default(), rest)
        } else {
            List::read(rest)?
        };
        if kind & !(ALLOW | SPARES_RESOURCES | EXPANDS_RESOURCES | CONDITIONS) != 0 {
            return None;
        }
        let statement = Self {
            effect: if kind & ALLOW == 0 {
                Effect::Deny
            } else {
                Effect::Allow
            },
            actions: Actions::of_bytes(actions),
            spares_resources: kind & SPARES_RESOURCES != 0,
            expands_resources: kind & EXPANDS_RESOURCES != 0,
            resources,
            equals,
            like,
            conditions,
        };
        Some((statement, rest))
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<(), String> {
        let effect = match self.effect {
            Effect::Allow => ALLOW,
            Effect::Deny => 0,
        };
        let bit = |is: bool, bit| if is { bit } else { 0 };
        let conditions = bit(!self.conditions.is_empty(), CONDITIONS);
        let resources = bit(self.spares_resources, SPARES_RESOURCES)
            | bit(self.expands_resources, EXPANDS_RESOURCES);
        out.push(effect | resources | conditions);
        out.extend(self.actions.bytes());
        for list in [self.resources, self.equals, self.like] {
            list.write(out)?;
        }
        if conditions != 0 {
            self.conditions.write(out)?;
        }
        Ok(())
    }

    /// Rejects a trust statement that allows an action to everybody (with or without exceptions) and has no condition.
    pub(crate) fn check_trust(&self) -> Result<(), String> {
        let conditions = [self.equals, self.like, self.conditions];
        let is_conditional = conditions.iter().any(|list| !list.is_empty());
        let mut principals = self.resources.entries();
        let is_wide =
            self.spares_resources || principals.any(|entry| entry == EVERYBODY.as_bytes());
        if is_wide && !is_conditional && self.effect == Effect::Allow {
            let rule = "a statement that allows with NotPrincipal or Principal \"*\" must have a Condition";
            return Err(rule.to_owned());
        }
        Ok(())
    }

    /// Returns whether the statement applies to a request. The cost of comparing the client id and resources without
    /// variables is added to `steps`; all other costs are added to `work`. If the result depends on a lost value, a
    /// `Deny` statement applies and an `Allow` statement does not.
    pub(crate) fn matches(
        &self,
        subject: &StatementSubject<'_>,
        work: &mut ConditionWork,
        steps: &mut u64,
    ) -> Match {
        subject.values.begin();
        let matches = self.applies(subject, work, steps);
        if matches == Match::Open && subject.values.only_lost() {
            return (self.effect == Effect::Deny).into();
        }
        matches
    }

    fn applies(
        &self,
        subject: &StatementSubject<'_>,
        work: &mut ConditionWork,
        steps: &mut u64,
    ) -> Match {
        if !self.actions.has(subject.request.action) {
            return Match::No;
        }
        let mut patterns = self.resources.entries();
        let named = if self.expands_resources {
            // If a variable has no value, the statement does not apply. For `NotResource`, this means that the pattern
            // counts as matched.
            let without_value = self.spares_resources.into();
            Match::any(patterns.map(|pattern| subject.is_on(pattern, without_value, work)))
        } else {
            patterns
                .any(|pattern| subject.resource.matches(pattern, steps))
                .into()
        };
        let applies = if self.spares_resources {
            named.not()
        } else {
            named
        };
        if applies == Match::No {
            return Match::No;
        }
        if !self.holds(subject, steps) {
            work.failed = Some(0);
            return Match::No;
        }
        if self.conditions.is_empty() {
            return applies;
        }
        let conditions = self.conditions().map_while(|condition| condition);
        let mut failed = None;
        let met = Match::all((1..).zip(conditions).map(|(nth, condition)| {
            let holds = condition.holds(&subject.values, work);
            match holds {
                Match::No => failed = Some(nth),
                Match::Open => failed = failed.or(Some(nth)),
                Match::Yes => {}
            }
            holds
        }));
        work.failed = failed;
        applies.min(met)
    }

    pub(crate) fn conditions(&self) -> impl Iterator<Item = Option<Condition<'p>>> {
        let mut rest = self.conditions.bytes();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let read = Condition::read(rest);
            rest = read.map_or(&[], |(_, behind)| behind);
            Some(read.map(|(condition, _)| condition))
        })
    }

    /// Calls `seen` with each condition key except the client id. Returns `None` if the statement cannot be decoded.
    pub(crate) fn each_key(&self, mut seen: impl FnMut(Key<'_>, KeyUse)) -> Option<()> {
        let mut of_variables = |list: List<'_>| {
            let mut entries = list.entries();
            entries.try_for_each(|entry| {
                each_variable(entry, |key, has_default| {
                    seen(key, KeyUse::Variable { has_default });
                })
            })
        };
        of_variables(self.resources)?;
        for condition in self.conditions() {
            of_variables(condition?.values)?;
        }
        for condition in self.conditions().flatten() {
            seen(condition.key, KeyUse::Condition(condition.operator));
        }
        Some(())
    }

    /// Returns whether the client id conditions hold. A condition on an absent key does not match. Source: IAM User
    /// Guide, "Condition operators".
    fn holds(&self, subject: &StatementSubject<'_>, steps: &mut u64) -> bool {
        if self.equals.is_empty() && self.like.is_empty() {
            return true;
        }
        let (Some(id), Some(text)) = (subject.request.client_id, &subject.client_id) else {
            return false;
        };
        let mut is_one = |value: &[u8]| {
            *steps += 1;
            value == id.as_bytes()
        };
        (self.equals.is_empty() || self.equals.entries().any(&mut is_one))
            && (self.like.is_empty() || self.like.entries().any(|value| text.matches(value, steps)))
    }
}

const ALLOW: u8 = 1;

const SPARES_RESOURCES: u8 = 2;

const EXPANDS_RESOURCES: u8 = 8;

const CONDITIONS: u8 = 4;
