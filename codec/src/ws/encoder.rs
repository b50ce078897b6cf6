//! Writes outgoing frames.
//!
//! Every frame written is either a complete message or a control frame, since RFC 6455 section 5.4 leaves fragmentation
//! to the sender. There are two exceptions: [`header`] can start or continue a fragmented message, and [`cut`]
//! fragments a complete frame for readers with small buffers. [`whole`] joins the fragments again.

use crate::limits::beginning;
use crate::ws::close::{self, REASON_BYTES_MAX};
use crate::ws::header::{
    CONTROL_BYTES_MAX, FIN, Header, LENGTH_16, LENGTH_64, MASKED, Opcode, SHORT_MAX, Side, mask,
};

/// Appends a complete frame as a server sends it, with FIN set and without masking.
///
/// # Panics
/// Panics if the payload of a control frame is longer than [`CONTROL_BYTES_MAX`].
#[inline]
pub fn frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
    //# A server MUST NOT mask any frames that it sends to the client.
    out.reserve(header_bytes(payload.len()) + payload.len());
    header(out, opcode, true, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a complete frame as a client sends it, masked with `key`, which must be fresh and unpredictable (RFC 6455
/// section 5.3).
#[inline]
pub fn frame_masked(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: [u8; 4]) {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
    //# a client MUST mask all frames that it
    //# sends to the server
    out.reserve(header_bytes(payload.len()) + key.len() + payload.len());
    head(out, opcode, true, payload.len(), MASKED);
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    mask(out.get_mut(start..).unwrap_or_default(), key, 0);
}

/// Appends the header of a frame as a server sends it. The caller must then append exactly `payload_bytes` bytes of
/// payload.
///
/// # Panics
/// Panics if a control frame has a payload longer than [`CONTROL_BYTES_MAX`], or if `fin` is not set for it.
#[inline]
pub fn header(out: &mut Vec<u8>, opcode: Opcode, fin: bool, payload_bytes: usize) {
    head(out, opcode, fin, payload_bytes, 0);
}

/// Returns how many bytes [`header`] appends for a payload of this length: 2, 4 or 10. In a masked frame, the header is
/// 4 bytes longer.
#[must_use]
#[inline]
pub const fn header_bytes(payload_bytes: usize) -> usize {
    if payload_bytes <= SHORT_MAX as usize {
        2
    } else if payload_bytes <= u16::MAX as usize {
        4
    } else {
        10
    }
}

/// Splits the complete frame from `begin` to the end of `out` into fragments of about equal length. Each fragment has a
/// payload of at most `payload_max` bytes.
#[inline]
pub fn cut(out: &mut Vec<u8>, begin: usize, payload_max: usize) {
    if out.len() - begin > payload_max {
        cut_long(out, begin, payload_max);
    }
}

#[cold]
fn cut_long(out: &mut Vec<u8>, begin: usize, payload_max: usize) {
    let long = out.split_off(begin);
    let (opcode, payload) = first_of(&long).map_or((Opcode::Text, &*long), |(header, rest)| {
        (header.opcode, rest)
    });
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
    //# A fragmented message consists of a single frame with the FIN bit
    //# clear and an opcode other than 0, followed by zero or more frames
    //# with the FIN bit clear and the opcode set to 0, and terminated by
    //# a single frame with the FIN bit set and an opcode of 0.
    let pieces = payload.len().div_ceil(payload_max).max(1);
    let mut rest = payload;
    for left in (1..=pieces).rev() {
        let (piece, behind) = rest.split_at(rest.len().div_ceil(left));
        let opcode = if left == pieces {
            opcode
        } else {
            Opcode::Continuation
        };
        header(out, opcode, left == 1, piece.len());
        out.extend_from_slice(piece);
        rest = behind;
    }
}

/// Joins the frames of a message sent by a server into a single frame.
#[must_use]
pub fn whole(frames: &[u8]) -> Box<[u8]> {
    let Some((first, _)) = first_of(frames).filter(|(first, _)| !first.fin) else {
        return frames.into();
    };
    let (mut payload, mut rest) = (Vec::new(), frames);
    while let Some((header, behind)) = first_of(rest) {
        let length = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX);
        let (piece, behind) = behind.split_at(length.min(behind.len()));
        payload.extend_from_slice(piece);
        rest = behind;
    }
    let mut out = Vec::new();
    frame(&mut out, first.opcode, &payload);
    out.into_boxed_slice()
}

/// Returns the length of the first item in a server's stream, which is either the upgrade response or a frame. If the
/// item is incomplete, returns the length of `bytes`.
#[must_use]
pub fn first_bytes(bytes: &[u8]) -> usize {
    let whole = if bytes.starts_with(b"HTTP/") {
        memchr::memmem::find(bytes, b"\r\n\r\n").map(|end| end + 4)
    } else {
        first_of(bytes).and_then(|(header, _)| {
            let payload = usize::try_from(header.payload_bytes).ok()?;
            header.header_bytes.checked_add(payload)
        })
    };
    whole.map_or(bytes.len(), |whole| whole.min(bytes.len()))
}

fn first_of(frames: &[u8]) -> Option<(Header, &[u8])> {
    let header = Header::parse(frames, Side::Client).ok()??;
    Some((header, frames.get(header.header_bytes..)?))
}

/// Appends a close frame as a server sends it. A reason longer than [`REASON_BYTES_MAX`] bytes is truncated at a
/// character boundary.
///
/// To echo a close frame that has no code, use `frame(out, Opcode::Close, b"")`.
#[inline]
pub fn close_frame(out: &mut Vec<u8>, code: u16, reason: &str) {
    let (body, length) = close_body(code, reason);
    frame(out, Opcode::Close, body.get(..length).unwrap_or_default());
}

/// Appends a close frame as a client sends it, masked with `key`. Otherwise the same as [`close_frame`].
#[inline]
pub fn close_frame_masked(out: &mut Vec<u8>, code: u16, reason: &str, key: [u8; 4]) {
    let (body, length) = close_body(code, reason);
    frame_masked(
        out,
        Opcode::Close,
        body.get(..length).unwrap_or_default(),
        key,
    );
}

fn close_body(code: u16, reason: &str) -> ([u8; CONTROL_BYTES_MAX], usize) {
    debug_assert!(
        close::valid_code(code),
        "close code {code} must not be sent"
    );
    let reason = beginning(reason, REASON_BYTES_MAX);
    let mut body = [0; CONTROL_BYTES_MAX];
    let bytes = code.to_be_bytes().into_iter().chain(reason.bytes());
    for (place, byte) in body.iter_mut().zip(bytes) {
        *place = byte;
    }
    (body, size_of::<u16>() + reason.len())
}

#[inline]
fn head(out: &mut Vec<u8>, opcode: Opcode, fin: bool, payload_bytes: usize, masked: u8) {
    if opcode.is_control() {
        assert!(
            fin && payload_bytes <= CONTROL_BYTES_MAX,
            "control frames are short and whole"
        );
    }
    let first = opcode.to_wire() | if fin { FIN } else { 0 };
    if let Ok(short) = u8::try_from(payload_bytes)
        && short <= SHORT_MAX
    {
        out.extend_from_slice(&[first, masked | short]);
    } else if let Ok(length) = u16::try_from(payload_bytes) {
        let [high, low] = length.to_be_bytes();
        out.extend_from_slice(&[first, masked | LENGTH_16, high, low]);
    } else {
        let [a, b, c, d, e, f, g, h] = (payload_bytes as u64).to_be_bytes();
        out.extend_from_slice(&[first, masked | LENGTH_64, a, b, c, d, e, f, g, h]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_first_is_a_head_or_a_frame() {
        let (mut out, mut lengths) = (
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec(),
            Vec::new(),
        );
        for payload in [0, 125, 126, 70_000] {
            frame(&mut out, Opcode::Text, &vec![b'a'; payload]);
        }
        let mut rest = &*out;
        while !rest.is_empty() {
            lengths.push(first_bytes(rest));
            rest = &rest[first_bytes(rest)..];
        }
        assert_eq!(lengths, [36, 2, 127, 130, 70_010]);
        for part in [
            &b""[..],
            b"HTTP/1.1 101",
            b"\x81",
            b"\x81\x7e\x01",
            b"\x81\x05Hel",
            b"\xff\xff",
        ] {
            assert_eq!(first_bytes(part), part.len(), "{part:?}");
        }
    }

    #[test]
    fn three_forms_of_length_and_the_rfcs_examples() {
        // RFC 6455 section 5.7.
        let mut out = Vec::new();
        frame(&mut out, Opcode::Text, b"Hello");
        assert_eq!(out, b"\x81\x05Hello");
        out.clear();
        frame_masked(&mut out, Opcode::Text, b"Hello", [0x37, 0xFA, 0x21, 0x3D]);
        let wanted = [
            0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58,
        ];
        assert_eq!(out, wanted);
        out.clear();
        header(&mut out, Opcode::Text, false, 3);
        header(&mut out, Opcode::Continuation, true, 2);
        assert_eq!(out, [0x01, 0x03, 0x80, 0x02]);
        for (bytes, head) in [
            (125, &[0x82, 125][..]),
            (126, &[0x82, 126, 0, 126]),
            (256, &[0x82, 126, 1, 0]),
            (65_535, &[0x82, 126, 255, 255]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            out.clear();
            header(&mut out, Opcode::Binary, true, bytes);
            assert_eq!(out, head);
            assert_eq!(header_bytes(bytes), head.len());
        }
    }

    #[test]
    fn frames_grow_the_buffer_once_at_most() {
        let payload = [7; 300];
        let mut out = Vec::with_capacity(1 + 8 + payload.len());
        out.push(0);
        let before = out.capacity();
        frame_masked(&mut out, Opcode::Binary, &payload, [1, 2, 3, 4]);
        assert_eq!(out.capacity(), before);
    }

    #[test]
    fn a_long_frame_is_cut_into_fragments_and_becomes_whole_again() {
        for (bytes, most, pieces) in [
            (0, 10, 1),
            (10, 10, 1),
            (11, 10, 2),
            (70_000, 4_096, 18),
            (200, 130, 2),
        ] {
            let payload: Vec<u8> = (0..=255).cycle().take(bytes).collect();
            let mut out = b"before".to_vec();
            frame(&mut out, Opcode::Text, &payload);
            let uncut = out[6..].to_vec();
            cut(&mut out, 6, most);
            let (mut rest, mut found) = (&out[6..], 0);
            while let Some((header, behind)) = first_of(rest) {
                let length = usize::try_from(header.payload_bytes).unwrap();
                assert!(length <= most && length + 1 >= bytes / pieces);
                let expected = if found == 0 {
                    Opcode::Text
                } else {
                    Opcode::Continuation
                };
                assert_eq!(header.opcode, expected);
                (rest, found) = (&behind[length..], found + 1);
                assert_eq!(header.fin, rest.is_empty());
            }
            assert_eq!(found, pieces, "{bytes} {most}");
            assert_eq!(&*whole(&out[6..]), uncut);
        }
        assert_eq!(&*whole(b""), b"");
    }

    #[test]
    fn close_reasons_are_cut_at_a_character() {
        let mut out = Vec::new();
        close_frame(&mut out, 1001, "bye");
        assert_eq!(out, b"\x88\x05\x03\xE9bye");
        out.clear();
        close_frame(&mut out, 1000, &"\u{FC}".repeat(100));
        assert_eq!(out[..4], [0x88, 124, 0x03, 0xE8]);
        let found = std::str::from_utf8(&out[4..]);
        assert_eq!(found, Ok("\u{FC}".repeat(61).as_str()));
        out.clear();
        close_frame_masked(&mut out, 1000, "", [0, 0, 0, 0]);
        assert_eq!(out, [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8]);
    }

    #[test]
    #[should_panic(expected = "control frames are short and whole")]
    fn a_long_ping_is_our_bug() {
        frame(&mut Vec::new(), Opcode::Ping, &[0; 126]);
    }
}
