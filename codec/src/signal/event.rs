//! Messages from the service to clients: delivered messages, status responses, and the events [`GO_AWAY`] and
//! [`RECONNECT_ICE_SERVER`]. All of them are written as complete WebSocket text frames.
//!
//! The order of the members is part of the contract. There must be no white space and no additional members. Old
//! clients extract substrings of the raw text without unescaping them, and fail on members that are not strings.

use crate::ws::{self, Opcode};
use crate::{identifiers::CorrelationId, signal::Action};
use std::ops::Range;

/// A message to be delivered to its recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The action of the message.
    pub action: Action,
    /// The payload, as base64 text that needs no escaping, as in [`crate::signal::Request::payload`].
    pub payload: &'a [u8],
    /// Client id of the viewer that sent the message, if the recipient is a master. `None` in messages to viewers.
    pub sender: Option<&'a str>,
}

impl Delivery<'_> {
    /// Returns the length in bytes of the frame that [`Delivery::write`] writes.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        let text_bytes = self.text_bytes();
        ws::header_bytes(text_bytes) + text_bytes
    }

    /// Appends the event as one unmasked text frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let text_bytes = self.text_bytes();
        out.reserve(ws::HEADER_BYTES_MAX + text_bytes);
        ws::header(out, Opcode::Text, true, text_bytes);
        out.extend_from_slice(BEFORE_PAYLOAD);
        out.extend_from_slice(self.payload);
        out.extend_from_slice(BEFORE_TYPE);
        out.extend_from_slice(self.action.as_str().as_bytes());
        if let Some(sender) = self.sender {
            out.extend_from_slice(BEFORE_SENDER);
            out.extend_from_slice(sender.as_bytes());
        }
        out.extend_from_slice(END);
    }

    /// Returns the payload of a frame written by [`Delivery::write`]. Returns an empty slice for any other frame.
    #[must_use]
    pub fn payload_of(frame: &[u8]) -> &[u8] {
        frame.get(Self::payload_range(frame)).unwrap_or_default()
    }

    /// Returns the byte range of the payload within a frame written by `Delivery::write`.
    #[must_use]
    pub fn payload_range(frame: &[u8]) -> Range<usize> {
        let mut places = frame
            .windows(BEFORE_PAYLOAD.len())
            .take(ws::HEADER_BYTES_MAX + 1);
        let begin = places.position(|bytes| bytes == BEFORE_PAYLOAD);
        let begin = begin.map_or(frame.len(), |begin| begin + BEFORE_PAYLOAD.len());
        let mut rest = frame.iter().skip(begin);
        let bytes = rest.position(|byte| *byte == b'"').unwrap_or_default();
        begin..begin + bytes
    }

    /// Returns the length in bytes of the event as JSON text.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let sender_bytes = self
            .sender
            .map_or(0, |sender| BEFORE_SENDER.len() + sender.len());
        let fixed_bytes = BEFORE_PAYLOAD.len() + BEFORE_TYPE.len() + END.len();
        fixed_bytes + self.payload.len() + self.action.as_str().len() + sender_bytes
    }
}

/// Asks a client to disconnect, and to reconnect if it wants to continue. The service closes the connection within a
/// minute. Source: WebRTC guide, "Asynchronous message reception", "Disconnect".
pub const GO_AWAY: &[u8] = b"\x81\x19{\"messageType\":\"GO_AWAY\"}";

/// Asks a client to fetch its ICE configuration again, because the TURN relay that it uses is about to shut down.
pub const RECONNECT_ICE_SERVER: &[u8] = b"\x81\x26{\"messageType\":\"RECONNECT_ICE_SERVER\"}";

const BEFORE_PAYLOAD: &[u8] = b"{\"messagePayload\":\"";
const BEFORE_TYPE: &[u8] = b"\",\"messageType\":\"";
const BEFORE_SENDER: &[u8] = b"\",\"senderClientId\":\"";
const END: &[u8] = b"\"}";

const _: () = assert!(GO_AWAY.len() == 2 + 0x19 && RECONNECT_ICE_SERVER.len() == 2 + 0x26);

// `STATUS_RESPONSE`: the response to a rejected message that has a correlation id.
//
// All four members are strings, including the status code (WebRTC guide, "Asynchronous message reception"). None of
// them needs escaping, because the correlation id matches a pattern and the other texts are constant.

/// A fault that is reported with a status response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFault {
    /// The action is missing or unknown.
    UnsupportedAction,
    /// The payload is missing, too long, or contains characters outside the base64 alphabet.
    Payload {
        /// Maximum length of a payload, in bytes.
        payload_bytes: usize,
    },
    /// The recipient of a master's message is missing or malformed.
    Recipient,
    /// A known member is duplicated or has a wrong JSON type.
    Malformed,
    /// A master sent an offer.
    MasterOffer,
    /// The connection has exceeded its rate limit.
    RateExceeded,
    /// The channel's queue of undelivered messages is full.
    TooManyUndelivered,
    /// An internal error occurred in the service.
    Internal,
}

impl StatusFault {
    /// Returns the name of the exception on the wire.
    #[must_use]
    pub const fn error_type(self) -> &'static str {
        match self {
            Self::UnsupportedAction
            | Self::Payload { .. }
            | Self::Recipient
            | Self::Malformed
            | Self::MasterOffer => "InvalidArgumentException",
            Self::RateExceeded | Self::TooManyUndelivered => "ClientLimitExceededException",
            Self::Internal => "InternalFailure",
        }
    }

    /// Returns the status code: 500 for an internal error, and 400 for all other faults.
    #[must_use]
    pub const fn status_code(self) -> u16 {
        match self {
            Self::Internal => 500,
            Self::UnsupportedAction
            | Self::Payload { .. }
            | Self::Recipient
            | Self::Malformed
            | Self::MasterOffer
            | Self::RateExceeded
            | Self::TooManyUndelivered => 400,
        }
    }

    /// Appends the status response as one unmasked text frame.
    pub fn write(self, out: &mut Vec<u8>, correlation_id: CorrelationId<'_>) {
        let mut digits = [0; 20];
        let parts: [&str; 3] = match self {
            Self::UnsupportedAction => ["Unsupported action.", "", ""],
            Self::Payload { payload_bytes } => [
                "messagePayload must be 1 to ",
                decimal(&mut digits, payload_bytes),
                " base64 characters.",
            ],
            Self::Recipient => [
                "recipientClientId is required and must match [a-zA-Z0-9_.-]{1,256}.",
                "",
                "",
            ],
            Self::Malformed => ["Malformed message.", "", ""],
            Self::MasterOffer => ["A master cannot send an SDP offer.", "", ""],
            Self::RateExceeded => ["Rate exceeded.", "", ""],
            Self::TooManyUndelivered => ["Too many undelivered messages.", "", ""],
            Self::Internal => ["Internal failure.", "", ""],
        };
        frame(
            out,
            correlation_id,
            self.error_type(),
            self.status_code(),
            parts,
        );
    }
}

/// Appends a status response as one unmasked text frame. `error_type` (1 to 256 characters) and `description` (1 to
/// 1,024 characters) must be plain ASCII without quotes or backslashes.
pub fn status_response(
    out: &mut Vec<u8>,
    correlation_id: CorrelationId<'_>,
    error_type: &str,
    status_code: u16,
    description: &str,
) {
    frame(
        out,
        correlation_id,
        error_type,
        status_code,
        [description, "", ""],
    );
}

fn frame(
    out: &mut Vec<u8>,
    correlation_id: CorrelationId<'_>,
    error_type: &str,
    status_code: u16,
    description: [&str; 3],
) {
    let mut digits = [0; 20];
    let [first, second, third] = description;
    let parts = [
        "{\"messageType\":\"STATUS_RESPONSE\",\"statusResponse\":{\"correlationId\":\"",
        correlation_id.as_str(),
        "\",\"errorType\":\"",
        error_type,
        "\",\"statusCode\":\"",
        decimal(&mut digits, status_code.into()),
        "\",\"description\":\"",
        first,
        second,
        third,
        "\"}}",
    ];
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
    };
    debug_assert!(
        plain(error_type) && description.iter().all(|part| plain(part)),
        "a text of ours needs an escape"
    );
    let text_bytes = parts.iter().map(|part| part.len()).sum();
    out.reserve(ws::HEADER_BYTES_MAX + text_bytes);
    ws::header(out, Opcode::Text, true, text_bytes);
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

fn decimal(digits: &mut [u8; 20], number: usize) -> &str {
    let (mut left, mut start) = (number, digits.len());
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(left % 10).unwrap_or_default();
        (left, start) = (left / 10, place);
        if left == 0 {
            break;
        }
    }
    std::str::from_utf8(digits.get(start..).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_their_members_in_order() {
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            (
                Action::SdpOffer,
                Some("viewer-1"),
                r#"{"messagePayload":"eyJ0","messageType":"SDP_OFFER","senderClientId":"viewer-1"}"#,
            ),
            (Action::SdpAnswer, None, r#"{"messagePayload":"eyJ0","messageType":"SDP_ANSWER"}"#),
            (Action::IceCandidate, None, r#"{"messagePayload":"eyJ0","messageType":"ICE_CANDIDATE"}"#),
        ];
        for (action, sender, text) in cases {
            let delivery = Delivery {
                action,
                payload: b"eyJ0",
                sender,
            };
            let (mut out, mut expected) = (b"before".to_vec(), b"before".to_vec());
            delivery.write(&mut out);
            ws::frame(&mut expected, Opcode::Text, text.as_bytes());
            assert_eq!(out, expected);
            assert_eq!(out.len(), 6 + delivery.frame_bytes());
            assert_eq!(Delivery::payload_of(&out[6..]), b"eyJ0");
        }
        for other in [&b""[..], b"{\"messagePayload\":\"eyJ0", GO_AWAY] {
            assert_eq!(Delivery::payload_of(other), b"");
        }
    }

    #[test]
    fn lengths_are_right_at_every_form_of_the_header() {
        for bytes in [
            1, 60, 70, 71, 72, 80, 125, 126, 5000, 65_400, 65_480, 65_490, 70_000,
        ] {
            let payload = "A".repeat(bytes);
            let delivery = Delivery {
                action: Action::IceCandidate,
                payload: payload.as_bytes(),
                sender: Some("v"),
            };
            let mut out = Vec::new();
            delivery.write(&mut out);
            assert_eq!(out.len(), delivery.frame_bytes());
            assert_eq!(Delivery::payload_of(&out), payload.as_bytes());
        }
    }

    #[test]
    fn the_frames_without_a_message_are_whole() {
        for (frame, text) in [
            (GO_AWAY, "GO_AWAY"),
            (RECONNECT_ICE_SERVER, "RECONNECT_ICE_SERVER"),
        ] {
            let mut expected = Vec::new();
            ws::frame(
                &mut expected,
                Opcode::Text,
                format!("{{\"messageType\":\"{text}\"}}").as_bytes(),
            );
            assert_eq!(frame, expected);
        }
    }
}

#[cfg(test)]
mod status_tests {
    use super::*;

    fn text(fault: StatusFault) -> String {
        let mut out = Vec::new();
        fault.write(&mut out, CorrelationId::parse("1700000000_1").unwrap());
        let mut expected = Vec::new();
        let payload = out[if out.len() < 128 { 2 } else { 4 }..].to_vec();
        ws::frame(&mut expected, Opcode::Text, &payload);
        assert_eq!(out, expected);
        String::from_utf8(payload).unwrap()
    }

    #[test]
    fn every_fault_has_its_text() {
        const INVALID: &str = "InvalidArgumentException";
        const LIMIT: &str = "ClientLimitExceededException";
        #[rustfmt::skip] // a table, a case per row
        let rows = [
            (StatusFault::UnsupportedAction, INVALID, 400, "Unsupported action."),
            (
                StatusFault::Payload {
                    payload_bytes: 32_768,
                },
                INVALID,
                400,
                "messagePayload must be 1 to 32768 base64 characters.",
            ),
            (
                StatusFault::Payload {
                    payload_bytes: 10_240,
                },
                INVALID,
                400,
                "messagePayload must be 1 to 10240 base64 characters.",
            ),
            (
                StatusFault::Recipient,
                INVALID,
                400,
                "recipientClientId is required and must match [a-zA-Z0-9_.-]{1,256}.",
            ),
            (StatusFault::Malformed, INVALID, 400, "Malformed message."),
            (StatusFault::MasterOffer, INVALID, 400, "A master cannot send an SDP offer."),
            (StatusFault::RateExceeded, LIMIT, 400, "Rate exceeded."),
            (StatusFault::TooManyUndelivered, LIMIT, 400, "Too many undelivered messages."),
            (StatusFault::Internal, "InternalFailure", 500, "Internal failure."),
        ];
        for (fault, error_type, code, description) in rows {
            let expected = format!(
                "{{\"messageType\":\"STATUS_RESPONSE\",\"statusResponse\":{{\"correlationId\":\"1700000000_1\",\
                 \"errorType\":\"{error_type}\",\"statusCode\":\"{code}\",\"description\":\"{description}\"}}}}"
            );
            assert_eq!(text(fault), expected);
        }
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 400, 32_768, usize::MAX] {
            assert_eq!(decimal(&mut [0; 20], number), number.to_string());
        }
    }
}
