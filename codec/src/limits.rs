//! Limits of the wire protocol, with their sources. For limits that a server may configure, this module defines the
//! defaults; other modules take them as arguments.

/// Maximum size of a request head in bytes, including the request line and final empty line.
///
/// Session tokens can be several KiB long and are part of URLs; the C SDK builds URIs of up to 10,000 characters
/// (`MAX_URI_CHAR_LEN`). Longer heads are rejected with status 431.
pub const HEAD_BYTES: usize = 16 * 1024;

/// Maximum number of header lines in a request head. Real clients send at most fifteen. Requests with more are rejected
/// with status 431.
///
/// A parsed [`crate::http::Head`] contains an array with this many entries (2 KiB), so a configured limit cannot be
/// higher.
pub const HEADER_LINES: usize = 64;

/// Maximum length of `Sec-WebSocket-Key` in bytes when keys are not required to be the base64 encoding of 16 bytes. One
/// known client sends keys of 8 bytes.
pub const WEB_SOCKET_KEY_BYTES: usize = 64;

/// Default maximum length of `messagePayload`, in bytes of base64 text.
///
/// Source: the service was observed to deliver 13,014 bytes although the guide says 10K, and offers from browsers of
/// 2026 exceed 10K.
pub const PAYLOAD_BYTES: usize = 32 * 1024;

/// Maximum length of `messagePayload` under the strict profile, in bytes of base64 text.
///
/// Source: Kinesis Video Streams WebRTC guide, "SendSdpOffer": *Maximum length of 10K*.
pub const PAYLOAD_BYTES_STRICT: usize = 10 * 1024;

/// Default maximum length of a WebSocket message in bytes, sufficient for a payload, the C SDK's `IceServerList` (up to
/// 8.5 KiB) and the ids.
pub const MESSAGE_BYTES: usize = 64 * 1024;

/// Maximum length of a WebSocket message under the strict profile, in bytes.
pub const MESSAGE_BYTES_STRICT: usize = 32 * 1024;

/// Maximum length of a client id, correlation id or channel name, in bytes (all are ASCII).
///
/// Source: API reference, *Length Constraints: Minimum length of 1. Maximum length of 256.*
pub const WORD_BYTES: usize = 256;

/// Maximum length of a channel ARN, in bytes. Source: API reference, *Maximum length of 1024*.
pub const ARN_BYTES: usize = 1024;

/// Maximum nesting depth of a message, including the message's own object: values of unknown members may be nested
/// eight levels deep. A message nested more deeply is treated as invalid JSON.
pub const JSON_DEPTH: usize = 9;

/// Maximum number of ICE candidates merged into the answer to a player.
///
/// Source: cameras on a home network send three to nine candidates; each additional one costs up to
/// [`WHEP_CANDIDATE_BYTES`].
pub const WHEP_CANDIDATES: usize = 16;

/// Maximum length of a candidate that is merged into an answer, in bytes of its text. Candidates for IPv6 relays take
/// about 200 bytes.
pub const WHEP_CANDIDATE_BYTES: usize = 512;

/// Maximum length of a payload that is parsed as a candidate for a player, in bytes of base64 text; sufficient for a
/// candidate, its section and a user fragment. Longer payloads are ignored without parsing.
pub const WHEP_CANDIDATE_PAYLOAD_BYTES: usize = 4 * 1024;

/// Maximum total size of a player's answer and its pending candidates, in bytes. Equal to the maximum size of a decoded
/// payload.
pub const WHEP_GATHERED_BYTES: usize = 24 * 1024;

/// Maximum length of the answer sent to a player, in bytes. Each candidate is added as a line with `a=` and a line
/// terminator, and the last line of a section may lack its terminator.
pub const WHEP_ANSWER_BYTES: usize = WHEP_GATHERED_BYTES + WHEP_CANDIDATES * 6;

/// Returns the longest prefix of `text` that consists of whole characters and takes at most `bytes` bytes.
#[must_use]
pub fn beginning(text: &str, bytes: usize) -> &str {
    let mut ends = (0..=bytes.min(text.len())).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}

/// Maximum size of what a client sends in addition to the payload, namely `IceServerList` and the ids, in bytes.
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
