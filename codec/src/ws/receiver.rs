//! The incoming side of a connection, which turns bytes into messages and control frames.
//!
//! Theory of operation: one read usually returns complete frames, each of which is a whole message. Such a frame is
//! unmasked and validated in place and borrowed from the caller's bytes, and the receiver buffers nothing. Otherwise, a
//! box holds the state ([`Partial`]) while it is needed:
//! ```text
//!  bytes of one read   │ frame │ frame │ fra            the first two are lent in place, "fra" goes into the box
//!  bytes of the next   │ me │ frame │                   the first is lent from the box, the second in place
//! ```
//! The order of the checks does not depend on how the stream is split. A header is checked when it is complete, first
//! by itself and then in its context. Text is checked as its bytes arrive. The body of a close frame is checked when it
//! is complete. Every way of splitting the stream therefore gives the same items and the same error.
//!
//! Each call first *locates* the next item, which is described by a small value ([`LocatedItem`]), and then lends it to
//! the caller. The borrow thus starts after all steps that can fail.

use crate::ws::FrameError;
use crate::ws::header::{Header, Side, mask_and_look};
use crate::ws::{close::CloseFrame, partial::Partial};

/// The limits of a receiver, shared by all connections of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRules {
    /// Maximum length of a message in bytes, including all of its fragments. Checked for each header, before the
    /// payload arrives.
    pub message_bytes: usize,
    /// Maximum number of frames in a message, including empty frames. A value of 0 is equivalent to 1.
    pub fragments: u32,
}

/// The type of a message, as declared by its first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text that is valid UTF-8.
    Text,
    /// Arbitrary bytes.
    Binary,
}

/// A message or control frame that was received. Borrowed until the receiver is called again.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A complete message.
    Message {
        /// The type of the message.
        kind: Kind,
        /// Unmasked payload of at most [`FrameRules::message_bytes`] bytes, which is UTF-8 in a text message. May be
        /// modified.
        payload: &'a mut [u8],
    },
    /// A ping, which must be answered with a pong that has the same payload (RFC 6455 section 5.5.3).
    Ping(&'a [u8]),
    /// A pong and its payload.
    Pong(&'a [u8]),
    /// A close frame with its code and reason, if it has them. The caller must discard all bytes that follow.
    Close(Option<CloseFrame<'a>>),
}

/// The incoming side of a connection. Lives as long as the connection. While idle, it takes 16 bytes and no heap
/// memory.
///
/// The caller passes the bytes of each read, and repeats the call until there are no more items:
/// ```
/// use codec::ws::{FrameRules, Item, Kind, Receiver, Side};
///
/// let rules = FrameRules { message_bytes: 64 * 1024, fragments: 64 };
/// let mut receiver = Receiver::new(Side::Client);
/// let mut read = *b"\x81\x05hello\x89\x00";
/// let mut bytes = &mut read[..];
/// loop {
///     let (used, item) = receiver.next(&rules, bytes)?;
///     match item {
///         Some(Item::Message { kind, payload }) => assert_eq!((kind, &payload[..]), (Kind::Text, &b"hello"[..])),
///         Some(Item::Ping(payload)) => assert!(payload.is_empty()),
///         Some(Item::Pong(_) | Item::Close(_)) => unreachable!(),
///         None => break,
///     }
///     bytes = &mut bytes[used..];
/// }
/// assert!(receiver.is_idle());
/// # Ok::<(), codec::ws::FrameError>(())
/// ```
#[derive(Debug)]
pub struct Receiver {
    side: Side,
    failed: Option<FrameError>,
    partial: Option<Box<Partial>>,
}

const _: () = assert!(
    size_of::<Receiver>() <= 16,
    "a million idle connections pay for each byte"
);

pub(crate) type ItemSearch = Result<(usize, Option<LocatedItem>), FrameError>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct LocatedItem {
    pub(crate) what: ItemKind,
    pub(crate) place: PayloadPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Message(Kind),
    Ping,
    Pong,
    Close,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum PayloadPlace {
    Bytes(usize, usize),
    Kept,
}

impl Receiver {
    /// Creates a receiver that expects the first frame of a connection.
    #[must_use]
    pub const fn new(side: Side) -> Self {
        Self {
            side,
            failed: None,
            partial: None,
        }
    }

    /// Consumes `bytes` up to the end of the next item. Returns the number of bytes consumed, and the item. The caller
    /// must repeat the call with the remaining bytes until no item is returned.
    ///
    /// Payloads are unmasked in place. The item is borrowed from `bytes` if they contain its whole frame, and otherwise
    /// from the receiver. After an error, the receiver owns no heap memory and always returns the same error.
    #[inline]
    pub fn next<'a>(
        &'a mut self,
        rules: &FrameRules,
        bytes: &'a mut [u8],
    ) -> Result<(usize, Option<Item<'a>>), FrameError> {
        let (used, found) = match self.find(rules, bytes) {
            Ok(found) => found,
            Err(error) => {
                *self = Self::failed(self.side, error);
                return Err(error);
            }
        };
        let item = match found {
            Some(found) => self.lend(found, bytes),
            None => None,
        };
        Ok((used, item))
    }

    /// Creates a receiver that has already failed, with the error of another receiver.
    #[must_use]
    pub fn failed(side: Side, error: FrameError) -> Self {
        Self {
            side,
            failed: Some(error),
            partial: None,
        }
    }

    /// Returns the error of the receiver, if it has failed.
    #[must_use]
    pub fn error(&self) -> Option<FrameError> {
        self.failed
    }

    /// Returns whether no part of a frame or message is buffered, in which case the receiver owns no heap memory. This
    /// is always the case if [`Self::next`] has returned no item and the last byte received ended a message.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Returns whether part of a data message has been received. Used for the slow-sender deadline.
    #[must_use]
    pub fn in_message(&self) -> bool {
        self.partial
            .as_ref()
            .is_some_and(|partial| partial.in_message())
    }

    /// Returns the memory occupied by an incomplete message, in bytes. Returns 0 while the receiver is idle.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.partial
            .as_ref()
            .map_or(0, |partial| partial.kept_bytes())
    }

    #[inline]
    fn find(&mut self, rules: &FrameRules, bytes: &mut [u8]) -> ItemSearch {
        if self.partial.is_none() && self.failed.is_none() {
            if bytes.is_empty() {
                return Ok((0, None));
            }
            if let Some(header) = Header::parse(bytes, self.side)?
                && let Some((what, end)) = header.item_in(header.header_bytes, bytes.len())
            {
                let start = header.header_bytes;
                if !header.opcode.is_control() && end - start > rules.message_bytes {
                    let bytes = (end - start) as u64;
                    return Err(FrameError::too_big(bytes, rules.message_bytes));
                }
                settle(what, &header, bytes.get_mut(start..end).unwrap_or_default())?;
                return Ok((
                    end,
                    Some(LocatedItem {
                        what,
                        place: PayloadPlace::Bytes(start, end),
                    }),
                ));
            }
        }
        self.find_kept(rules, bytes)
    }

    #[inline(never)]
    fn find_kept(&mut self, rules: &FrameRules, bytes: &mut [u8]) -> ItemSearch {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let partial = self.partial.get_or_insert_default();
        let (used, found) = partial.find(self.side, rules, bytes)?;
        if partial.is_empty() {
            self.partial = None;
        }
        Ok((used, found))
    }

    #[inline]
    fn lend<'a>(&'a mut self, found: LocatedItem, bytes: &'a mut [u8]) -> Option<Item<'a>> {
        let payload = match found.place {
            PayloadPlace::Bytes(from, to) => bytes.get_mut(from..to)?,
            PayloadPlace::Kept => self.partial.as_mut()?.kept(found.what)?,
        };
        Some(match found.what {
            ItemKind::Message(kind) => Item::Message { kind, payload },
            ItemKind::Ping => Item::Ping(payload),
            ItemKind::Pong => Item::Pong(payload),
            ItemKind::Close => Item::Close(CloseFrame::parse(payload).ok()?), // validated when it was located
        })
    }
}

/// Unmasks and validates an item's entire payload. Returns an error if a text is not UTF-8 or a close frame is invalid.
#[inline]
pub(crate) fn settle(what: ItemKind, head: &Header, payload: &mut [u8]) -> Result<(), FrameError> {
    let ascii = match head.key {
        NO_KEY => false,
        key => mask_and_look(payload, key, 0),
    };
    match what {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-8.1
        //# When an endpoint is to interpret a byte stream as UTF-8 but finds
        //# that the byte stream is not, in fact, a valid UTF-8 stream, that
        //# endpoint MUST _Fail the WebSocket Connection_.
        ItemKind::Message(Kind::Text) if !ascii => match simdutf8::basic::from_utf8(payload) {
            Ok(_) => Ok(()),
            Err(_) => Err(FrameError::TextNotUtf8),
        },
        ItemKind::Close => CloseFrame::parse(payload).map(|_| ()),
        ItemKind::Message(Kind::Text | Kind::Binary) | ItemKind::Ping | ItemKind::Pong => Ok(()),
    }
}

const NO_KEY: [u8; 4] = [0; 4];
