//! The frames of one side of a WebSocket as a node sees them that passes its bytes on: where one ends and the next
//! begins.
//!
//! ```text
//!  HTTP/1.1 101 … CR LF CR LF │ header payload │ header payload │ …
//!  └───────── head ─────────┘ └─ between ──────┴─ between ──────┘
//! ```
//! Only headers are looked at, 2 to 14 bytes of each frame; a payload is a number of bytes to be skipped. An answer
//! that is no WebSocket, or a side that breaks a rule, has no such places from there on.

use crate::ws::header::{HEADER_BYTES_MAX, Header, Opcode, Side};

/// The place of a stream's last byte among its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A frame may follow: the head of the answer, or a frame, has ended. Also between the fragments of a message,
    /// where a control frame may stand (RFC 6455 section 5.4).
    Between,
    /// The head of the answer or a frame has begun and not ended.
    Within,
    /// The close frame has ended: no frame may follow.
    Closed,
    /// Not known: the answer is not 101, or a header broke a rule.
    Unknown,
}

/// Follows the bytes of one side of a WebSocket: a server's from its answer to the upgrade on, or a client's behind the
/// upgrade. It holds no payload.
#[derive(Clone, Debug)]
pub struct Follower {
    stage: Stage,
    /// The receiver of the frames.
    to: Side,
}

/// The part of the stream that the next byte belongs to.
#[derive(Clone, Debug)]
enum Stage {
    /// The head, of which this many bytes of [`SWITCHING`] have come.
    Status(u8),
    /// The rest of the head, whose last bytes are this many of [`HEAD_END`].
    Head(u8),
    /// A frame's header, of which this many bytes have come.
    Header([u8; HEADER_BYTES_MAX], u8),
    /// A frame's payload, of which this many bytes are missing: one at least.
    Payload(u64, Opcode),
    /// Nothing of interest follows.
    Over(Place),
}

impl Follower {
    /// A follower of a server's answer that has not begun.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            stage: Stage::Status(0),
            to: Side::Client,
        }
    }

    /// A follower of a client's frames, before the first of them.
    #[must_use]
    pub const fn of_client() -> Self {
        Self {
            stage: FRAME,
            to: Side::Server,
        }
    }

    /// Follows the next bytes of the stream. Returns the number of those that belong to it: all, unless the close frame
    /// ended before them or among them.
    #[inline]
    pub fn follow(&mut self, all: &[u8]) -> usize {
        let mut bytes = all;
        while !bytes.is_empty() {
            bytes = match &mut self.stage {
                Stage::Payload(missing, opcode) => {
                    let there = bytes.len() as u64;
                    if there < *missing {
                        *missing -= there;
                        return all.len();
                    }
                    let (_, rest) =
                        bytes.split_at(usize::try_from(*missing).unwrap_or(bytes.len()));
                    self.stage = after(*opcode);
                    rest
                }
                Stage::Header(_, 0) => match Header::parse(bytes, self.to) {
                    Ok(Some(header)) => {
                        self.stage = behind(&header);
                        bytes.get(header.header_bytes..).unwrap_or_default()
                    }
                    Ok(None) | Err(_) => self.byte_of_header(bytes),
                },
                Stage::Header(..) => self.byte_of_header(bytes),
                Stage::Status(_) | Stage::Head(_) => self.byte_of_head(bytes),
                Stage::Over(Place::Closed) => return all.len() - bytes.len(),
                Stage::Over(_) => return all.len(),
            };
        }
        all.len()
    }

    /// The place of the last byte.
    #[must_use]
    pub fn place(&self) -> Place {
        match self.stage {
            Stage::Header(_, 0) => Place::Between,
            Stage::Status(_) | Stage::Head(_) | Stage::Header(..) | Stage::Payload(..) => {
                Place::Within
            }
            Stage::Over(place) => place,
        }
    }

    /// Takes one byte of a header that comes in pieces; returns the others.
    fn byte_of_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (Stage::Header(header, length), Some((first, rest))) =
            (&mut self.stage, bytes.split_first())
        else {
            return &[];
        };
        if let Some(place) = header.get_mut(usize::from(*length)) {
            *place = *first;
            *length += 1;
        }
        let begun = header.get(..usize::from(*length)).unwrap_or_default();
        match Header::parse(begun, self.to) {
            Ok(None) => {}
            Ok(Some(header)) => self.stage = behind(&header),
            Err(_) => self.stage = Stage::Over(Place::Unknown),
        }
        rest
    }

    /// Takes one byte of the head; returns the others.
    fn byte_of_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some((&first, rest)) = bytes.split_first() else {
            return &[];
        };
        self.stage = match self.stage {
            Stage::Status(seen) if SWITCHING.get(usize::from(seen)) != Some(&first) => {
                Stage::Over(Place::Unknown)
            }
            Stage::Status(seen) if usize::from(seen) + 1 == SWITCHING.len() => Stage::Head(0),
            Stage::Status(seen) => Stage::Status(seen + 1),
            Stage::Head(seen) if HEAD_END.get(usize::from(seen)) != Some(&first) => {
                Stage::Head(u8::from(HEAD_END.first() == Some(&first)))
            }
            Stage::Head(seen) if usize::from(seen) + 1 == HEAD_END.len() => FRAME,
            Stage::Head(seen) => Stage::Head(seen + 1),
            Stage::Header(..) | Stage::Payload(..) | Stage::Over(_) => return rest,
        };
        rest
    }
}

impl Default for Follower {
    fn default() -> Self {
        Self::new()
    }
}

/// The stage behind a header.
fn behind(header: &Header) -> Stage {
    match header.payload_bytes {
        0 => after(header.opcode),
        bytes => Stage::Payload(bytes, header.opcode),
    }
}

/// The stage behind a whole frame.
fn after(opcode: Opcode) -> Stage {
    match opcode {
        Opcode::Close => Stage::Over(Place::Closed),
        Opcode::Continuation | Opcode::Text | Opcode::Binary | Opcode::Ping | Opcode::Pong => FRAME,
    }
}

/// Before the first byte of a frame.
const FRAME: Stage = Stage::Header([0; HEADER_BYTES_MAX], 0);

/// The beginning of the answer that switches protocols (RFC 9112 section 4).
const SWITCHING: &[u8] = b"HTTP/1.1 101 ";

/// The end of a head (RFC 9112 section 2.1).
const HEAD_END: &[u8] = b"\r\n\r\n";

const _: () = assert!(size_of::<Follower>() <= 24);
