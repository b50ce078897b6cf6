//! Limits of the wire protocol, with their sources. If a server may configure a limit, this module defines the default,
//! and other modules take the limit as an argument.

/// Maximum size of a request head in bytes, including the request line and the empty line at the end. Longer heads are
/// rejected with status 431.
///
/// The limit allows for session tokens, which are part of URLs and may be several KiB long. The C SDK builds URIs of up
/// to 10,000 characters (`MAX_URI_CHAR_LEN`).
pub const HEAD_BYTES: usize = 16 * 1024;

/// Maximum number of header lines. Real clients send at most fifteen; requests with more than 64 are rejected with
/// status 431.
///
/// A parsed [`crate::http::Head`] contains an array of this length (2 KiB), so a configured limit cannot be higher.
pub const HEADER_LINES: usize = 64;

/// Maximum length in bytes of a `Sec-WebSocket-Key` that is not the base64 encoding of 16 bytes. One known client sends
/// 8 bytes.
pub const WEB_SOCKET_KEY_BYTES: usize = 64;

/// Default maximum length of `messagePayload`, in bytes of base64 text. The guide says 10K, but AWS has been observed
/// to deliver 13,014 bytes, and browsers as of 2026 send offers longer than 10K.
pub const PAYLOAD_BYTES: usize = 32 * 1024;

/// Maximum length of `messagePayload` under the strict profile, in bytes of base64 text. Source: Kinesis Video Streams
/// WebRTC guide, "SendSdpOffer": *Maximum length of 10K*.
pub const PAYLOAD_BYTES_STRICT: usize = 10 * 1024;

/// Default maximum length of a WebSocket message in bytes: the payload, the C SDK's `IceServerList` (8.5 KiB), and the
/// ids.
pub const MESSAGE_BYTES: usize = 64 * 1024;

/// Maximum length of a WebSocket message under the strict profile, in bytes.
pub const MESSAGE_BYTES_STRICT: usize = 32 * 1024;

/// Maximum length of an id or channel name, in bytes. Source: API reference, *Maximum length of 256.*
pub const WORD_BYTES: usize = 256;

/// Maximum length of a channel ARN, in bytes. Source: API reference, *Maximum length of 1024*.
pub const ARN_BYTES: usize = 1024;

/// Maximum nesting depth of a message, including the message's own object. More deeply nested messages count as invalid
/// JSON. The value of an unknown member may therefore be nested eight levels deep.
pub const JSON_DEPTH: usize = 9;

/// Maximum number of ICE candidates that are merged into the answer to a player. Cameras on a home network send three
/// to nine.
pub const WHEP_CANDIDATES: usize = 16;

/// Maximum length of the text of a merged candidate, in bytes. Candidates for IPv6 relays are about 200 bytes long.
pub const WHEP_CANDIDATE_BYTES: usize = 512;

/// Maximum length of a payload that is parsed as a candidate for a player, in bytes of base64 text. Longer payloads are
/// ignored.
pub const WHEP_CANDIDATE_PAYLOAD_BYTES: usize = 4 * 1024;

/// Maximum total size of a player's answer and its pending candidates, in bytes. This is the decoded size of a 32 KiB
/// payload.
pub const WHEP_GATHERED_BYTES: usize = 24 * 1024;

/// Maximum length of the answer sent to a player, in bytes. Each candidate becomes an `a=` line with a line terminator.
/// If the last line of its section has no terminator, one is added there too.
pub const WHEP_ANSWER_BYTES: usize = WHEP_GATHERED_BYTES + WHEP_CANDIDATES * 6;

/// Returns the longest prefix of `text` that is at most `bytes` bytes long and consists of whole characters.
#[must_use]
pub fn beginning(text: &str, bytes: usize) -> &str {
    let mut ends = (0..=bytes.min(text.len())).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}

/// Maximum size of a client's message excluding the payload, in bytes: `IceServerList` and the ids.
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
