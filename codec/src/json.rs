//! JSON text: two equivalent readers for signaling messages, a reader for values in API bodies, and a writer that
//! escapes strings.
//!
//! Clients nearly always send one flat object of strings, without escapes except perhaps `\/`. The flat scanner
//! (`scan`) reads objects of that form and skips the values of unknown members. If it encounters anything else, it
//! gives up *before it has changed a byte*, so that simd-json (`tape`) can parse the text instead. The scanner can
//! therefore only be faster, never more lenient: simd-json gives the same result for every text that the scanner
//! accepts, which is tested with generated and mutated texts.
//!
//! Both readers return the positions of the values of the four known members. Strings are unescaped in place, so the
//! values remain within the text.
//!
//! simd-json deviates from RFC 8259 in one respect: it rejects valid numbers that exceed 64 bits or the range of a
//! double.

#[cfg(test)]
mod oracle;
mod scan;
pub(crate) mod tape;
pub mod write;

use scan::scan;
use simd_json::{Node, StaticNode};
use tape::TapeReader;

/// Parses a text with the scanner, or with simd-json if the scanner gives up. Returns `None` if the text is not a
/// single JSON object or is nested too deeply.
pub(crate) fn read(text: &mut [u8], tape: &mut TapeReader) -> Option<Members> {
    scan(text).or_else(|| tape.members(text))
}

// The known members of a message and the positions of their values.

/// A byte range within a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TextSpan {
    /// Offset of the first byte.
    pub(crate) start: usize,
    /// Offset of the end (exclusive).
    pub(crate) end: usize,
}

impl TextSpan {
    /// Whether the range is empty.
    pub(crate) const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes in the range; empty if the text ends before the range does.
    pub(crate) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// The value of a known member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Member {
    /// The member is absent or null, which are equivalent.
    #[default]
    Absent,
    /// A string, unescaped.
    Text(TextSpan),
    /// A number, boolean, array or object.
    Other,
}

/// Names of the members that the service evaluates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberName {
    Action,
    Payload,
    Recipient,
    Correlation,
}

impl MemberName {
    /// Returns the known member with this name. The first letter is matched case-insensitively, the rest exactly.
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        match name {
            [b'a' | b'A', b'c', b't', b'i', b'o', b'n'] => Some(Self::Action),
            [b'm' | b'M', rest @ ..] if rest == PAYLOAD_TAIL => Some(Self::Payload),
            [b'r' | b'R', rest @ ..] if rest == RECIPIENT_TAIL => Some(Self::Recipient),
            [b'c' | b'C', rest @ ..] if rest == CORRELATION_TAIL => Some(Self::Correlation),
            _ => None,
        }
    }
}

/// The known members of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    pub(crate) action: Member,
    pub(crate) payload: Member,
    pub(crate) recipient: Member,
    pub(crate) correlation: Member,
    /// Whether the payload is known to be well-formed standard base64, so that it need not be checked again.
    /// Meaningless if `twice` is set, since it may refer to the other payload.
    pub(crate) payload_proven: bool,
    /// Whether a known member occurs more than once, regardless of the case of its first letter, and even if its value
    /// is `null`.
    pub(crate) twice: bool,
    /// Whether the correlation id occurs more than once, in which case neither value can be echoed.
    pub(crate) correlation_twice: bool,
    /// Bit set of the members encountered so far, indexed by [`MemberName`].
    seen: u8,
}

impl Members {
    /// Records the value of a known member.
    pub(crate) fn set(&mut self, key: MemberName, value: Member) {
        let bit = 1 << key as u8;
        if self.seen & bit != 0 {
            self.twice = true;
            self.correlation_twice |= key == MemberName::Correlation;
            return;
        }
        self.seen |= bit;
        *match key {
            MemberName::Action => &mut self.action,
            MemberName::Payload => &mut self.payload,
            MemberName::Recipient => &mut self.recipient,
            MemberName::Correlation => &mut self.correlation,
        } = value;
    }
}

const PAYLOAD_TAIL: &[u8] = b"essagePayload";
const RECIPIENT_TAIL: &[u8] = b"ecipientClientId";
const CORRELATION_TAIL: &[u8] = b"orrelationId";

// Values on simd-json's tape, for messages and API bodies alike.
//
// # Theory of operation
// simd-json turns a text into a flat list of nodes; a container's head says how many nodes follow it:
// ```text
//  {"Tags":[{"Key":"k"}],"A":1}
//  Object(10) "Tags" Array Object "Key" "k" "A" 1        a value is its head and the nodes that belong to it:
//                    └───────── value ────┘              a slice; its neighbour begins where the slice ends
// ```
// Walking is slicing, so no depth of nesting costs stack, and skipping an unknown value costs nothing.

/// A JSON value of any type: its head node and all its descendant nodes.
#[derive(Clone, Copy)]
pub(crate) struct Value<'t, 'b> {
    nodes: &'t [Node<'b>],
}

/// A JSON object: its keys and values in the order of the text.
#[derive(Clone, Copy)]
pub(crate) struct Object<'t, 'b> {
    nodes: &'t [Node<'b>],
}

impl<'t, 'b> Value<'t, 'b> {
    /// Returns the root value of a tape.
    pub(crate) fn of(nodes: &'t [Node<'b>]) -> Self {
        Self { nodes }
    }

    /// Splits the first value off a list of nodes.
    #[inline]
    fn first(nodes: &'t [Node<'b>]) -> Option<(Self, &'t [Node<'b>])> {
        let below = match nodes.first()? {
            Node::Object { count, .. } | Node::Array { count, .. } => *count,
            Node::String(_) | Node::Static(_) => 0,
        };
        let (own, rest) = nodes.split_at_checked(below + 1)?;
        Some((Self { nodes: own }, rest))
    }

    pub(crate) fn is_null(self) -> bool {
        matches!(self.nodes, [Node::Static(StaticNode::Null)])
    }

    pub(crate) fn text(self) -> Option<&'b str> {
        match self.nodes {
            [Node::String(text)] => Some(text),
            [..] => None,
        }
    }

    /// The value as an integer. `60.0` and `6e1` do not count as integers; no client writes integers in such a form.
    pub(crate) fn integer(self) -> Option<i64> {
        match self.nodes {
            [Node::Static(StaticNode::I64(integer))] => Some(*integer),
            // Accepted integers are small; one beyond i64 is out of every range anyway.
            [Node::Static(StaticNode::U64(integer))] => {
                Some(i64::try_from(*integer).unwrap_or(i64::MAX))
            }
            [..] => None,
        }
    }

    pub(crate) fn object(self) -> Option<Object<'t, 'b>> {
        match self.nodes {
            [Node::Object { .. }, nodes @ ..] => Some(Object { nodes }),
            [..] => None,
        }
    }

    /// The elements of a list.
    pub(crate) fn items(self) -> Option<impl Iterator<Item = Self>> {
        let [Node::Array { .. }, nodes @ ..] = self.nodes else {
            return None;
        };
        let mut rest = nodes;
        Some(std::iter::from_fn(move || {
            let (value, after) = Value::first(rest)?;
            rest = after;
            Some(value)
        }))
    }
}

impl<'t, 'b> Object<'t, 'b> {
    /// The object's keys, each with its value.
    #[inline]
    pub(crate) fn entries(self) -> impl Iterator<Item = (&'b str, Value<'t, 'b>)> {
        let mut rest = self.nodes;
        std::iter::from_fn(move || {
            let (Node::String(key), after) = rest.split_first()? else {
                return None;
            };
            let (value, after) = Value::first(after)?;
            rest = after;
            Some((*key, value))
        })
    }
}

#[cfg(test)]
mod members_tests {
    use super::*;

    #[test]
    fn only_the_first_letter_is_folded() {
        for (name, key) in [
            ("action", Some(MemberName::Action)),
            ("Action", Some(MemberName::Action)),
            ("messagePayload", Some(MemberName::Payload)),
            ("MessagePayload", Some(MemberName::Payload)),
            ("recipientClientId", Some(MemberName::Recipient)),
            ("RecipientClientId", Some(MemberName::Recipient)),
            ("correlationId", Some(MemberName::Correlation)),
            ("CorrelationId", Some(MemberName::Correlation)),
            ("ACTION", None),
            ("actionx", None),
            ("actio", None),
            ("messagepayload", None),
            ("correlationID", None),
            ("senderClientId", None),
            ("", None),
        ] {
            assert_eq!(MemberName::of(name.as_bytes()), key, "{name}");
        }
    }

    #[test]
    fn a_second_value_is_noticed_and_not_taken() {
        let mut members = Members::default();
        members.set(MemberName::Action, Member::Absent);
        assert!(!members.twice);
        members.set(MemberName::Action, Member::Other);
        assert!(members.twice && members.action == Member::Absent && !members.correlation_twice);
        members.set(MemberName::Correlation, Member::Other);
        members.set(MemberName::Correlation, Member::Absent);
        assert!(members.correlation_twice && members.correlation == Member::Other);
    }
}
