//! The client's side of signaling messages, for tests and the load generator: writes requests, reads events.

use crate::ws::{self, Opcode};
use crate::{json::tape, signal::Action};
use std::fmt;

/// A message to send, in the spelling of the JavaScript SDK. Texts must need no escapes; nothing is checked, so that
/// tests can send invalid messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// The action.
    pub action: Action,
    /// Base64 text.
    pub payload: &'a str,
    /// The client id of the recipient; viewers leave it out.
    pub recipient: Option<&'a str>,
    /// The correlation id for responses to faults.
    pub correlation_id: Option<&'a str>,
}

impl Outgoing<'_> {
    /// Appends the message's JSON text.
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

    /// Appends the message as one masked text frame; `scratch` holds its text and saves an allocation.
    pub fn write(&self, out: &mut Vec<u8>, scratch: &mut Vec<u8>, key: [u8; 4]) {
        scratch.clear();
        self.write_text(scratch);
        ws::frame_masked(out, Opcode::Text, scratch, key);
    }
}

/// A text of the service as a client reads it. Members that are not strings read as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceText<'a> {
    /// `SDP_OFFER`, `GO_AWAY`, `STATUS_RESPONSE`, ….
    pub message_type: Option<&'a str>,
    /// Base64 text.
    pub payload: Option<&'a str>,
    /// The viewer that sent it; towards masters only.
    pub sender: Option<&'a str>,
    /// The contents of a status response.
    pub status: Option<Status<'a>>,
}

/// The `statusResponse` of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status<'a> {
    /// Correlation id of the message that it is about.
    pub correlation_id: Option<&'a str>,
    /// The exception's name.
    pub error_type: Option<&'a str>,
    /// `400`, as text.
    pub status_code: Option<&'a str>,
    /// For humans.
    pub description: Option<&'a str>,
}

/// Parses texts of the service. Owns reused buffers.
pub struct EventParser {
    tape: tape::TapeReader,
}

impl EventParser {
    /// A parser without buffers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tape: tape::TapeReader::new(),
        }
    }

    /// Parses one text, whose escapes are undone in place. `None`: not a JSON object.
    pub fn parse<'a>(&mut self, text: &'a mut [u8]) -> Option<ServiceText<'a>> {
        let event = self.tape.event(text)?;
        let status = event.status.map(|status| Status {
            correlation_id: status.correlation_id,
            error_type: status.error_type,
            status_code: status.status_code,
            description: status.description,
        });
        Some(ServiceText {
            message_type: event.message_type,
            payload: event.payload,
            sender: event.sender,
            status,
        })
    }
}

impl Default for EventParser {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EventParser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventParser")
            .finish_non_exhaustive()
    }
}
