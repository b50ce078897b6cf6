//! simd-json behind the scanner: its tape (a flat list of nodes, built without recursion), with buffers that are used
//! again.
//!
//! Memory: the buffers grow to what the largest text asked for, at most about 40 bytes for each byte of a message (a
//! text of nothing but commas). There is one reader per shard.

use super::members::{Key, Member, Members, Span};
use crate::limits::JSON_DEPTH;
use simd_json::tape::{Node, Tape};
use simd_json::{Buffers, StaticNode, fill_tape};

/// Reads JSON texts of any shape. One per shard.
pub(crate) struct TapeReader {
    buffers: Buffers,
    tape: Tape<'static>,
}

impl TapeReader {
    /// A reader without memory of its own yet.
    pub(crate) fn new() -> Self {
        Self {
            buffers: Buffers::with_max_depth(0, JSON_DEPTH),
            tape: Tape(Vec::new()),
        }
    }

    /// The known members of a message. Strings with escapes are unescaped in place. `None`: not one JSON object, or
    /// nested deeper than [`JSON_DEPTH`].
    pub(crate) fn members(&mut self, text: &mut [u8]) -> Option<Members> {
        let base = text.as_ptr().addr();
        self.walk(text, |nodes| {
            let mut members = Members::default();
            for_each_member(nodes, |name, value| {
                if let Some(key) = Key::of(name.as_bytes()) {
                    members.set(key, member(value, base));
                }
            })?;
            Some(members)
        })
    }

    /// An event of the service, as a client reads it. Unknown members are skipped.
    pub(crate) fn event<'a>(&mut self, text: &'a mut [u8]) -> Option<Event<'a>> {
        self.walk(text, |nodes| {
            let mut event = Event::default();
            for_each_member(nodes, |name, value| match name {
                "messageType" => event.message_type = string(value),
                "messagePayload" => event.payload = string(value),
                "senderClientId" => event.sender = string(value),
                "statusResponse" => event.status = status(value),
                _ => {}
            })?;
            Some(event)
        })
    }

    /// Parses `text` and shows the tape to `look`; the tape's memory is kept for the next text.
    fn walk<'a, T>(
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

/// What a client finds in a text of the service.
#[derive(Default)]
pub(crate) struct Event<'a> {
    pub(crate) message_type: Option<&'a str>,
    pub(crate) payload: Option<&'a str>,
    pub(crate) sender: Option<&'a str>,
    pub(crate) status: Option<EventStatus<'a>>,
}

/// What a client finds in a `statusResponse`.
#[derive(Default)]
pub(crate) struct EventStatus<'a> {
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) error_type: Option<&'a str>,
    pub(crate) status_code: Option<&'a str>,
    pub(crate) description: Option<&'a str>,
}

/// Calls `found` with each name and the nodes of its value; `None` unless the nodes are one object.
fn for_each_member<'t, 'a>(
    nodes: &'t [Node<'a>],
    mut found: impl FnMut(&'a str, &'t [Node<'a>]),
) -> Option<()> {
    let (Node::Object { .. }, mut rest) = nodes.split_first()? else {
        return None;
    };
    while let Some((name, after)) = rest.split_first() {
        let Node::String(name) = name else {
            return None;
        };
        let nodes = match after.first()? {
            Node::Object { count, .. } | Node::Array { count, .. } => count + 1,
            Node::String(_) | Node::Static(_) => 1,
        };
        let (value, after) = after.split_at_checked(nodes)?;
        found(name, value);
        rest = after;
    }
    Some(())
}

/// A known member's value; `base` is the address of the text that contains its string.
fn member(value: &[Node<'_>], base: usize) -> Member {
    match value.first() {
        Some(Node::String(text)) => {
            let start = text.as_ptr().addr().wrapping_sub(base);
            Member::Text(Span {
                start,
                end: start.wrapping_add(text.len()),
            })
        }
        None | Some(Node::Static(StaticNode::Null)) => Member::Absent,
        Some(Node::Static(_) | Node::Object { .. } | Node::Array { .. }) => Member::Other,
    }
}

fn string<'a>(value: &[Node<'a>]) -> Option<&'a str> {
    match value.first() {
        Some(Node::String(text)) => Some(text),
        None | Some(Node::Static(_) | Node::Object { .. } | Node::Array { .. }) => None,
    }
}

fn status<'a>(value: &[Node<'a>]) -> Option<EventStatus<'a>> {
    let mut status = EventStatus::default();
    for_each_member(value, |name, value| match name {
        "correlationId" => status.correlation_id = string(value),
        "errorType" => status.error_type = string(value),
        "statusCode" => status.status_code = string(value),
        "description" => status.description = string(value),
        _ => {}
    })?;
    Some(status)
}
