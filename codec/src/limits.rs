//! Bounds of the wire, with their sources. Bounds that a server may choose are defaults here and arguments elsewhere.

/// Longest request head in bytes, request line and final empty line included.
///
/// Session tokens reach several KiB and are part of URLs; the C SDK builds URIs of up to 10,000 characters
/// (`MAX_URI_CHAR_LEN`). Longer is 431.
pub const HEAD_BYTES: usize = 16 * 1024;

/// Most header lines of a request head. Real clients send at most fifteen. More is 431.
///
/// A parsed [`crate::http::Head`] holds an array of this many entries (2 KiB), so a configured bound cannot be
/// higher.
pub const HEADER_LINES: usize = 64;

/// Longest `Sec-WebSocket-Key` where base64 of 16 bytes is not required, in bytes. A known client sends 8.
pub const WEB_SOCKET_KEY_BYTES: usize = 64;

/// Longest `messagePayload` by default, in bytes of base64 text.
///
/// Source: the service was seen to deliver 13,014 although the guide says 10K; offers of browsers of 2026 exceed 10K.
pub const PAYLOAD_BYTES: usize = 32 * 1024;

/// Longest `messagePayload` under the strict profile, in bytes of base64 text.
///
/// Source: Kinesis Video Streams WebRTC guide, "SendSdpOffer": *Maximum length of 10K*.
pub const PAYLOAD_BYTES_STRICT: usize = 10 * 1024;

/// Longest WebSocket message by default, in bytes: a payload, the C SDK's `IceServerList` (up to 8.5 KiB) and ids.
pub const MESSAGE_BYTES: usize = 64 * 1024;

/// Longest WebSocket message under the strict profile, in bytes.
pub const MESSAGE_BYTES_STRICT: usize = 32 * 1024;

/// Longest client id, correlation id and channel name, in bytes (all are ASCII).
///
/// Source: API reference, *Length Constraints: Minimum length of 1. Maximum length of 256.*
pub const WORD_BYTES: usize = 256;

/// Longest channel ARN, in bytes. Source: API reference, *Maximum length of 1024.*
pub const ARN_BYTES: usize = 1024;

/// Deepest nesting of a message, counting its own object: values of unknown members may nest eight deep. Deeper text is
/// not JSON to the service.
pub const JSON_DEPTH: usize = 9;

/// Most candidates that are joined with the answer to a player.
///
/// Source: cameras on a home network send three to nine; each candidate more costs up to [`WHEP_CANDIDATE_BYTES`].
pub const WHEP_CANDIDATES: usize = 16;

/// Longest candidate that is joined with an answer, in bytes of its text: those of IPv6 relays have some 200.
pub const WHEP_CANDIDATE_BYTES: usize = 512;

/// Longest payload that is read as a candidate for a player, in bytes of base64 text: a candidate, its section and a
/// user fragment. A longer one is left out unread.
pub const WHEP_CANDIDATE_PAYLOAD_BYTES: usize = 4 * 1024;

/// Longest answer for a player together with the candidates that wait for it, in bytes: the largest payload decoded.
pub const WHEP_GATHERED_BYTES: usize = 24 * 1024;

/// Longest answer that a player gets, in bytes: each candidate becomes a line with `a=` and a line end, and the last
/// line of a section may lack one.
pub const WHEP_ANSWER_BYTES: usize = WHEP_GATHERED_BYTES + WHEP_CANDIDATES * 6;

/// Longest `IceServerList` and ids of a client beside the payload, in bytes.
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
