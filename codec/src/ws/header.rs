//! The header of a frame (flags, opcode, the three encodings of the length, masking key), and the masking of payloads.
//!
//! ```text
//!  byte 0            byte 1            then                                     then
//!  F R R R opcode    M length(7)       length 126: 2 bytes, 127: 8 bytes        M set: mask key, 4 bytes
//! ```
//! Source: RFC 6455 section 5.2.

use crate::WIDE_BYTES_MIN;
use crate::ws::FrameError;
use fearless_simd::{Level, Simd, dispatch};

/// Maximum length of a frame header in bytes: 2 fixed bytes, 8 bytes of length, and 4 bytes of masking key (RFC 6455
/// section 5.2).
pub const HEADER_BYTES_MAX: usize = 14;

/// Maximum length of a control frame's payload, in bytes (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// The type of a frame (RFC 6455 section 5.2), without the reserved values 3 to 7 and 11 to 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// A frame that continues a fragmented message (0).
    Continuation,
    /// The first frame of a text message (1).
    Text,
    /// The first frame of a binary message (2).
    Binary,
    /// A close frame of the closing handshake (8).
    Close,
    /// A request for a pong (9).
    Ping,
    /// The response to a ping, or an unsolicited heartbeat (10).
    Pong,
}

/// The local side of a connection, which determines which frames are masked (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// A server: incoming frames are masked, outgoing frames are not.
    Server,
    /// A client: outgoing frames are masked, incoming frames are not.
    Client,
}

/// The header of an incoming frame. The rules for fragmentation and message size depend on earlier frames, so
/// [`Receiver`](crate::ws::Receiver) checks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether this is the last frame of its message.
    pub fin: bool,
    /// Type of the frame.
    pub opcode: Opcode,
    /// Masking key in wire order. All zeros in an unmasked frame, so that unmasking has no effect.
    pub key: [u8; 4],
    /// Length of the payload in bytes. Always less than 2⁶³.
    pub payload_bytes: u64,
    /// Length of the header in bytes, from 2 to [`HEADER_BYTES_MAX`].
    pub header_bytes: usize,
}

impl Header {
    /// Parses the header at the start of `bytes`. Returns `None` if more bytes are needed; [`HEADER_BYTES_MAX`] bytes
    /// always suffice. Each rule is checked as soon as the first byte that can violate it is available, so later bytes
    /// do not change the error.
    ///
    /// # Errors
    /// Returns an error for reserved bits and opcodes, wrong masking, lengths that are not in their shortest form or
    /// have the top bit set, and control frames that are too long or fragmented.
    #[inline]
    pub fn parse(bytes: &[u8], side: Side) -> Result<Option<Self>, FrameError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
        //# MUST be 0 unless an extension is negotiated that defines meanings
        //# for non-zero values.
        if first & RESERVED != 0 {
            return Err(FrameError::ReservedBits);
        }
        let opcode = Opcode::from_wire(first & OPCODE)?;
        let fin = first & FIN != 0;
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5
        //# All control frames MUST have a payload length of 125 bytes or less
        //# and MUST NOT be fragmented.
        if opcode.is_control() && !fin {
            return Err(FrameError::ControlFragmented);
        }
        let Some((&second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        check_masking(side, second & MASKED != 0)?;
        let short = second & LENGTH;
        if opcode.is_control() && short > SHORT_MAX {
            return Err(FrameError::ControlTooLong);
        }
        let Some((payload_bytes, rest)) = length(short, rest)? else {
            return Ok(None);
        };
        let (key, rest) = match side {
            Side::Server => match rest.split_first_chunk() {
                Some((key, rest)) => (*key, rest),
                None => return Ok(None),
            },
            Side::Client => ([0; 4], rest),
        };
        Ok(Some(Self {
            fin,
            opcode,
            key,
            payload_bytes,
            header_bytes: bytes.len() - rest.len(),
        }))
    }
}

impl Opcode {
    /// Returns whether the opcode is close, ping or pong.
    #[must_use]
    #[inline]
    pub const fn is_control(self) -> bool {
        match self {
            Self::Close | Self::Ping | Self::Pong => true,
            Self::Continuation | Self::Text | Self::Binary => false,
        }
    }

    /// Returns the four bits of the opcode on the wire.
    #[must_use]
    #[inline]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    #[inline]
    const fn from_wire(bits: u8) -> Result<Self, FrameError> {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
        //# If an unknown opcode is received, the receiving
        //# endpoint MUST _Fail the WebSocket Connection_.
        match bits {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            _ => Err(FrameError::UnknownOpcode),
        }
    }
}

#[inline]
const fn check_masking(side: Side, masked: bool) -> Result<(), FrameError> {
    match (side, masked) {
        (Side::Server, true) | (Side::Client, false) => Ok(()),
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
        //# The server MUST close the connection upon receiving a
        //# frame that is not masked.
        (Side::Server, false) => Err(FrameError::Unmasked),
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
        //# A client MUST close a connection if it detects a masked
        //# frame.
        (Side::Client, true) => Err(FrameError::Masked),
    }
}

/// Decodes the payload length from the seven-bit field and the bytes that follow. Returns the length and the remaining
/// bytes.
#[inline]
fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, FrameError> {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
    //# Note that in all cases, the minimal number of bytes MUST be used to encode
    //# the length
    match short {
        LENGTH_16 => {
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let length = u16::from_be_bytes(*bytes);
            if length <= SHORT_MAX as u16 {
                return Err(FrameError::LengthNotMinimal);
            }
            Ok(Some((u64::from(length), rest)))
        }
        LENGTH_64 => {
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let length = u64::from_be_bytes(*bytes);
            //= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
            //# If 127, the following 8 bytes interpreted as a 64-bit unsigned integer (the
            //# most significant bit MUST be 0) are the payload length.
            if length >> 63 != 0 {
                return Err(FrameError::LengthTopBit);
            }
            if length <= u64::from(u16::MAX) {
                return Err(FrameError::LengthNotMinimal);
            }
            Ok(Some((length, rest)))
        }
        short => Ok(Some((u64::from(short), rest))),
    }
}

/// Bit of the first byte, set in the last frame of a message.
pub(crate) const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
pub(crate) const OPCODE: u8 = 0x0F;
pub(crate) const CONTROL: u8 = 0x08;
/// Bit of the second byte, set if there is a masking key.
pub(crate) const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;
pub(crate) const SHORT_MAX: u8 = 125;
/// Value of the seven-bit length field indicating that a 16-bit length follows.
pub(crate) const LENGTH_16: u8 = 126;
/// Value of the seven-bit length field indicating that a 64-bit length follows.
pub(crate) const LENGTH_64: u8 = 127;

const _: () = assert!(
    CONTROL_BYTES_MAX == SHORT_MAX as usize,
    "a control frame has the short length form"
);

// Masking: each word of the payload is XORed with the four-byte key. Source: RFC 6455 section 5.3.

/// Masks or unmasks `payload` in place. `offset` is the position of `payload` within the frame's payload, and
/// determines which byte of the key is used first.
#[inline]
pub fn mask(payload: &mut [u8], key: [u8; 4], offset: usize) {
    let _ = mask_and_look(payload, key, offset);
}

/// Like [`mask`], but also returns whether the result is ASCII. The check is almost free, since each word is already in
/// a register. A separate pass over a short text would cost as much as the masking itself.
#[inline]
pub(crate) fn mask_and_look(payload: &mut [u8], key: [u8; 4], offset: usize) -> bool {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.3
    //# Octet i of the transformed data ("transformed-octet-i") is the XOR of
    //# octet i of the original data ("original-octet-i") with octet at index
    //# i modulo 4 of the masking key ("masking-key-octet-j"):
    #[expect(clippy::cast_possible_truncation, reason = "two bits are left")]
    let turn = (offset & 3) as u32 * u8::BITS;
    let key = u32::from_le_bytes(key).rotate_right(turn);
    if payload.len() < WIDE_BYTES_MIN {
        mask_words(payload, key)
    } else {
        mask_wide(payload, key)
    }
}

#[inline(never)]
fn mask_wide(payload: &mut [u8], key: u32) -> bool {
    dispatch!(Level::new(), wide => wide.vectorize(
        #[inline(always)]
        || mask_words(payload, key)
    ))
}

#[expect(
    clippy::inline_always,
    reason = "compiled with the vectors of its caller"
)]
#[inline(always)]
fn mask_words(payload: &mut [u8], key: u32) -> bool {
    let word = u64::from(key) << u32::BITS | u64::from(key);
    let mut seen = 0;
    let (words, tail) = payload.as_chunks_mut::<8>();
    for bytes in words {
        let masked = u64::from_le_bytes(*bytes) ^ word;
        seen |= masked;
        *bytes = masked.to_le_bytes();
    }
    let (halves, tail) = tail.as_chunks_mut::<4>();
    for bytes in halves {
        let masked = u32::from_le_bytes(*bytes) ^ key;
        seen |= u64::from(masked);
        *bytes = masked.to_le_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.to_le_bytes()) {
        *byte ^= key;
        seen |= u64::from(*byte);
    }
    seen & BEYOND_ASCII == 0
}

const BEYOND_ASCII: u64 = u64::from_ne_bytes([0x80; 8]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_length_and_masking() {
        use Opcode::{Binary, Continuation, Pong, Text};
        let client = Side::Client;
        reads(&[0x81, 0], client, (Text, true, 0));
        reads(&[0x02, 125], client, (Binary, false, 125));
        reads(&[0x80, 126, 0, 126], client, (Continuation, true, 126));
        reads(&[0x82, 126, 255, 255], client, (Binary, true, 65_535));
        reads(
            &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0],
            client,
            (Binary, true, 65_536),
        );
        let most = [0x82, 127, 0x7F, 255, 255, 255, 255, 255, 255, 255];
        reads(&most, client, (Binary, true, u64::MAX >> 1));

        let server = Side::Server;
        reads(&[0x8A, 0xFD, 1, 2, 3, 4], server, (Pong, true, 125));
        reads(&[0x01, 0xFE, 1, 0, 1, 2, 3, 4], server, (Text, false, 256));
        let most = [
            0x82, 0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4,
        ];
        reads(&most, server, (Binary, true, u64::MAX >> 1));
    }

    #[test]
    fn every_violation_on_its_first_byte() {
        for first in [0xC1, 0xA1, 0x91, 0xF3] {
            refuses(&[first], Side::Server, FrameError::ReservedBits);
        }
        for first in [0x83, 0x07, 0x8B, 0x8F, 0x0C] {
            refuses(&[first], Side::Client, FrameError::UnknownOpcode);
        }
        for first in [0x08, 0x09, 0x0A] {
            refuses(&[first], Side::Server, FrameError::ControlFragmented);
        }
        refuses(&[0x81, 0x00], Side::Server, FrameError::Unmasked);
        refuses(&[0x81, 0x80], Side::Client, FrameError::Masked);
        refuses(&[0x89, 0xFE], Side::Server, FrameError::ControlTooLong);
        refuses(&[0x88, 0x7F], Side::Client, FrameError::ControlTooLong);
        let error = FrameError::LengthNotMinimal;
        refuses(&[0x82, 126, 0, 125], Side::Client, error);
        refuses(
            &[0x82, 127, 0, 0, 0, 0, 0, 0, 255, 255],
            Side::Client,
            error,
        );
        let top_bit = [0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0];
        refuses(&top_bit, Side::Server, FrameError::LengthTopBit);
    }

    #[test]
    fn opcodes_survive_the_wire() {
        for bits in 0..16 {
            if let Ok(opcode) = Opcode::from_wire(bits) {
                assert_eq!(opcode.to_wire(), bits);
                assert_eq!(opcode.is_control(), bits & CONTROL != 0);
            }
        }
    }

    /// Asserts that `bytes` parse to a header with these fields even if more bytes follow, and that every shorter
    /// prefix is incomplete.
    fn reads(bytes: &[u8], side: Side, (opcode, fin, payload_bytes): (Opcode, bool, u64)) {
        let header = Header {
            fin,
            opcode,
            key: match side {
                Side::Server => [1, 2, 3, 4],
                Side::Client => [0; 4],
            },
            payload_bytes,
            header_bytes: bytes.len(),
        };
        let longer = [bytes, b"payload"].concat();
        assert_eq!(Header::parse(&longer, side), Ok(Some(header)), "{bytes:x?}");
        for short in 0..bytes.len() {
            let found = Header::parse(&bytes[..short], side);
            assert_eq!(found, Ok(None), "{short} of {bytes:x?}");
        }
    }

    /// Asserts that the last byte of `bytes` causes `error`, regardless of the bytes that follow it, and that a shorter
    /// prefix does not.
    fn refuses(bytes: &[u8], side: Side, error: FrameError) {
        let before = &bytes[..bytes.len() - 1];
        let found = Header::parse(before, side);
        assert_eq!(found, Ok(None), "before the end of {bytes:x?}");
        let mut longer = bytes.to_vec();
        for _ in 0..20 {
            assert_eq!(Header::parse(&longer, side), Err(error), "{longer:x?}");
            longer.push(0x5A);
        }
    }
}

#[cfg(test)]
mod mask_tests {
    use super::*;

    /// Masks byte by byte, as the RFC specifies.
    fn scalar(payload: &mut [u8], key: [u8; 4], offset: usize) {
        for (i, byte) in payload.iter_mut().enumerate() {
            *byte ^= key[(i + offset) % 4];
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.3
    //= type=test
    //# Octet i of the transformed data ("transformed-octet-i") is the XOR of
    //# octet i of the original data ("original-octet-i") with octet at index
    //# i modulo 4 of the masking key ("masking-key-octet-j"):
    #[test]
    fn equals_the_scalar_rule_at_every_length_offset_and_alignment() {
        let original: Vec<u8> = (0..800_u32).map(|i| (i * 7 + 3).to_le_bytes()[0]).collect();
        let key = [0x37, 0xFA, 0x21, 0x3D];
        for length in (0..150).chain([255, 256, 257, 383, 511, 512, 513, 605, 767]) {
            for offset in [0, 1, 2, 3, 4, 7, 65_537, usize::MAX] {
                for start in 0..9 {
                    let (mut fast, mut slow) = (original.clone(), original.clone());
                    mask(&mut fast[start..start + length], key, offset);
                    scalar(&mut slow[start..start + length], key, offset % 4);
                    assert_eq!(
                        fast, slow,
                        "length {length}, offset {offset}, start {start}"
                    );
                    mask(&mut fast[start..start + length], key, offset);
                    assert_eq!(fast, original, "twice is not at all");
                }
            }
        }
    }

    #[test]
    fn pieces_equal_the_whole() {
        let original: Vec<u8> = (0..=255).collect();
        let key = [1, 2, 4, 8];
        let mut whole = original.clone();
        mask(&mut whole, key, 0);
        for cut in 0..original.len() {
            let mut pieces = original.clone();
            let (first, second) = pieces.split_at_mut(cut);
            mask(first, key, 0);
            mask(second, key, cut);
            assert_eq!(pieces, whole, "cut at {cut}");
        }
    }

    #[test]
    fn ascii_is_recognised_at_any_length() {
        let key = [0x80, 0xFF, 0x01, 0x7F];
        for length in (0..40).chain(WIDE_BYTES_MIN - 1..WIDE_BYTES_MIN + 4) {
            for spoilt in 0..=length {
                let mut payload = vec![0x7F; length];
                if let Some(byte) = payload.get_mut(spoilt) {
                    *byte = 0x80;
                }
                scalar(&mut payload, key, 1);
                let ascii = mask_and_look(&mut payload, key, 1);
                assert_eq!(ascii, spoilt == length, "byte {spoilt} of {length}");
                assert_eq!(ascii, payload.is_ascii());
            }
        }
    }
}
