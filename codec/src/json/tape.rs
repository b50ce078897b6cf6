//! Parses the texts that the scanner leaves to simd-json. The tape of simd-json is a flat list of nodes, which is built
//! without recursion.
//!
//! The buffers are reused and grow with the largest text seen so far, to at most about 40 bytes per byte of text. (The
//! worst case is a text of commas.) Each shard has one reader.

use crate::json::{Member, MemberName, Members, Object, TextSpan, Value};
use crate::limits::JSON_DEPTH;
use simd_json::tape::{Node, Tape};
use simd_json::{Buffers, fill_tape};

pub(crate) struct TapeReader {
    buffers: Buffers,
    tape: Tape<'static>,
}

impl TapeReader {
    pub(crate) fn new() -> Self {
        Self {
            buffers: Buffers::with_max_depth(0, JSON_DEPTH),
            tape: Tape(Vec::new()),
        }
    }

    /// Reads the known members of a text. Returns `None` if the text is not a single JSON object or is nested deeper
    /// than [`JSON_DEPTH`].
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

#[derive(Default)]
pub(crate) struct Event<'a> {
    pub(crate) message_type: Option<&'a str>,
    pub(crate) payload: Option<&'a str>,
    pub(crate) sender: Option<&'a str>,
    pub(crate) status: Option<EventStatus<'a>>,
}

#[derive(Default)]
pub(crate) struct EventStatus<'a> {
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) error_type: Option<&'a str>,
    pub(crate) status_code: Option<&'a str>,
    pub(crate) description: Option<&'a str>,
}

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
