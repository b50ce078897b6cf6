//! WebSocket framing (RFC 6455) for servers and clients, without I/O.
//!
//! ```text
//!  bytes ──► Header::parse ──► Receiver ──► Item (message, ping, pong, close)      incoming
//!  payload ──► frame / frame_masked / header ──► bytes at the end of a Vec         outgoing
//! ```
//! * [`Receiver`] is the incoming side of one connection. If the caller's bytes contain a complete frame, the frame is
//!   unmasked and checked in place and borrowed from these bytes, without copying or allocating. Only partial frames
//!   and fragments are buffered.
//! * [`frame`], [`frame_masked`] and [`close_frame`] append a frame to the caller's buffer. [`header`] appends only the
//!   header, and the caller writes the payload after it.
//! * [`accept_key`], [`valid_key`], [`usable_key`] and [`request`] handle the fields of the opening handshake.
//! * [`FrameError`] lists the protocol violations, each with its close code.
//!
//! `codec/tests/rfc6455.md` lists the parts of the RFC that are not implemented, and explains why.

pub mod close;
mod encoder;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod header;
mod partial;
mod receiver;

use crate::limits::WEB_SOCKET_KEY_BYTES;
use aws_lc_rs::digest;
use base64_simd::{Out, STANDARD};
pub use close::{CloseFrame, Excess, FrameError};
pub use encoder::{
    close_frame, close_frame_masked, cut, first_bytes, frame, frame_masked, header, header_bytes,
    whole,
};
pub use header::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Header, Opcode, Side, mask};
pub use receiver::{FrameRules, Item, Kind, Receiver};

// Opening handshake fields: the key, the accept key, and a client's request. The HTTP modules handle the rest of the
// request head.
//
// Source: RFC 6455 sections 1.3, 4.1 and 4.2.

/// Computes the 28 ASCII bytes of `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`. The key is not validated.
#[must_use]
pub fn accept_key(key: &str) -> [u8; 28] {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
    //# The value of this
    //# header field is constructed by concatenating /key/, defined
    //# above in step 4 in Section 4.2.2, with the string "258EAFA5-
    //# E914-47DA-95CA-C5AB0DC85B11", taking the SHA-1 hash of this
    //# concatenated value to obtain a 20-byte value and base64-
    //# encoding (see Section 4 of [RFC4648]) this 20-byte hash.
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(GUID);
    let mut accept = [0; 28];
    let _ = STANDARD.encode(context.finish().as_ref(), Out::from_slice(&mut accept));
    accept
}

/// Returns whether a `Sec-WebSocket-Key` consists of 1 to 64 bytes of visible ASCII, so that it can be hashed as
/// received. Some clients send keys that the standard forbids, but still verify the server's hash of them.
#[must_use]
pub fn usable_key(key: &str) -> bool {
    (1..=WEB_SOCKET_KEY_BYTES).contains(&key.len()) && key.bytes().all(|it| it.is_ascii_graphic())
}

/// Returns whether a `Sec-WebSocket-Key` is the base64 encoding of 16 bytes: 22 characters of the standard alphabet
/// followed by `==`. The four unused bits of the last character (RFC 4648 section 3.5) are ignored, because some
/// clients set them.
#[must_use]
pub fn valid_key(key: &str) -> bool {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1
    //# A |Sec-WebSocket-Key| header field with a base64-encoded (see
    //# Section 4 of [RFC4648]) value that, when decoded, is 16 bytes in
    //# length.
    let Some(digits) = key.as_bytes().strip_suffix(b"==") else {
        return false;
    };
    digits.len() == 22
        && digits
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// Appends a client's upgrade request.
///
/// `host` must include the port unless it is the scheme's default port. `target` is the percent-encoded path and query.
/// `key` is the base64 encoding of 16 fresh random bytes. All three must come from trusted code and must not contain
/// spaces or line breaks.
pub fn request(out: &mut Vec<u8>, host: &str, target: &str, key: &str) {
    debug_assert!(
        [host, target, key]
            .iter()
            .all(|part| part.bytes().all(|byte| byte.is_ascii_graphic()))
    );
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The method of the request MUST be GET, and the HTTP version MUST
    //# be at least 1.1.
    let parts = [
        "GET ",
        target,
        " HTTP/1.1\r\nHost: ",
        host,
        "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ",
        key,
        "\r\nSec-WebSocket-Version: 13\r\n\r\n",
    ];
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The GUID that every server appends to the key (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod upgrade_tests {
    use super::*;
    use tungstenite::handshake::client::generate_key;
    use tungstenite::handshake::derive_accept_key;

    #[test]
    fn accept_keys() {
        // RFC 6455 section 1.3.
        let found = &accept_key("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(found, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for _ in 0..100 {
            let key = generate_key();
            assert!(valid_key(&key), "{key}");
            let found = accept_key(&key);
            assert_eq!(found, derive_accept_key(key.as_bytes()).as_bytes());
        }
    }

    #[test]
    fn keys() {
        for (key, valid) in [
            ("dGhlIHNhbXBsZSBub25jZQ==", true),
            ("AAAAAAAAAAAAAAAAAAAAAA==", true),
            ("++++++++++/////////xyZ==", true),
            ("", false),
            ("==", false),
            ("dGhlIHNhbXBsZSBub25jZQ", false),
            ("dGhlIHNhbXBsZSBub25jZQ= ", false),
            ("dGhlIHNhbXBsZSBub25jZQA=", false),
            ("dGhlIHNhbXBsZSBub25jZQAA", false),
            ("dGhlIHNhbXBsZSBub25jZ-==", false),
            ("dGhlIHNhbXBsZSBub25j\u{FC}==", false),
            ("AAAAdGhlIHNhbXBsZSBub25jZQ==", false),
        ] {
            assert_eq!(valid_key(key), valid, "{key}");
        }
        for (key, usable) in [
            ("dhjgkqpz", true),
            ("!~", true),
            (&"x".repeat(64), true),
            (&"x".repeat(65), false),
            ("", false),
            ("a b", false),
            ("a\u{FC}", false),
        ] {
            assert_eq!((usable_key(key), valid_key(key)), (usable, false), "{key}");
        }
    }

    #[test]
    fn requests_are_what_a_server_expects() {
        let mut out = Vec::new();
        request(
            &mut out,
            "localhost:8080",
            "/?X-Amz-ChannelARN=a",
            "dGhlIHNhbXBsZSBub25jZQ==",
        );
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut parsed = httparse::Request::new(&mut headers);
        let found = parsed.parse(&out);
        assert_eq!(found, Ok(httparse::Status::Complete(out.len())));
        let found = (parsed.method, parsed.path, parsed.version);
        assert_eq!(found, (Some("GET"), Some("/?X-Amz-ChannelARN=a"), Some(1)));
        let headers: Vec<_> = parsed
            .headers
            .iter()
            .map(|header| (header.name, header.value))
            .collect();
        let expected: [(&str, &[u8]); 5] = [
            ("Host", b"localhost:8080"),
            ("Upgrade", b"websocket"),
            ("Connection", b"Upgrade"),
            ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", b"13"),
        ];
        assert_eq!(headers, expected);
    }
}
