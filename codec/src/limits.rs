//! Limits of the wire protocol, with their sources. For limits that a server may configure, this module defines the
//! defaults; other modules take them as arguments.

/// Maximum size of a request head in bytes, with the request line and the final empty line. Longer heads: status 431.
///
/// Session tokens of several KiB are part of URLs; the C SDK builds URIs of up to 10,000 characters
/// (`MAX_URI_CHAR_LEN`).
pub const HEAD_BYTES: usize = 16 * 1024;

/// Maximum number of header lines; real clients send at most fifteen. More are rejected with status 431.
///
/// A parsed [`crate::http::Head`] contains an array of this many entries (2 KiB), so no configured limit can be higher.
pub const HEADER_LINES: usize = 64;

/// Maximum length of a `Sec-WebSocket-Key` other than base64 of 16 bytes, in bytes. One known client sends 8 bytes.
pub const WEB_SOCKET_KEY_BYTES: usize = 64;

/// Default maximum length of `messagePayload`, in bytes of base64 text. AWS was observed to deliver 13,014 bytes
/// although the guide says 10K; offers from browsers of 2026 exceed 10K.
pub const PAYLOAD_BYTES: usize = 32 * 1024;

/// Maximum length of `messagePayload` under the strict profile, in bytes of base64 text. Source: Kinesis Video Streams
/// WebRTC guide, "SendSdpOffer": *Maximum length of 10K*.
pub const PAYLOAD_BYTES_STRICT: usize = 10 * 1024;

/// Default maximum length of a WebSocket message in bytes: payload, `IceServerList` of the C SDK (8.5 KiB) and ids.
pub const MESSAGE_BYTES: usize = 64 * 1024;

/// Maximum length of a WebSocket message under the strict profile, in bytes.
pub const MESSAGE_BYTES_STRICT: usize = 32 * 1024;

/// Maximum length of an id or channel name, in bytes. Source: API reference, *Maximum length of 256.*
pub const WORD_BYTES: usize = 256;

/// Maximum length of a channel ARN, in bytes. Source: API reference, *Maximum length of 1024*.
pub const ARN_BYTES: usize = 1024;

/// Maximum nesting depth of a message, including its own object; a deeper one counts as invalid JSON. Values of unknown
/// members may be nested eight levels deep.
pub const JSON_DEPTH: usize = 9;

/// Maximum number of ICE candidates merged into the answer to a player. Cameras on a home network send three to nine.
pub const WHEP_CANDIDATES: usize = 16;

/// Maximum length of a merged candidate, in bytes of its text. Candidates for IPv6 relays take about 200 bytes.
pub const WHEP_CANDIDATE_BYTES: usize = 512;

/// Maximum length of a payload parsed as a candidate for a player, in bytes of base64. Longer payloads are ignored.
pub const WHEP_CANDIDATE_PAYLOAD_BYTES: usize = 4 * 1024;

/// Maximum total size of a player's answer and its pending candidates, in bytes: the size of a decoded payload.
pub const WHEP_GATHERED_BYTES: usize = 24 * 1024;

/// Maximum length of the answer sent to a player, in bytes. Each candidate becomes a line with `a=` and a terminator,
/// and the last line of a section may lack its terminator.
pub const WHEP_ANSWER_BYTES: usize = WHEP_GATHERED_BYTES + WHEP_CANDIDATES * 6;

/// Returns the longest prefix of `text` with whole characters and at most `bytes` bytes.
#[must_use]
pub fn beginning(text: &str, bytes: usize) -> &str {
    let mut ends = (0..=bytes.min(text.len())).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}

/// Maximum size of a client's message without the payload, namely `IceServerList` and the ids, in bytes.
const ENVELOPE_BYTES: usize = 8_704 + 4 * WORD_BYTES;

const _: () = assert!(PAYLOAD_BYTES + ENVELOPE_BYTES <= MESSAGE_BYTES);
const _: () = assert!(PAYLOAD_BYTES_STRICT + ENVELOPE_BYTES <= MESSAGE_BYTES_STRICT);
const _: () = assert!(WHEP_GATHERED_BYTES >= PAYLOAD_BYTES / 4 * 3);
const _: () = assert!(
    ARN_BYTES <= u16::MAX as usize,
    "the parts of an ARN are kept as 16-bit offsets"
);
const _: () = assert!(
    HEAD_BYTES <= u32::MAX as usize,
    "the head scanner keeps a 32-bit position"
);
