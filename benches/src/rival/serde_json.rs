//! Parsing into borrowed strings, and serialising into a reused buffer, with serde_json.

use crate::rival::Parse;
use crate::rival::text::{Text, judge_from};
use codec::signal::{Delivery, Request, Role};
use codec::ws::{self, Opcode};
use serde::Serialize;

/// An adaptor for serde_json. Holds the text of the last event.
#[derive(Debug)]
pub struct SerdeJson(Vec<u8>);

impl SerdeJson {
    /// Appends the event as one unmasked text frame. A frame begins with its length, which the serializer does not know
    /// in advance, so the text is first written to a separate buffer.
    pub(crate) fn write(&mut self, delivery: &Delivery<'_>, out: &mut Vec<u8>) {
        self.0.clear();
        serde_json::to_writer(&mut self.0, &Event::of(delivery))
            .expect("a buffer takes every byte");
        ws::frame(out, Opcode::Text, &self.0);
    }

    /// Parses a text from a master. The text has already been validated as UTF-8.
    pub(crate) fn parse_str<T>(text: &str, see: impl FnOnce(&Request<'_>) -> T) -> Option<T> {
        Self::parse_from(Role::Master, text, see)
    }

    /// Parses a text from a client in this role. The text has already been validated as UTF-8.
    pub(crate) fn parse_from<T>(
        role: Role,
        text: &str,
        see: impl FnOnce(&Request<'_>) -> T,
    ) -> Option<T> {
        let text: Text<'_> = serde_json::from_str(text).ok()?;
        Some(see(&judge_from(role, &text)?))
    }
}

impl Parse for SerdeJson {
    const LIBRARY: &'static str = "serde_json";

    fn new() -> Self {
        Self(Vec::new())
    }

    /// Validates the whole text at once, which is cheaper than letting serde_json validate each string.
    fn parse<T>(&mut self, text: &mut [u8], see: impl FnOnce(&Request<'_>) -> T) -> Option<T> {
        Self::parse_str(simdutf8::basic::from_utf8(text).ok()?, see)
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Event<'a> {
    #[serde(rename = "messagePayload")]
    payload: &'a str,
    #[serde(rename = "messageType")]
    action: &'static str,
    #[serde(rename = "senderClientId", skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// Converts the payload to a `str` with the fastest available check, because serde_json writes only strings.
    pub(crate) fn of(delivery: &Delivery<'a>) -> Self {
        Self {
            payload: simdutf8::basic::from_utf8(delivery.payload).expect("base64 is ASCII"),
            action: delivery.action.as_str(),
            sender: delivery.sender,
        }
    }
}

pub(crate) fn event_text(delivery: &Delivery<'_>) -> String {
    serde_json::to_string(&Event::of(delivery)).expect("an event has texts only")
}
