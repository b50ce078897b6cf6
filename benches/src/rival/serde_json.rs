//! serde_json: borrowed strings in, a buffer that is used again out.

use crate::rival::Parse;
use crate::rival::text::{Text, judge_from};
use codec::signal::{Delivery, Request, Role};
use codec::ws::{self, Opcode};
use serde::Serialize;

/// serde_json, with the text of the last event.
#[derive(Debug)]
pub struct SerdeJson(Vec<u8>);

impl SerdeJson {
    /// Appends the event as one unmasked text frame.
    ///
    /// A frame begins with its length, which a serializer does not know ahead: the text is written beside it first.
    pub(crate) fn write(&mut self, delivery: &Delivery<'_>, out: &mut Vec<u8>) {
        self.0.clear();
        serde_json::to_writer(&mut self.0, &Event::of(delivery))
            .expect("a buffer takes every byte");
        ws::frame(out, Opcode::Text, &self.0);
    }

    /// Reads a master's text that is known to be UTF-8 already.
    pub(crate) fn parse_str<T>(text: &str, see: impl FnOnce(&Request<'_>) -> T) -> Option<T> {
        Self::parse_from(Role::Master, text, see)
    }

    /// Reads a text of a client of this role that is known to be UTF-8 already.
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

    /// One quick check of the whole text is cheaper than serde_json's own of each string.
    fn parse<T>(&mut self, text: &mut [u8], see: impl FnOnce(&Request<'_>) -> T) -> Option<T> {
        Self::parse_str(simdutf8::basic::from_utf8(text).ok()?, see)
    }
}

/// An event as serde writes it.
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
    /// serde_json writes texts alone: the quickest check makes one of the payload.
    pub(crate) fn of(delivery: &Delivery<'a>) -> Self {
        Self {
            payload: simdutf8::basic::from_utf8(delivery.payload).expect("base64 is ASCII"),
            action: delivery.action.as_str(),
            sender: delivery.sender,
        }
    }
}

/// The text of an event, without a frame.
pub(crate) fn event_text(delivery: &Delivery<'_>) -> String {
    serde_json::to_string(&Event::of(delivery)).expect("an event has texts only")
}
