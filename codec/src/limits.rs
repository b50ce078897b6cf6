//! Limits of the wire protocol, with their sources. Limits that a server may configure are defaults here and are passed
//! as arguments elsewhere.

/// Maximum size of a request head in bytes, including the request line and final empty line.
///
/// Session tokens reach several KiB and are part of URLs; the C SDK builds URIs of up to 10,000 characters
/// (`MAX_URI_CHAR_LEN`). Longer heads are refused with 431.
pub const HEAD_BYTES: usize = 16 * 1024;

/// Maximum number of header lines of a request head. Real clients send at most fifteen. More are refused with 431.
///
/// A parsed [`crate::http::Head`] contains an array of this many entries (2 KiB), so a configured limit cannot be
/// higher.
pub const HEADER_LINES: usize = 64;

/// Maximum length of `Sec-WebSocket-Key` in bytes if keys need not be base64 of 16 bytes. One known client sends keys
/// of 8 bytes.
pub const WEB_SOCKET_KEY_BYTES: usize = 64;

/// Default maximum length of `messagePayload`, in bytes of base64 text.
///
/// Source: the service was observed to deliver 13,014 bytes although the guide says 10K, and offers of browsers of 2026
/// exceed 10K.
pub const PAYLOAD_BYTES: usize = 32 * 1024;

/// Maximum length of `messagePayload` under the strict profile, in bytes of base64 text.
///
/// Source: Kinesis Video Streams WebRTC guide, "SendSdpOffer": *Maximum length of 10K*.
pub const PAYLOAD_BYTES_STRICT: usize = 10 * 1024;

/// Default maximum length of a WebSocket message in bytes: a payload, the C SDK's `IceServerList` (up to 8.5 KiB) and
/// ids.
pub const MESSAGE_BYTES: usize = 64 * 1024;

/// Maximum length of a WebSocket message under the strict profile, in bytes.
pub const MESSAGE_BYTES_STRICT: usize = 32 * 1024;

/// Maximum length of a client id, correlation id or channel name, in bytes (all are ASCII).
///
/// Source: API reference, *Length Constraints: Minimum length of 1. Maximum length of 256.*
pub const WORD_BYTES: usize = 256;

/// Maximum length of a channel ARN, in bytes. Source: API reference, *Maximum length of 1024*.
pub const ARN_BYTES: usize = 1024;

/// Maximum nesting depth of a message, including its own object: values of unknown members may be nested eight levels
/// deep. The service treats deeper text as invalid JSON.
pub const JSON_DEPTH: usize = 9;

/// Maximum number of candidates merged into the answer to a player.
///
/// Source: cameras on a home network send three to nine; each further candidate costs up to [`WHEP_CANDIDATE_BYTES`].
pub const WHEP_CANDIDATES: usize = 16;

/// Maximum length of a candidate merged into an answer, in bytes of its text. Candidates of IPv6 relays take about 200
/// bytes.
pub const WHEP_CANDIDATE_BYTES: usize = 512;

/// Maximum length of a payload parsed as a candidate for a player, in bytes of base64 text: a candidate, its section
/// and a user fragment. Longer payloads are ignored without parsing.
pub const WHEP_CANDIDATE_PAYLOAD_BYTES: usize = 4 * 1024;

/// Maximum size of an answer for a player together with its pending candidates, in bytes: the maximum size of a decoded
/// payload.
pub const WHEP_GATHERED_BYTES: usize = 24 * 1024;

/// Maximum length of the answer sent to a player, in bytes. Each candidate is added as a line with `a=` and a line end,
/// and the last line of a section may lack a line end.
pub const WHEP_ANSWER_BYTES: usize = WHEP_GATHERED_BYTES + WHEP_CANDIDATES * 6;

/// The longest beginning of a text that a limit in bytes permits, in whole characters.
#[must_use]
pub fn beginning(text: &str, bytes: usize) -> &str {
    let mut ends = (0..=bytes.min(text.len())).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}

/// Maximum size of a client's `IceServerList` and ids, which are sent in addition to the payload, in bytes.
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
