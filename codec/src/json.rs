//! JSON: two equivalent readers for signaling messages, a reader for values in API bodies, and a writer for escaped
//! strings.
//!
//! Clients nearly always send one flat object of strings, without escapes except perhaps `\/`. The flat scanner
//! (`scan`) reads objects of that form and skips the values of unknown members. For any other text, the scanner gives
//! up *before it has changed a byte*, and simd-json ([`TapeReader`]) parses the text instead. The scanner is therefore
//! faster but never more lenient: simd-json gives the same result for every text that the scanner accepts. Tests with
//! generated and mutated texts verify this.
//!
//! Both readers return the positions of the values of the four known members. Strings are unescaped in place, so the
//! values stay within the text.
//!
//! simd-json deviates from RFC 8259 in one respect: it rejects valid numbers that do not fit into 64 bits or exceed the
//! range of a double.

#[cfg(test)]
mod oracle;
mod scan;
pub mod write;

use crate::limits::JSON_DEPTH;
use scan::scan;
use simd_json::{Buffers, Node, StaticNode, Tape, fill_tape};

/// Reads the known members of a JSON text into `members`, which must be empty; returning members would copy them.
/// Returns `None` if the text is not a single JSON object or is nested too deeply.
pub(crate) fn read(text: &mut [u8], tape: &mut TapeReader, members: &mut Members) -> Option<()> {
    if scan(text, members).is_none() {
        *members = tape.members(text)?;
    }
    Some(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TextSpan {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl TextSpan {
    pub(crate) const fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(crate) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Member {
    /// The member is absent or `null`, which are equivalent.
    #[default]
    Absent,
    Text(TextSpan),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberName {
    Action,
    Payload,
    Recipient,
    Correlation,
}

impl MemberName {
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    pub(crate) action: Member,
    pub(crate) payload: Member,
    pub(crate) recipient: Member,
    pub(crate) correlation: Member,
    /// Whether the payload is known to be well-formed base64 in the standard alphabet. Meaningless if `twice` is set.
    pub(crate) payload_proven: bool,
    /// Whether a known member occurs more than once. Names that differ only in the case of the first letter denote the
    /// same member. Members whose value is `null` also count.
    pub(crate) twice: bool,
    /// Whether the correlation id is duplicated. If so, neither value can be echoed.
    pub(crate) correlation_twice: bool,
    /// Bit set of the members seen so far, indexed by [`MemberName`].
    seen: u8,
}

impl Members {
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

// Values on the tape of simd-json, for messages and API bodies.
//
// simd-json turns a text into a flat list of nodes. The head of a container contains the number of nodes that follow:
// ```text
//  {"Tags":[{"Key":"k"}],"A":1}
//  Object(10) "Tags" Array Object "Key" "k" "A" 1        a value is the slice of its head and of its nodes;
//                    └───────── value ────┘              the next value begins where the slice ends
// ```
// A reader only slices this list, so nesting consumes no stack, and skipping an unknown value is free.

/// A JSON value: its head node and all descendants of that node.
#[derive(Clone, Copy)]
pub(crate) struct Value<'t, 'b> {
    nodes: &'t [Node<'b>],
}

#[derive(Clone, Copy)]
pub(crate) struct Object<'t, 'b> {
    nodes: &'t [Node<'b>],
}

impl<'t, 'b> Value<'t, 'b> {
    pub(crate) fn of(nodes: &'t [Node<'b>]) -> Self {
        Self { nodes }
    }

    /// Splits the first value off a list of nodes. Returns the value and the remaining nodes.
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

    /// Returns the value as an integer. `60.0` and `6e1` do not count as integers; no client sends them.
    pub(crate) fn integer(self) -> Option<i64> {
        match self.nodes {
            [Node::Static(StaticNode::I64(integer))] => Some(*integer),
            // The accepted integers are small, so a number that does not fit into `i64` exceeds every permitted range.
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

/// Parses the texts that the scanner leaves to simd-json.
///
/// The buffers are reused and grow with the largest text seen so far, to at most about 40 bytes per byte of text. (The
/// worst case is a text of commas.) Each shard has one reader.
pub(crate) struct TapeReader {
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Default for TapeReader {
    fn default() -> Self {
        Self {
            buffers: Buffers::with_max_depth(0, JSON_DEPTH),
            tape: Tape(Vec::new()),
        }
    }
}

impl TapeReader {
    /// Reads the known members of a text. Returns `None` if the text is not a single JSON object or is nested deeper
    /// than [`JSON_DEPTH`].
    pub(crate) fn members(&mut self, text: &mut [u8]) -> Option<Members> {
        let base = text.as_ptr().addr();
        self.walk(text, |nodes| {
            let mut members = Members::default();
            for (name, value) in Value::of(nodes).object()?.entries() {
                if let Some(key) = MemberName::of(name.as_bytes()) {
                    members.set(key, position(value, base));
                }
            }
            Some(members)
        })
    }

    /// Parses a text and passes its nodes to `look`. Returns `None` if the text is not valid.
    pub(crate) fn walk<'a, T>(
        &mut self,
        text: &'a mut [u8],
        look: impl FnOnce(&[Node<'a>]) -> Option<T>,
    ) -> Option<T> {
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let parsed = fill_tape(text, &mut self.buffers, &mut tape);
        let found = parsed.ok().and_then(|()| look(&tape.0));
        self.tape = tape.reset();
        found
    }
}

/// Returns the position of a value in the text that begins at the address `base`.
fn position(value: Value<'_, '_>, base: usize) -> Member {
    match value.text() {
        Some(text) => {
            let start = text.as_ptr().addr().wrapping_sub(base);
            Member::Text(TextSpan {
                start,
                end: start.wrapping_add(text.len()),
            })
        }
        None if value.is_null() => Member::Absent,
        None => Member::Other,
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
