//! Service → client: a delivered message, and the two frames without one. All are whole WebSocket text frames.
//!
//! The order of the members, the absence of white space and the absence of any further member are part of the
//! contract: old clients take raw slices of the text, never unescape, and fail on a member that is no string.

use crate::signal::request::Action;
use crate::ws::{self, Opcode};
use std::ops::Range;

/// A message on its way to its recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The action.
    pub action: Action,
    /// Base64 text, as [`crate::signal::Request::payload`] has it: nothing in it needs an escape.
    pub payload: &'a [u8],
    /// The viewer's client id towards a master; `None` towards viewers.
    pub sender: Option<&'a str>,
}

impl Delivery<'_> {
    /// The length of the frame that [`Delivery::write`] appends, in bytes.
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

    /// The payload in a frame that [`Delivery::write`] made; empty for any other.
    #[must_use]
    pub fn payload_of(frame: &[u8]) -> &[u8] {
        frame.get(Self::payload_range(frame)).unwrap_or_default()
    }

    /// The place of that payload, in bytes from the frame's begin.
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

    /// The length of its text, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let sender_bytes = self
            .sender
            .map_or(0, |sender| BEFORE_SENDER.len() + sender.len());
        let fixed_bytes = BEFORE_PAYLOAD.len() + BEFORE_TYPE.len() + END.len();
        fixed_bytes + self.payload.len() + self.action.as_str().len() + sender_bytes
    }
}

/// The frame that asks a client to finish, and to connect again if it wants; the service closes within a minute.
///
/// Source: WebRTC guide, "Asynchronous message reception", "Disconnect".
pub const GO_AWAY: &[u8] = b"\x81\x19{\"messageType\":\"GO_AWAY\"}";

/// The frame that asks a client to fetch its ICE configuration again, since its relay will stop.
pub const RECONNECT_ICE_SERVER: &[u8] = b"\x81\x26{\"messageType\":\"RECONNECT_ICE_SERVER\"}";

const BEFORE_PAYLOAD: &[u8] = b"{\"messagePayload\":\"";
const BEFORE_TYPE: &[u8] = b"\",\"messageType\":\"";
const BEFORE_SENDER: &[u8] = b"\",\"senderClientId\":\"";
const END: &[u8] = b"\"}";

const _: () = assert!(GO_AWAY.len() == 2 + 0x19 && RECONNECT_ICE_SERVER.len() == 2 + 0x26);

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn events_have_their_members_in_order() {
        for (action, sender, text) in [
            (
                Action::SdpOffer,
                Some("viewer-1"),
                r#"{"messagePayload":"eyJ0","messageType":"SDP_OFFER","senderClientId":"viewer-1"}"#,
            ),
            (
                Action::SdpAnswer,
                None,
                r#"{"messagePayload":"eyJ0","messageType":"SDP_ANSWER"}"#,
            ),
            (
                Action::IceCandidate,
                None,
                r#"{"messagePayload":"eyJ0","messageType":"ICE_CANDIDATE"}"#,
            ),
        ] {
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
