//! Parses texts that the scanner does not handle, using simd-json. simd-json's tape is a flat list of nodes, built
//! without recursion; its buffers are reused.
//!
//! Memory: the buffers grow with the largest text parsed so far, to at most about 40 bytes per byte of text (for a text
//! consisting of commas). There is one reader per shard.

use crate::json::{Member, MemberName, Members, Object, TextSpan, Value};
use crate::limits::JSON_DEPTH;
use simd_json::tape::{Node, Tape};
use simd_json::{Buffers, fill_tape};

/// Parses JSON texts of any form. There is one per shard.
pub(crate) struct TapeReader {
    buffers: Buffers,
    tape: Tape<'static>,
}

impl TapeReader {
    /// Creates a reader with empty buffers.
    pub(crate) fn new() -> Self {
        Self {
            buffers: Buffers::with_max_depth(0, JSON_DEPTH),
            tape: Tape(Vec::new()),
        }
    }

    /// Parses the known members of a message, unescaping strings in place. Returns `None` if the text is not a single
    /// JSON object or is nested deeper than [`JSON_DEPTH`].
    pub(crate) fn members(&mut self, text: &mut [u8]) -> Option<Members> {
        let base = text.as_ptr().addr();
        self.walk(text, |nodes| {
            let mut members = Members::default();
            for (name, value) in Value::of(nodes).object()?.entries() {
                if let Some(key) = MemberName::of(name.as_bytes()) {
                    members.set(key, member(value, base));
                }
            }
            Some(members)
        })
    }

    /// Parses an event sent by the service, as a client does. Unknown members are skipped.
    pub(crate) fn event<'a>(&mut self, text: &'a mut [u8]) -> Option<Event<'a>> {
        self.walk(text, |nodes| {
            let mut event = Event::default();
            for (name, value) in Value::of(nodes).object()?.entries() {
                match name {
                    "messageType" => event.message_type = value.text(),
                    "messagePayload" => event.payload = value.text(),
                    "senderClientId" => event.sender = value.text(),
                    "statusResponse" => event.status = value.object().map(status),
                    _ => {}
                }
            }
            Some(event)
        })
    }

    /// Parses `text` and passes its tape to `look`. The tape's memory is reused for the next text.
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

/// The members of a service event that clients read.
#[derive(Default)]
pub(crate) struct Event<'a> {
    pub(crate) message_type: Option<&'a str>,
    pub(crate) payload: Option<&'a str>,
    pub(crate) sender: Option<&'a str>,
    pub(crate) status: Option<EventStatus<'a>>,
}

/// The members of a `statusResponse` that clients read.
#[derive(Default)]
pub(crate) struct EventStatus<'a> {
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) error_type: Option<&'a str>,
    pub(crate) status_code: Option<&'a str>,
    pub(crate) description: Option<&'a str>,
}

/// Converts a known member's value; `base` is the start address of the text that contains its string.
fn member(value: Value<'_, '_>, base: usize) -> Member {
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

fn status<'b>(object: Object<'_, 'b>) -> EventStatus<'b> {
    let mut status = EventStatus::default();
    for (name, value) in object.entries() {
        match name {
            "correlationId" => status.correlation_id = value.text(),
            "errorType" => status.error_type = value.text(),
            "statusCode" => status.status_code = value.text(),
            "description" => status.description = value.text(),
            _ => {}
        }
    }
    status
}
