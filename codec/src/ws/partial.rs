//! State of incomplete frames and messages, and incremental UTF-8 validation.
//!
//! ```text
//!  cut inside a header ──► head: its first bytes
//!  cut inside a payload ─► frame: its header, and how much of the payload was consumed
//!                            ├─ control ─► control: at most 125 bytes, lent from here
//!                            └─ data ────► message: grows by the received bytes, lent from here after FIN
//! ```
//! A control frame between two fragments does not affect the message. If the payload of an item is complete in the
//! caller's bytes, the item is borrowed from these bytes, even if its header was split or another message is still
//! incomplete.

use crate::ws::FrameError;
use crate::ws::close::CloseFrame;
use crate::ws::header::{
    CONTROL, CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Header, OPCODE, Opcode, Side, mask,
};
use crate::ws::receiver::{
    FrameRules, ItemKind, ItemSearch, Kind, LocatedItem, PayloadPlace, settle,
};

/// A receiver's state within a frame or message. Kept until the caller has finished with the completed item.
#[derive(Debug)]
pub(crate) struct Partial {
    frame: Option<PartialFrame>,
    /// The data message being received, or the complete message that the caller has borrowed.
    message: Option<Message>,
    /// Whether `message` has been lent to the caller. If so, the next call drops it.
    lent: bool,
    head_bytes: u8,
    control_bytes: u8,
    head: [u8; HEADER_BYTES_MAX],
    control: [u8; CONTROL_BYTES_MAX],
}

#[derive(Clone, Copy, Debug)]
struct PartialFrame {
    header: Header,
    taken: usize,
}

/// The received part of a data message. Invariant: `proven ≤ bytes.len() ≤ FrameRules::message_bytes`.
#[derive(Debug)]
struct Message {
    kind: Kind,
    frames: u32,
    /// Length of the prefix that is known to be valid UTF-8 (text messages only).
    proven: usize,
    bytes: Vec<u8>,
}

impl Default for Partial {
    fn default() -> Self {
        Self {
            frame: None,
            message: None,
            lent: false,
            head_bytes: 0,
            control_bytes: 0,
            head: [0; _],
            control: [0; _],
        }
    }
}

impl Partial {
    /// Consumes `bytes` up to the end of the next item, or all of `bytes` if no item is complete.
    pub(crate) fn find(&mut self, side: Side, rules: &FrameRules, bytes: &mut [u8]) -> ItemSearch {
        self.forget_lent();
        let mut used = 0;
        loop {
            let frame = match self.frame.take() {
                Some(frame) => frame,
                None => {
                    let (taken, header) =
                        self.header(side, bytes.get(used..).unwrap_or_default())?;
                    used += taken;
                    let Some(header) = header else {
                        return Ok((used, None));
                    };
                    self.admit(&header, rules)?;
                    if let Some((what, end)) = header.item_in(used, bytes.len()) {
                        settle(what, &header, bytes.get_mut(used..end).unwrap_or_default())?;
                        return Ok((
                            end,
                            Some(LocatedItem {
                                what,
                                place: PayloadPlace::Bytes(used, end),
                            }),
                        ));
                    }
                    PartialFrame { header, taken: 0 }
                }
            };
            let (taken, found) =
                self.take_payload(frame, bytes.get_mut(used..).unwrap_or_default())?;
            used += taken;
            if found.is_some() || self.frame.is_some() {
                return Ok((used, found));
            }
        }
    }

    pub(crate) fn kept(&mut self, what: ItemKind) -> Option<&mut [u8]> {
        match what {
            ItemKind::Message(_) => self.message.as_mut().map(|message| &mut message.bytes[..]),
            ItemKind::Ping | ItemKind::Pong | ItemKind::Close => {
                self.control.get_mut(..usize::from(self.control_bytes))
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frame.is_none()
            && self.message.is_none()
            && self.head_bytes == 0
            && self.control_bytes == 0
    }

    pub(crate) fn kept_bytes(&self) -> usize {
        let message = self.message.as_ref();
        message.map_or(0, |message| message.bytes.capacity())
    }

    pub(crate) fn in_message(&self) -> bool {
        let started = self.message.is_some() && !self.lent;
        let announced = self
            .head
            .first()
            .is_some_and(|first| self.head_bytes > 0 && first & CONTROL == 0);
        started || announced
    }

    fn forget_lent(&mut self) {
        if self.lent {
            self.lent = false;
            self.message = None;
        }
        if self.frame.is_none() {
            self.control_bytes = 0;
        }
    }

    /// Parses a header whose first bytes may have been buffered. Returns how many of `bytes` belong to the header, and
    /// the header if it is complete.
    fn header(&mut self, side: Side, bytes: &[u8]) -> Result<(usize, Option<Header>), FrameError> {
        let before = usize::from(self.head_bytes);
        if before == 0
            && let Some(header) = Header::parse(bytes, side)?
        {
            return Ok((header.header_bytes, Some(header)));
        }
        let mut filled = self.head_bytes;
        for (kept, byte) in self.head.iter_mut().skip(before).zip(bytes) {
            *kept = *byte;
            filled += 1;
        }
        let header = Header::parse(
            self.head.get(..usize::from(filled)).unwrap_or_default(),
            side,
        )?;
        match header {
            Some(header) => {
                self.head_bytes = 0;
                Ok((header.header_bytes - before, Some(header)))
            }
            None => {
                self.head_bytes = filled;
                Ok((usize::from(filled) - before, None))
            }
        }
    }

    fn admit(&mut self, header: &Header, rules: &FrameRules) -> Result<(), FrameError> {
        let before = match (header.opcode, &mut self.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(()),
            (Opcode::Text | Opcode::Binary, None) => 0,
            //= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
            //# The fragments of one message MUST NOT be interleaved between the
            //# fragments of another message unless an extension has been
            //# negotiated that can interpret the interleaving.
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(FrameError::StartInsideMessage),
            (Opcode::Continuation, None) => return Err(FrameError::ContinuationWithoutStart),
            (Opcode::Continuation, Some(message)) => {
                message.frames = message.frames.saturating_add(1);
                if message.frames > rules.fragments {
                    return Err(FrameError::TooManyFragments);
                }
                message.bytes.len()
            }
        };
        //= https://www.rfc-editor.org/rfc/rfc6455#section-10.4
        //# Implementations that have implementation- and/or platform-specific
        //# limitations regarding the frame size or total message size after
        //# reassembly from multiple frames MUST protect themselves against
        //# exceeding those limits.
        if header.payload_bytes > rules.message_bytes.saturating_sub(before) as u64 {
            let bytes = header.payload_bytes.saturating_add(before as u64);
            return Err(FrameError::too_big(bytes, rules.message_bytes));
        }
        Ok(())
    }

    fn take_payload(&mut self, frame: PartialFrame, rest: &mut [u8]) -> ItemSearch {
        let PartialFrame { header, taken } = frame;
        let left = header.payload_bytes - taken as u64;
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let done = left == count as u64;
        let bytes = rest.get_mut(..count).unwrap_or_default();
        mask(bytes, header.key, taken);
        if !done {
            self.frame = Some(PartialFrame {
                header,
                taken: taken + count,
            });
        }
        let what = match header.opcode {
            Opcode::Ping => self.take_control(ItemKind::Ping, bytes, done)?,
            Opcode::Pong => self.take_control(ItemKind::Pong, bytes, done)?,
            Opcode::Close => self.take_control(ItemKind::Close, bytes, done)?,
            Opcode::Text => self.take_data(Kind::Text, &header, left, bytes)?,
            // A continuation frame has the kind of the message that it continues.
            Opcode::Binary | Opcode::Continuation => {
                self.take_data(Kind::Binary, &header, left, bytes)?
            }
        };
        Ok((
            count,
            what.map(|what| LocatedItem {
                what,
                place: PayloadPlace::Kept,
            }),
        ))
    }

    fn take_control(
        &mut self,
        what: ItemKind,
        bytes: &[u8],
        done: bool,
    ) -> Result<Option<ItemKind>, FrameError> {
        let mut filled = self.control_bytes;
        for (kept, byte) in self.control.iter_mut().skip(usize::from(filled)).zip(bytes) {
            *kept = *byte;
            filled += 1;
        }
        self.control_bytes = filled;
        if !done {
            return Ok(None);
        }
        if what == ItemKind::Close {
            CloseFrame::parse(self.control.get(..usize::from(filled)).unwrap_or_default())?;
        }
        Ok(Some(what))
    }

    fn take_data(
        &mut self,
        kind: Kind,
        header: &Header,
        left: u64,
        bytes: &[u8],
    ) -> Result<Option<ItemKind>, FrameError> {
        let message = self.message.get_or_insert_with(|| Message::new(kind));
        message.reserve(header.fin.then_some(left), bytes.len());
        message.bytes.extend_from_slice(bytes);
        message.prove()?;
        let finished = header.fin && left == bytes.len() as u64;
        if !finished {
            return Ok(None);
        }
        let what = ItemKind::Message(message.finish()?);
        self.lent = true;
        Ok(Some(what))
    }
}

impl Message {
    const fn new(kind: Kind) -> Self {
        Self {
            kind,
            frames: 1,
            proven: 0,
            bytes: Vec::new(),
        }
    }

    /// Reserves memory for `arrived` bytes. At least doubles the capacity, but never beyond the end of a message whose
    /// length is known. A declared length alone never causes an allocation.
    fn reserve(&mut self, left: Option<u64>, arrived: usize) {
        let needed = self.bytes.len() + arrived;
        if needed <= self.bytes.capacity() {
            return;
        }
        let mut capacity = needed.max(self.bytes.capacity().saturating_mul(2));
        if let Some(left) = left.and_then(|left| usize::try_from(left).ok()) {
            capacity = capacity.min(self.bytes.len().saturating_add(left));
        }
        self.bytes.reserve_exact(capacity - self.bytes.len());
    }

    fn prove(&mut self) -> Result<(), FrameError> {
        match self.kind {
            Kind::Binary => Ok(()),
            Kind::Text => match prove(&self.bytes, self.proven) {
                Some(proven) => {
                    self.proven = proven;
                    Ok(())
                }
                None => Err(FrameError::TextNotUtf8),
            },
        }
    }

    fn finish(&self) -> Result<Kind, FrameError> {
        match self.kind {
            Kind::Text if self.proven < self.bytes.len() => Err(FrameError::TextNotUtf8),
            Kind::Text | Kind::Binary => Ok(self.kind),
        }
    }
}

impl Header {
    /// Returns the kind of the item and the offset at which its payload ends. The payload starts at `from`. Returns
    /// `None` if the frame is only part of an item, or if its payload does not end within the caller's `length` bytes.
    #[inline]
    pub(crate) fn item_in(&self, from: usize, length: usize) -> Option<(ItemKind, usize)> {
        let end = from.checked_add(usize::try_from(self.payload_bytes).ok()?)?;
        if end > length {
            return None;
        }
        let what = match self.opcode {
            Opcode::Text => ItemKind::Message(Kind::Text),
            Opcode::Binary => ItemKind::Message(Kind::Binary),
            Opcode::Ping => ItemKind::Ping,
            Opcode::Pong => ItemKind::Pong,
            Opcode::Close => ItemKind::Close,
            Opcode::Continuation => return None,
        };
        self.fin.then_some((what, end))
    }
}

const _: () = assert!(CONTROL & OPCODE == CONTROL && CONTROL_BYTES_MAX <= u8::MAX as usize);

// Validation of UTF-8 text that arrives in pieces.
//
// The text before the boundary is valid. The boundary is followed by at most three bytes, which start an incomplete
// character. They are checked again together with the next piece, so no other state is needed.

/// Validates `text` as UTF-8, starting at `proven`, which is 0 or the result of the previous call. Returns the length
/// of the prefix that is known to be valid, which is at most three bytes shorter than `text`. Returns `None` if `text`
/// is invalid whatever follows it.
fn prove(text: &[u8], proven: usize) -> Option<usize> {
    let fresh = text.get(proven..)?;
    let (whole, begun) = fresh.split_at_checked(fresh.len() - begun_bytes(fresh))?;
    simdutf8::basic::from_utf8(whole).ok()?;
    if let Err(error) = std::str::from_utf8(begun)
        && error.error_len().is_some()
    {
        return None;
    }
    Some(text.len() - begun.len())
}

fn begun_bytes(text: &[u8]) -> usize {
    for (behind, &byte) in (1..=CHARACTER_BYTES_MAX - 1).zip(text.iter().rev()) {
        let length = match byte {
            0x80..=0xBF => continue, // inside a character: the first byte is further ahead
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x00..=0x7F | 0xC0 | 0xC1 | 0xF5..=0xFF => 1, // complete, or never valid
        };
        return if length > behind { behind } else { 0 };
    }
    0
}

const CHARACTER_BYTES_MAX: usize = 4;

#[cfg(test)]
mod utf8_tests {
    use super::*;

    /// Returns the boundary, determined by checking the whole text with std. Returns `None` if the text is invalid.
    fn oracle(text: &[u8]) -> Option<usize> {
        match std::str::from_utf8(text) {
            Ok(_) => Some(text.len()),
            Err(error) if error.error_len().is_none() => Some(error.valid_up_to()),
            Err(_) => None,
        }
    }

    #[test]
    fn every_prefix_of_every_short_text_of_telling_bytes_agrees_with_std() {
        let telling = [
            0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF,
            0xF0, 0xF1, 0xF4, 0xF5,
        ];
        let mut text = [0; 4];
        for index in 0..telling.len().pow(4) {
            let mut digits = index;
            for byte in &mut text {
                *byte = telling[digits % telling.len()];
                digits /= telling.len();
            }
            let mut proven = Some(0);
            for end in 1..=text.len() {
                proven = proven.and_then(|proven| prove(&text[..end], proven));
                assert_eq!(proven, oracle(&text[..end]), "{:x?}", &text[..end]);
            }
        }
    }

    #[test]
    fn long_texts_cut_anywhere_agree_with_std() {
        let valid = "κόσμε \u{10FFFF} ascii \u{D7FF}\u{E000} 𐍈 "
            .repeat(4)
            .into_bytes();
        for spoilt in 0..=valid.len() {
            let mut text = valid.clone();
            if let Some(byte) = text.get_mut(spoilt) {
                *byte = 0xFF;
            }
            for cut in 0..=text.len() {
                let first = prove(&text[..cut], 0);
                assert_eq!(first, oracle(&text[..cut]));
                let found = first.and_then(|proven| prove(&text, proven));
                assert_eq!(found, oracle(&text), "cut {cut}, spoilt {spoilt}");
            }
        }
    }
}
