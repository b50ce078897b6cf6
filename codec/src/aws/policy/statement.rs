//! One statement, as its bytes lie in a policy.
//!
//! ```text
//! effect 1 | actions 4 | resources | values of StringEquals | values of StringLike
//! ```
//! Each list is its length in two bytes, then its entries, a [`BETWEEN`] between two of them. A condition that the
//! statement does not have is an empty list.

use super::action::{ACTIONS_BYTES, Actions};
use super::pattern::Text;
use super::{Effect, Request};
use memchr::memchr;

/// A statement of a policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement<'p> {
    pub(super) effect: Effect,
    pub(super) actions: Actions,
    /// Patterns, at least one; one must match.
    pub(super) resources: List<'p>,
    /// `StringEquals` on `kinesisvideo:ClientId`: one of its values must be the request's client id.
    pub(super) equals: List<'p>,
    /// `StringLike`: one of its patterns must match the client id.
    pub(super) like: List<'p>,
}

/// Entries of a statement; none is empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<'p>(&'p [u8]);

/// A request, with what was found out about its texts so far.
pub(super) struct Subject<'a> {
    request: &'a Request<'a>,
    resource: Text<'a>,
    client_id: Option<Text<'a>>,
}

impl<'a> Subject<'a> {
    pub(super) fn new(request: &'a Request<'a>) -> Self {
        Self {
            request,
            resource: Text::new(request.resource),
            client_id: request.client_id.map(Text::new),
        }
    }
}

impl<'p> Statement<'p> {
    /// The first statement of these bytes, and what is behind it; `None` when they are none of [`Self::write`].
    pub(super) fn read(bytes: &'p [u8]) -> Option<(Self, &'p [u8])> {
        let (&[effect], rest) = bytes.split_first_chunk()?;
        let (&actions, rest) = rest.split_first_chunk::<ACTIONS_BYTES>()?;
        let (resources, rest) = List::read(rest)?;
        let (equals, rest) = List::read(rest)?;
        let (like, rest) = List::read(rest)?;
        let effect = match effect {
            ALLOW => Effect::Allow,
            DENY => Effect::Deny,
            _ => return None,
        };
        let statement = Self {
            effect,
            actions: Actions::of_bytes(actions),
            resources,
            equals,
            like,
        };
        Some((statement, rest))
    }

    /// Appends the statement.
    ///
    /// # Errors
    /// A list is too long.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), String> {
        out.push(match self.effect {
            Effect::Allow => ALLOW,
            Effect::Deny => DENY,
        });
        out.extend(self.actions.bytes());
        for list in [self.resources, self.equals, self.like] {
            let length = u16::try_from(list.0.len());
            let length = length.map_err(|_| format!("a list: allowed {} bytes", u16::MAX))?;
            out.extend(length.to_be_bytes());
            out.extend(list.0);
        }
        Ok(())
    }

    /// Whether it applies to a request. Adds the work to `steps`.
    pub(super) fn matches(&self, subject: &Subject<'_>, steps: &mut u64) -> bool {
        self.actions.has(subject.request.action)
            && self
                .resources
                .entries()
                .any(|pattern| subject.resource.matches(pattern, steps))
            && self.holds(subject, steps)
    }

    /// Whether its conditions hold. Source: IAM User Guide, "Condition operators": an absent key matches nothing.
    fn holds(&self, subject: &Subject<'_>, steps: &mut u64) -> bool {
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

impl<'p> List<'p> {
    /// The list of entries, each behind a [`begin_entry`].
    pub(super) const fn new(entries: &'p [u8]) -> Self {
        Self(entries)
    }

    fn read(bytes: &'p [u8]) -> Option<(Self, &'p [u8])> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (list, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        Some((Self(list), rest))
    }

    const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Its entry, if it has one alone.
    pub(super) fn only(self) -> Option<&'p [u8]> {
        (!self.is_empty() && memchr(BETWEEN, self.0).is_none()).then_some(self.0)
    }

    fn entries(self) -> impl Iterator<Item = &'p [u8]> {
        let mut rest = Some(self.0);
        std::iter::from_fn(move || {
            let list = rest?;
            let end = memchr(BETWEEN, list);
            rest = end.and_then(|end| list.get(end + 1..));
            list.get(..end.unwrap_or(list.len()))
        })
    }
}

/// Begins another entry of a list; the caller appends its bytes.
pub(super) fn begin_entry(list: &mut Vec<u8>) {
    if !list.is_empty() {
        list.push(BETWEEN);
    }
}

/// The separator between two entries of a list. No byte of UTF-8.
const BETWEEN: u8 = 0xFF;

const ALLOW: u8 = 1;
const DENY: u8 = 0;
