//! Bytes that wait for a socket, and which of them are messages.
//!
//! ```text
//!   0        start     start+launched                              bytes.len()
//!   |  spent  |  in flight  |        unsent                            |
//!             |  mark  |  mark   | control |  mark  |
//! ```
//! Spent bytes were handed to the kernel; those in flight were copied out by the edge (encrypted, or into a buffer
//! that the kernel reads) and are not reported yet. A [`Mark`] says that a stretch of bytes is one message, so that
//! what was not wholly handed over is known when the connection ends. Bytes outside marks are control frames and HTTP
//! answers: they are counted apart, so that they never take the room of messages. Invariant:
//! `start + launched ≤ bytes.len()`, marks are in order, do not overlap, and end after `start`; `of_messages` is how
//! many bytes behind `start` lie within marks.

use crate::id::SessionKey;
use crate::limits::{SPARE_OUTBOX_BYTES_MAX, SPARE_OUTBOXES_MAX};
use crate::time::Now;
use codec::signal::Action;
use std::collections::VecDeque;

/// One message in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Offsets of its frame's begin and end in the buffer, in bytes.
    pub begin: usize,
    /// See `begin`.
    pub end: usize,
    /// The message.
    pub launch: Launch,
}

/// The properties of a message under way to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    /// Its action.
    pub action: Action,
    /// When it may be dropped if it comes back.
    pub expires: Now,
    /// Its place in the channel's order of acceptance.
    pub order: u64,
    /// Length of the sender's id, which is at the frame's end; 0 towards viewers.
    pub sender_bytes: u16,
    /// Whether it is an Alexa caller's offer: its call keeps the frame, so it never goes back.
    pub call: bool,
    /// Whether it counts in the gauge and has an outcome: an offer given again does not.
    pub counted: bool,
    /// The viewer's connection that sent it. Unknown of a master's, and of one that came from another node.
    pub from: Option<SessionKey>,
    /// Whether it is the first offer of that connection. An offer that came from another node counts as first, too: it
    /// was kept there with what came before it.
    pub first: bool,
    /// When it was accepted ([`crate::time::Moment::micros`]), if its recipient was there: what was kept is not
    /// measured.
    pub accepted_us: Option<u32>,
}

/// Waiting bytes, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Of messages.
    pub messages: usize,
    /// Of control frames and HTTP answers.
    pub control: usize,
}

/// Bytes that wait for one socket. Owns nothing while empty.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Option<Box<Buffer>>);

/// The buffer of an outbox that is not empty.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    launched: usize,
    of_messages: usize,
    marks: VecDeque<Mark>,
}

/// Buffers to use again, of at most [`SPARE_OUTBOX_BYTES_MAX`].
#[derive(Debug)]
pub(crate) struct Spares {
    #[expect(
        clippy::vec_box,
        reason = "a box moves into an outbox and back; its buffer is not copied"
    )]
    buffers: Vec<Box<Buffer>>,
    most: usize,
}

impl Spares {
    /// At most this many.
    #[must_use]
    pub(crate) fn of(most: usize) -> Self {
        Self {
            buffers: Vec::new(),
            most,
        }
    }
}

impl Default for Spares {
    fn default() -> Self {
        Self::of(SPARE_OUTBOXES_MAX)
    }
}

/// A message taken back from an outbox: its mark and its whole frame.
#[derive(Debug)]
pub(crate) struct Unsent {
    /// The message.
    pub launch: Launch,
    /// The frame, header included.
    pub frame: Box<[u8]>,
}

impl Outbox {
    /// Bytes not yet handed over, those in flight included.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |buffer| buffer.bytes.len() - buffer.start)
    }

    /// The same by what they are.
    #[must_use]
    pub(crate) fn load(&self) -> Load {
        self.0.as_ref().map_or_else(Load::default, |buffer| {
            let messages = buffer.of_messages;
            Load {
                messages,
                control: buffer.bytes.len() - buffer.start - messages,
            }
        })
    }

    /// The bytes that wait, without those in flight.
    #[inline]
    #[must_use]
    pub(crate) fn unsent(&self) -> &[u8] {
        self.0
            .as_ref()
            .and_then(|buffer| buffer.bytes.get(buffer.start + buffer.launched..))
            .unwrap_or_default()
    }

    /// Whether bytes were copied out and are not reported yet.
    #[must_use]
    pub(crate) fn in_flight(&self) -> bool {
        (self.0.as_ref()).is_some_and(|buffer| buffer.launched > 0)
    }

    /// Whether some message is not wholly handed over.
    #[must_use]
    pub(crate) fn has_messages(&self) -> bool {
        (self.0.as_ref()).is_some_and(|buffer| !buffer.marks.is_empty())
    }

    /// Appends what `write` writes, as control bytes; returns how many.
    pub(crate) fn push(&mut self, spares: &mut Spares, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let buffer = self.buffer(spares);
        let before = buffer.bytes.len();
        write(&mut buffer.bytes);
        buffer.bytes.len() - before
    }

    /// Appends what `write` writes, as one message; returns how many bytes.
    pub(crate) fn push_message(
        &mut self,
        spares: &mut Spares,
        launch: Launch,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        let buffer = self.buffer(spares);
        let begin = buffer.bytes.len();
        write(&mut buffer.bytes);
        let end = buffer.bytes.len();
        buffer.marks.push_back(Mark { begin, end, launch });
        buffer.of_messages += end - begin;
        end - begin
    }

    /// This many of the unsent bytes were copied out.
    pub(crate) fn launched(&mut self, bytes: usize) {
        if let Some(buffer) = &mut self.0 {
            buffer.launched = (buffer.launched + bytes).min(buffer.bytes.len() - buffer.start);
        }
    }

    /// The oldest `bytes` were handed to the kernel. Calls `done` for each message whose last byte was among them.
    /// Returns how many bytes wait no longer.
    pub(crate) fn sent(
        &mut self,
        spares: &mut Spares,
        bytes: usize,
        mut done: impl FnMut(&Mark),
    ) -> Load {
        let Some(buffer) = &mut self.0 else {
            return Load::default();
        };
        let (from, before) = (buffer.start, buffer.of_messages);
        buffer.start = (buffer.start + bytes).min(buffer.bytes.len());
        buffer.launched = buffer.launched.saturating_sub(bytes);
        while let Some(mark) = buffer.marks.front().filter(|mark| mark.end <= buffer.start) {
            done(mark);
            buffer.of_messages -= mark.end - mark.begin.max(from);
            buffer.marks.pop_front();
        }
        if let Some(begun) = buffer.marks.front() {
            buffer.of_messages -= buffer.start.saturating_sub(begun.begin.max(from));
        }
        let messages = before - buffer.of_messages;
        let control = buffer.start - from - messages;
        if buffer.start == buffer.bytes.len() {
            self.reset(spares);
        } else if buffer.start > COMPACT_BYTES && buffer.start > buffer.bytes.len() / 2 {
            buffer.compact();
        }
        Load { messages, control }
    }

    /// Takes the messages back that no byte of has left, in order; control bytes and a message begun stay.
    pub(crate) fn take_unsent(&mut self, spares: &mut Spares) -> Vec<Unsent> {
        let Some(buffer) = &mut self.0 else {
            return Vec::new();
        };
        let left = buffer.start + buffer.launched;
        let keep = buffer
            .marks
            .iter()
            .take_while(|mark| mark.begin < left)
            .count();
        let taken: Vec<Mark> = buffer.marks.drain(keep..).collect();
        let bytes = |mark: &Mark| mark.end - mark.begin;
        buffer.of_messages -= taken.iter().map(bytes).sum::<usize>();
        let Some(first) = taken.first() else {
            return Vec::new();
        };
        let old = buffer.bytes.split_off(first.begin);
        let base = first.begin;
        let mut at = base;
        let mut unsent = Vec::with_capacity(taken.len());
        for mark in taken {
            buffer
                .bytes
                .extend_from_slice(old.get(at - base..mark.begin - base).unwrap_or_default());
            let frame = old
                .get(mark.begin - base..mark.end - base)
                .unwrap_or_default();
            unsent.push(Unsent {
                launch: mark.launch,
                frame: frame.into(),
            });
            at = mark.end;
        }
        buffer
            .bytes
            .extend_from_slice(old.get(at - base..).unwrap_or_default());
        if buffer.start == buffer.bytes.len() {
            self.reset(spares);
        }
        unsent
    }

    /// Takes every message back that was not wholly handed over, and drops all else: the connection has ended.
    pub(crate) fn drain(&mut self) -> Vec<Unsent> {
        let Some(buffer) = self.0.take() else {
            return Vec::new();
        };
        let frame = |mark: &Mark| {
            buffer
                .bytes
                .get(mark.begin..mark.end)
                .unwrap_or_default()
                .into()
        };
        buffer
            .marks
            .iter()
            .map(|mark| Unsent {
                launch: mark.launch,
                frame: frame(mark),
            })
            .collect()
    }

    fn buffer(&mut self, spares: &mut Spares) -> &mut Buffer {
        self.0
            .get_or_insert_with(|| spares.buffers.pop().unwrap_or_default())
    }

    fn reset(&mut self, spares: &mut Spares) {
        let Some(mut buffer) = self.0.take() else {
            return;
        };
        if spares.buffers.len() < spares.most && buffer.bytes.capacity() <= SPARE_OUTBOX_BYTES_MAX {
            buffer.bytes.clear();
            buffer.marks.clear();
            (buffer.start, buffer.launched, buffer.of_messages) = (0, 0, 0);
            spares.buffers.push(buffer);
        }
    }
}

impl Buffer {
    /// Moves what is left to the front, once more than half of a large buffer is spent.
    fn compact(&mut self) {
        let spent = self
            .marks
            .front()
            .map_or(self.start, |mark| mark.begin.min(self.start));
        self.bytes.drain(..spent);
        self.start -= spent;
        for mark in &mut self.marks {
            mark.begin -= spent;
            mark.end -= spent;
        }
    }
}

const COMPACT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;
