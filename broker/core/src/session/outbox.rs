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

use crate::limits::{SPARE_OUTBOX_BYTES_MAX, SPARE_OUTBOXES_MAX};
use crate::time::Now;
use codec::signal::Action;
use std::collections::VecDeque;

/// One message in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Where its frame begins and ends, in bytes of the buffer.
    pub begin: usize,
    /// See `begin`.
    pub end: usize,
    /// The message.
    pub launch: Launch,
}

/// What is known of a message under way to a socket.
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
    /// When it was accepted ([`crate::time::Moment::micros`]), if its recipient was there: what was kept is not
    /// measured.
    pub accepted_us: Option<u32>,
}

/// How many bytes wait, by what they are.
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
mod tests {
    use super::*;

    fn launch(order: u64) -> Launch {
        Launch {
            action: Action::IceCandidate,
            expires: Now(1),
            order,
            sender_bytes: 0,
            call: false,
            counted: true,
            accepted_us: None,
        }
    }

    fn outbox_of(parts: &[(&str, Option<u64>)]) -> (Outbox, Spares) {
        let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
        for &(text, order) in parts {
            let write = |out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes());
            match order {
                Some(order) => outbox.push_message(&mut spares, launch(order), write),
                None => outbox.push(&mut spares, write),
            };
        }
        (outbox, spares)
    }

    fn orders(unsent: &[Unsent]) -> Vec<u64> {
        unsent.iter().map(|message| message.launch.order).collect()
    }

    #[test]
    fn what_waits_is_counted_by_what_it_is() {
        let parts = [
            ("PONG", None),
            ("one", Some(1)),
            ("ping", None),
            ("two", Some(2)),
        ];
        let every = |outbox: &Outbox| (outbox.load().messages, outbox.load().control);
        // All ways to hand fourteen bytes over in two steps.
        for first in 0..=14 {
            let (mut outbox, mut spares) = outbox_of(&parts);
            assert_eq!(every(&outbox), (6, 8));
            let one = outbox.sent(&mut spares, first, |_| ());
            assert_eq!(one.messages + one.control, first);
            assert_eq!(every(&outbox), (6 - one.messages, 8 - one.control));
            let two = outbox.sent(&mut spares, 14 - first, |_| ());
            assert_eq!(
                (one.messages + two.messages, one.control + two.control),
                (6, 8)
            );
            assert_eq!(every(&outbox), (0, 0));
        }
        let (mut outbox, mut spares) = outbox_of(&parts);
        outbox.sent(&mut spares, 5, |_| ());
        assert_eq!(orders(&outbox.take_unsent(&mut spares)), [2]);
        assert_eq!(
            every(&outbox),
            (2, 4),
            "the rest of the first, and the ping"
        );
    }

    #[test]
    fn a_message_is_done_with_its_last_byte() {
        let (mut outbox, mut spares) = outbox_of(&[("one", Some(1)), ("two", Some(2))]);
        let mut done = Vec::new();
        for bytes in [2, 1, 2] {
            outbox.sent(&mut spares, bytes, |mark| {
                done.push((bytes, mark.launch.order))
            });
        }
        assert_eq!(done, [(1, 1)]);
        outbox.sent(&mut spares, 1, |mark| done.push((1, mark.launch.order)));
        assert_eq!(done, [(1, 1), (1, 2)]);
        assert!(outbox.0.is_none(), "an empty outbox owns nothing");
        assert_eq!(spares.buffers.len(), 1);
    }

    #[test]
    fn what_was_begun_stays_and_the_rest_comes_back() {
        let (mut outbox, mut spares) = outbox_of(&[
            ("one", Some(1)),
            ("PONG", None),
            ("two", Some(2)),
            ("ping", None),
            ("three", Some(3)),
        ]);
        outbox.sent(&mut spares, 1, |_| panic!("not whole"));
        let unsent = outbox.take_unsent(&mut spares);
        assert_eq!(orders(&unsent), [2, 3]);
        assert_eq!(&*unsent[1].frame, b"three");
        assert_eq!(outbox.unsent(), b"nePONGping");
        let mut done = Vec::new();
        assert!(outbox.has_messages());
        outbox.sent(&mut spares, 2, |mark| done.push(mark.launch.order));
        assert!(!outbox.has_messages(), "pong and ping are none");
        assert_eq!(done, [1]);
    }

    #[test]
    fn bytes_in_flight_are_not_offered_again_and_stay() {
        let (mut outbox, mut spares) =
            outbox_of(&[("one", Some(1)), ("two", Some(2)), ("three", Some(3))]);
        outbox.launched(4);
        assert_eq!(outbox.unsent(), b"wothree");
        assert_eq!(
            orders(&outbox.take_unsent(&mut spares)),
            [3],
            "the second is partly in flight"
        );
        outbox.sent(&mut spares, 4, |_| ());
        assert_eq!(outbox.unsent(), b"wo");
        assert_eq!(
            orders(&outbox.drain()),
            [2],
            "its last byte was never handed over"
        );
    }

    #[test]
    fn a_large_buffer_is_compacted_without_losing_its_marks() {
        let big = "x".repeat(40_000);
        let (mut outbox, mut spares) =
            outbox_of(&[(&big, Some(1)), (&big, Some(2)), (&big, Some(3))]);
        let mut done = Vec::new();
        outbox.sent(&mut spares, 79_000, |mark| done.push(mark.launch.order));
        outbox.sent(&mut spares, 1_000, |mark| done.push(mark.launch.order));
        assert_eq!((done.as_slice(), outbox.bytes()), (&[1, 2][..], 40_000));
        outbox.sent(&mut spares, 40_000, |mark| done.push(mark.launch.order));
        assert_eq!(done, [1, 2, 3]);
    }
}
