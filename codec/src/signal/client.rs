//! The client's side of signaling messages, for tests and the load generator: writes requests and parses events.

use crate::json::{Object, TapeReader, Value};
use crate::signal::Action;
use crate::ws::{self, Opcode};
use std::fmt;

/// A message in the format of the JavaScript SDK. The fields are written verbatim, without escaping, so that tests can
/// also produce invalid messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// The action of the message.
    pub action: Action,
    /// The payload, as base64 text.
    pub payload: &'a str,
    /// Client id of the recipient. `None` for messages from viewers.
    pub recipient: Option<&'a str>,
    /// Correlation id that the service should send back in error responses.
    pub correlation_id: Option<&'a str>,
}

impl Outgoing<'_> {
    /// Appends the message as JSON text.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"action\":\"");
        out.extend_from_slice(self.action.as_str().as_bytes());
        out.extend_from_slice(b"\",\"messagePayload\":\"");
        out.extend_from_slice(self.payload.as_bytes());
        if let Some(recipient) = self.recipient {
            out.extend_from_slice(b"\",\"recipientClientId\":\"");
            out.extend_from_slice(recipient.as_bytes());
        }
        if let Some(correlation_id) = self.correlation_id {
            out.extend_from_slice(b"\",\"correlationId\":\"");
            out.extend_from_slice(correlation_id.as_bytes());
        }
        out.extend_from_slice(b"\"}");
    }

    /// Appends the message as one masked text frame. `scratch` is a reusable buffer for the text.
    pub fn write(&self, out: &mut Vec<u8>, scratch: &mut Vec<u8>, key: [u8; 4]) {
        scratch.clear();
        self.write_text(scratch);
        ws::frame_masked(out, Opcode::Text, scratch, key);
    }
}

/// A message from the service, as a client sees it. Members that are not strings are treated as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceText<'a> {
    /// Type of the message, such as `SDP_OFFER`, `GO_AWAY` or `STATUS_RESPONSE`.
    pub message_type: Option<&'a str>,
    /// The payload, as base64 text.
    pub payload: Option<&'a str>,
    /// Client id of the viewer that sent the message. Present only in messages to masters.
    pub sender: Option<&'a str>,
    /// The contents of a status response.
    pub status: Option<Status<'a>>,
}

/// The member `statusResponse` of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status<'a> {
    /// Correlation id of the message that the status refers to.
    pub correlation_id: Option<&'a str>,
    /// Name of the exception.
    pub error_type: Option<&'a str>,
    /// Status code as text, such as `400`.
    pub status_code: Option<&'a str>,
    /// Human-readable description of the error.
    pub description: Option<&'a str>,
}

/// A parser for messages from the service, with reusable buffers.
#[derive(Default)]
pub struct EventParser {
    tape: TapeReader,
}

impl EventParser {
    /// Creates a parser with empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses a message and unescapes its strings in place. Returns `None` if the text is not a JSON object.
    pub fn parse<'a>(&mut self, text: &'a mut [u8]) -> Option<ServiceText<'a>> {
        self.tape.walk(text, |nodes| {
            let mut event = ServiceText::default();
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
}

fn status<'b>(object: Object<'_, 'b>) -> Status<'b> {
    let mut status = Status::default();
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

impl fmt::Debug for EventParser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventParser")
            .finish_non_exhaustive()
    }
}
