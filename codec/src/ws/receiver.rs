//! The incoming side of a connection: bytes in, messages and control frames out.
//!
//! Theory of operation. The usual frame lies whole in the bytes of one read and is a message by itself. It is unmasked
//! and checked in place and lent from there; the receiver buffers nothing. Everything else is rare, and its state is in
//! one box ([`Partial`]) that exists only while it is needed:
//! ```text
//!  bytes of one read   │ frame │ frame │ fra            the first two are lent in place, "fra" goes into the box
//!  bytes of the next   │ me │ frame │                   the first is lent from the box, the second in place
//! ```
//! Rules are checked in an order that does not depend on how the stream is cut: a header when it is complete (first by
//! itself, then in context), text as its bytes arrive, a close frame's body when it is complete. So any cutting gives
//! the same items and the same error.
//!
//! Each call first *locates* the next item (a small value, [`LocatedItem`]) and then lends it, so that the borrow of
//! the item begins after everything that can fail.

use crate::ws::FrameError;
use crate::ws::header::{Header, Side, mask_and_look};
use crate::ws::{close::CloseFrame, partial::Partial};

/// Bounds of a receiver, shared by all connections of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRules {
    /// Longest message in bytes, over all its fragments. Checked on each header, before the payload arrives.
    pub message_bytes: usize,
    /// Most frames of a message, empty ones included; 0 means 1.
    pub fragments: u32,
}

/// The type of a message, as its first frame declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text: UTF-8.
    Text,
    /// Binary: any bytes.
    Binary,
}

/// A received message or control frame. Lent until the next call.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A whole message.
    Message {
        /// Text or binary.
        kind: Kind,
        /// The payload, unmasked; valid UTF-8 if it is text. At most [`FrameRules::message_bytes`]; may be changed in
        /// place.
        payload: &'a mut [u8],
    },
    /// A ping with its payload, to be answered by a pong with the same (RFC 6455 section 5.5.3).
    Ping(&'a [u8]),
    /// A pong with its payload.
    Pong(&'a [u8]),
    /// A close with its code and reason, if it has any. The caller must discard whatever follows.
    Close(Option<CloseFrame<'a>>),
}

/// The incoming side of one connection. One exists per connection, for its life; 16 bytes and no heap while idle.
///
/// The caller passes the bytes of each read and loops until there is no further item:
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

/// Kind of an item and position of its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocatedItem {
    pub(crate) what: ItemKind,
    pub(crate) place: PayloadPlace,
}

/// The kind of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Message(Kind),
    Ping,
    Pong,
    Close,
}

/// Position of an item's payload.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PayloadPlace {
    /// Range of the caller's bytes.
    Bytes(usize, usize),
    /// In the box.
    Kept,
}

impl Receiver {
    /// A receiver at the start of a connection's frames.
    #[must_use]
    pub const fn new(side: Side) -> Self {
        Self {
            side,
            failed: None,
            partial: None,
        }
    }

    /// Consumes `bytes` up to the end of the next item. Returns the number of bytes consumed, and the item; without an
    /// item all of `bytes` was consumed. The caller calls again with the rest until there is no item.
    ///
    /// Payload bytes are unmasked where they lie. The item is lent from `bytes` if its frame lies whole in it, else
    /// from the receiver.
    ///
    /// # Errors
    /// The peer's first violation of RFC 6455 or of `rules`. The receiver is unusable afterwards: it owns no heap and
    /// always returns the same error.
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

    /// A receiver that has failed with this error, copied from another.
    #[must_use]
    pub fn failed(side: Side, error: FrameError) -> Self {
        Self {
            side,
            failed: Some(error),
            partial: None,
        }
    }

    /// The receiver's error, if it has failed.
    #[must_use]
    pub fn error(&self) -> Option<FrameError> {
        self.failed
    }

    /// Whether nothing is buffered: no part of a frame or message. Then the receiver owns no heap.
    ///
    /// True whenever the caller's loop has seen `None` at the end of a message.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Whether a data message is incomplete with some of it consumed: watched by a deadline for slow senders.
    #[must_use]
    pub fn in_message(&self) -> bool {
        self.partial
            .as_ref()
            .is_some_and(|partial| partial.in_message())
    }

    /// Bytes of memory that an incomplete message takes; 0 while the receiver is idle.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.partial
            .as_ref()
            .map_or(0, |partial| partial.kept_bytes())
    }

    /// Locates the next item.
    #[inline]
    fn find(
        &mut self,
        rules: &FrameRules,
        bytes: &mut [u8],
    ) -> Result<(usize, Option<LocatedItem>), FrameError> {
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

    /// Locates the next item, if it uses buffered bytes or leaves some.
    #[inline(never)]
    fn find_kept(
        &mut self,
        rules: &FrameRules,
        bytes: &mut [u8],
    ) -> Result<(usize, Option<LocatedItem>), FrameError> {
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
            ItemKind::Close => Item::Close(CloseFrame::parse(payload).ok()?), // checked when it was found
        })
    }
}

/// Unmasks and checks the whole payload of an item.
///
/// # Errors
/// Text that is not UTF-8; a bad body of a close frame.
#[inline]
pub(crate) fn settle(
    what: ItemKind,
    header: &Header,
    payload: &mut [u8],
) -> Result<(), FrameError> {
    let ascii = match header.key {
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

/// The key that masks nothing, used for unmasked frames.
const NO_KEY: [u8; 4] = [0; 4];
