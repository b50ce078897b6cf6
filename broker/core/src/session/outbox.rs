//! Bytes that wait for a socket, and which of them are messages.
//!
//! ```text
//!   0                    start     start+launched                              bytes.len()
//!   |  written  | control  |  in flight  |        unsent                            |
//!   |mark | mark|          |  mark  |  mark   | control |  mark  |
//! ```
//! Written bytes were handed to the kernel; those in flight were copied out by the edge (encrypted, or into a buffer
//! that the kernel reads) and are not reported yet. A [`Mark`] says that a stretch of bytes is one message, so that
//! what the peer's machine has not confirmed is known when the connection ends: a message keeps its bytes until then.
//! Bytes outside marks are control frames and HTTP answers: they are counted apart, so that they never take the room of
//! messages. Invariant: `start + launched ≤ bytes.len()`, marks are in order and do not overlap, the first `written` of
//! them end at `start` or before; `of_messages` is how many bytes behind `start` lie within marks.
//!
//! What is confirmed is known by positions in the stream of bytes on the wire: `on_wire` of them were handed to the
//! kernel since the buffer was taken, and as many as it holds without an acknowledgement are not confirmed. That is a
//! lower bound: what the kernel holds of earlier bytes, of TLS alone, of a send that is not reported and of our own end
//! makes it less, never more.

use crate::id::SessionKey;
use crate::limits::{SPARE_OUTBOX_BYTES_MAX, SPARE_OUTBOXES_MAX};
use crate::time::Now;
use codec::{signal::Action, ws};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::ops::Range;

/// One message in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Offset of its frame in the buffer, and its length, in bytes.
    begin: u32,
    /// See `begin`.
    pub bytes: u32,
    /// The message.
    pub launch: DeliveryMark,
    /// When its last byte was handed to the kernel, and how many bytes on the wire were by then.
    pub written: (Now, u64),
}

/// It is one line of a cache, and a busy connection has several.
const _: () = assert!(size_of::<Mark>() == 64);

/// A place in a buffer, or a length: `outbox_bytes` is at most a gigabyte, and as much may be spent before it.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Mark {
    /// Where its frame is in the buffer.
    fn frame(&self) -> Range<usize> {
        self.begin as usize..self.begin as usize + self.bytes as usize
    }
}

/// The properties of a message under way to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryMark {
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
    /// Whether it may be a candidate of an offer without an answer: one that its recipient confirms is kept with that.
    pub follows: bool,
    /// When it was accepted ([`crate::time::Moment::micros`]), if its recipient was there: what was kept is not
    /// measured, nor what came at 0.
    pub accepted_us: Option<NonZeroU32>,
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
#[repr(C)] // what each message needs is in its first two lines
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    launched: usize,
    of_messages: usize,
    marks: VecDeque<Mark>,
    /// How many of the marks are written, and their bytes.
    written: usize,
    written_bytes: usize,
    /// Bytes of messages written since the kernel was asked.
    unasked: usize,
    /// Bytes on the wire since the buffer was taken, and how many of them were confirmed.
    on_wire: u64,
    confirmed: u64,
    /// Where the messages ended that were taken back after they were written, and how many of these were confirmed all
    /// the same.
    returned: VecDeque<u64>,
    repeated: u32,
    /// The peer sends no more: what it has not confirmed by then, its program does not read.
    over: Option<(Over, u64)>,
    /// What is not confirmed when it is asked the next time makes room for others' messages.
    makes_room: bool,
    /// Since when it is doubtful that the peer is there.
    doubtful_since: Option<Now>,
    /// The last time of a round trip that was measured, in milliseconds.
    round_trip_ms: u32,
    /// The ping under way whose answer is the proof.
    proof: Option<Proving>,
}

/// How a peer has said that it sends no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// By a close frame.
    Closed,
    /// By its FIN alone.
    Ended,
    /// The node that passed it on ends, and hands over what it was given.
    Left,
}

/// A ping whose answer confirms all before it.
#[derive(Clone, Copy, Debug)]
struct Proving {
    /// Its payload.
    counter: [u8; 4],
    /// How many of the marks are before it.
    covers: usize,
    /// When it was queued.
    since: Now,
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

/// Offers and candidates of viewers, each with its frame.
pub(crate) type Offers = Vec<(DeliveryMark, Box<[u8]>)>;

/// A message taken back from an outbox: its mark and its whole frame.
#[derive(Debug)]
pub(crate) struct Unsent {
    /// The message.
    pub launch: DeliveryMark,
    /// Whether it was handed to the kernel whole, and not confirmed.
    pub written: bool,
    /// The frame, header included.
    pub frame: Box<[u8]>,
}

impl Outbox {
    /// Whether it owns nothing: all was handed over, and nothing of it is to be confirmed.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes not yet handed over, those in flight included.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |buffer| buffer.bytes.len() - buffer.start)
    }

    /// The same with those of messages that are written and not confirmed.
    #[inline]
    #[must_use]
    pub(crate) fn bytes_kept(&self) -> usize {
        let buffer = self.0.as_ref();
        buffer.map_or(0, |buffer| buffer.bytes.len() - buffer.spent())
    }

    /// Bytes of messages that are written and not confirmed.
    #[inline]
    #[must_use]
    pub(crate) fn unconfirmed_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |buffer| buffer.written_bytes)
    }

    /// When the oldest message was written that is not confirmed.
    #[must_use]
    pub(crate) fn unconfirmed_since(&self) -> Option<Now> {
        let buffer = self.0.as_ref().filter(|buffer| buffer.written > 0)?;
        buffer.marks.front().map(|mark| mark.written.0)
    }

    /// The same by what they are, of those that are not handed over.
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
        (self.0.as_ref()).is_some_and(|buffer| buffer.marks.len() > buffer.written)
    }

    /// Whether at least `bytes` of messages were written since the last question: then the next one is due, once.
    #[inline]
    pub(crate) fn is_to_be_asked(&mut self, bytes: usize) -> bool {
        let buffer = self.0.as_mut().filter(|it| it.unasked >= bytes);
        buffer.map(|buffer| buffer.unasked = 0).is_some()
    }

    /// What is not confirmed when it is asked the next time makes room for others' messages.
    pub(crate) fn make_room(&mut self) {
        if let Some(buffer) = &mut self.0 {
            buffer.makes_room = true;
        }
    }

    /// Drops the written messages that are not confirmed, if they are to make room: its peer is not doubtful by them.
    /// Calls `dropped` for each.
    pub(crate) fn take_room(&mut self, spares: &mut Spares, mut dropped: impl FnMut(&Mark)) {
        let Some(buffer) = self.0.as_mut().filter(|buffer| buffer.makes_room) else {
            return;
        };
        (buffer.makes_room, buffer.doubtful_since) = (false, None);
        for _ in 0..buffer.written {
            if let Some(mark) = buffer.marks.pop_front() {
                buffer.unwritten(&mark);
                dropped(&mark);
            }
        }
        self.settle(spares);
    }

    /// Begins to prove what is in it by a ping behind it; returns its payload. `None` when one is under way, or nothing
    /// is to be proved.
    pub(crate) fn begin_proof(&mut self, now: Now) -> Option<[u8; 4]> {
        let buffer = self.0.as_mut().filter(|buffer| buffer.proof.is_none())?;
        let [.., a, b, c, d] = buffer.marks.back()?.launch.order.to_be_bytes();
        let counter = [a, b, c, d];
        buffer.proof = Some(Proving {
            counter,
            covers: buffer.marks.len(),
            since: now,
        });
        Some(counter)
    }

    /// Whether a ping is under way that proves.
    #[must_use]
    pub(crate) fn awaits_proof(&self) -> bool {
        self.0.as_ref().is_some_and(|buffer| buffer.proof.is_some())
    }

    /// A pong came: whether it answers the ping that proves. Then all before that is confirmed: `confirmed` is called
    /// for each message.
    pub(crate) fn proved(
        &mut self,
        spares: &mut Spares,
        payload: &[u8],
        now: Now,
        mut confirmed: impl FnMut(&Mark, &[u8]),
    ) -> bool {
        let Some(buffer) = &mut self.0 else {
            return false;
        };
        let Some(proof) = buffer.proof.take_if(|proof| proof.counter == *payload) else {
            return false;
        };
        buffer.round_trip_ms = u32::try_from(now.since(proof.since)).unwrap_or(u32::MAX);
        buffer.doubtful_since = None;
        for _ in 0..proof.covers.min(buffer.written) {
            if let Some(mark) = buffer.marks.pop_front() {
                buffer.unwritten(&mark);
                confirmed(&mark, buffer.frame_of(&mark));
            }
        }
        self.settle(spares);
        true
    }

    /// Since when it is doubtful that the peer is there: one confirmed byte ends that.
    #[must_use]
    pub(crate) fn doubtful_since(&self) -> Option<Now> {
        self.0.as_ref()?.doubtful_since
    }

    /// It is doubtful from here on, unless it is, that the peer is there. Its messages are kept until then at least.
    pub(crate) fn doubt(&mut self, since: Now, expires: Now) {
        let Some(buffer) = &mut self.0 else { return };
        buffer.doubtful_since.get_or_insert(since);
        for mark in buffer.marks.iter_mut().take(buffer.written) {
            mark.launch.expires = mark.launch.expires.max(expires);
        }
    }

    /// The messages that are written and not confirmed, oldest first: each with its frame. An Alexa caller's offer
    /// waits with its call.
    pub(crate) fn unconfirmed(&self) -> impl Iterator<Item = (&DeliveryMark, &[u8])> {
        let buffers = self.0.iter();
        buffers.flat_map(|buffer| {
            let marks = buffer.marks.iter().take(buffer.written);
            let marks = marks.filter(|mark| !mark.launch.call);
            marks.map(|mark| (&mark.launch, buffer.frame_of(mark)))
        })
    }

    /// A round trip takes so long.
    pub(crate) fn measured(&mut self, round_trip_ms: u32) {
        if let Some(buffer) = &mut self.0 {
            buffer.round_trip_ms = round_trip_ms;
        }
    }

    /// The last time of a round trip that was measured, in milliseconds; 0 if none was.
    #[must_use]
    pub(crate) fn round_trip_ms(&self) -> u32 {
        self.0.as_ref().map_or(0, |buffer| buffer.round_trip_ms)
    }

    /// How many messages were taken back after they were written, and how many of those the peer has confirmed all the
    /// same.
    #[must_use]
    pub(crate) fn returned(&self) -> (usize, u32) {
        let buffer = self.0.as_ref();
        buffer.map_or((0, 0), |buffer| {
            let repeated = buffer.repeated;
            (buffer.returned.len() + repeated as usize, repeated)
        })
    }

    /// Whether the peer sends no more: see [`Self::peer_is_over`].
    #[must_use]
    pub(crate) fn over(&self) -> Option<Over> {
        self.0.as_ref()?.over.map(|(over, _)| over)
    }

    /// The peer sends no more: what it has not confirmed by now, its program does not read. Nor the rest of a message
    /// that was begun, which goes out all the same, before our own close frame.
    pub(crate) fn peer_is_over(&mut self, over: Over) {
        let buffer = self.0.as_mut();
        if let Some(buffer) = buffer.filter(|it| !it.marks.is_empty() || !it.is_forgotten()) {
            buffer.over.get_or_insert((over, buffer.on_wire));
        }
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
        launch: DeliveryMark,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        let buffer = self.buffer(spares);
        let begin = buffer.bytes.len();
        write(&mut buffer.bytes);
        let end = buffer.bytes.len();
        buffer.marks.push_back(Mark {
            begin: offset(begin),
            bytes: offset(end - begin),
            launch,
            written: (Now(0), 0),
        });
        buffer.of_messages += end - begin;
        end - begin
    }

    /// This many of the unsent bytes were copied out.
    pub(crate) fn launched(&mut self, bytes: usize) {
        if let Some(buffer) = &mut self.0 {
            buffer.launched = (buffer.launched + bytes).min(buffer.bytes.len() - buffer.start);
        }
    }

    /// The oldest `bytes` were handed to the kernel, by `on_wire` bytes: as many, or of TLS those of their records.
    /// Calls `written` for each message whose last byte was among them. Returns how many bytes wait no longer.
    #[inline]
    pub(crate) fn sent(
        &mut self,
        spares: &mut Spares,
        (bytes, on_wire): (usize, usize),
        now: Now,
        mut written: impl FnMut(&mut Mark),
    ) -> Load {
        let Some(buffer) = &mut self.0 else {
            return Load::default();
        };
        let (from, before) = (buffer.start, buffer.of_messages);
        buffer.start = (buffer.start + bytes).min(buffer.bytes.len());
        buffer.launched = buffer.launched.saturating_sub(bytes);
        buffer.on_wire += on_wire as u64;
        while let Some(mark) = buffer.marks.get_mut(buffer.written)
            && mark.frame().end <= buffer.start
        {
            // Which byte of a record is its last one is not known: the record's is.
            let behind = if on_wire == bytes {
                buffer.start - mark.frame().end
            } else {
                0
            };
            mark.written = (now, buffer.on_wire.saturating_sub(behind as u64));
            written(mark);
            let Range { start, end } = mark.frame();
            buffer.of_messages -= end - start.max(from);
            buffer.written_bytes += end - start;
            buffer.unasked += end - start;
            buffer.written += 1;
        }
        if let Some(begun) = buffer.marks.get(buffer.written) {
            buffer.of_messages -= buffer.start.saturating_sub(begun.frame().start.max(from));
        }
        let messages = before - buffer.of_messages;
        let control = buffer.start - from - messages;
        if buffer.written == 0 {
            self.settle(spares);
        }
        Load { messages, control }
    }

    /// The kernel holds `unacknowledged` bytes: all before them are confirmed. Calls `confirmed` for each message that
    /// is, so far not.
    pub(crate) fn confirm(
        &mut self,
        spares: &mut Spares,
        unacknowledged: u64,
        mut confirmed: impl FnMut(&Mark, &[u8]),
    ) {
        let Some(buffer) = &mut self.0 else {
            return;
        };
        buffer.unasked = 0;
        let (unacknowledged, readable) = match buffer.over {
            Some((Over::Left, _)) => (0, u64::MAX),
            Some((Over::Closed | Over::Ended, by_then)) => (unacknowledged, by_then),
            None => (unacknowledged, u64::MAX),
        };
        let by_now = buffer.on_wire.saturating_sub(unacknowledged);
        if by_now > buffer.confirmed {
            (buffer.confirmed, buffer.doubtful_since) = (by_now, None);
        }
        let through = buffer.confirmed;
        while buffer
            .returned
            .pop_front_if(|end| *end <= through)
            .is_some()
        {
            buffer.repeated += 1;
        }
        let read = through.min(readable);
        while buffer.written > 0
            && let Some(mark) = buffer.marks.pop_front_if(|mark| mark.written.1 <= read)
        {
            buffer.unwritten(&mark);
            confirmed(&mark, buffer.frame_of(&mark));
        }
        buffer.makes_room &= buffer.written > 0;
        self.settle(spares);
    }

    /// Takes the written messages back that were not confirmed, of those that were written by `by`, in order.
    pub(crate) fn take_unconfirmed(&mut self, spares: &mut Spares, by: Now) -> Vec<Unsent> {
        let Some(buffer) = &mut self.0 else {
            return Vec::new();
        };
        let mut taken = Vec::new();
        while buffer.written > 0
            && let Some(mark) = buffer.marks.pop_front_if(|mark| mark.written.0 <= by)
        {
            buffer.unwritten(&mark);
            buffer.returned.push_back(mark.written.1);
            taken.push(buffer.unsent_of(&mark, true));
        }
        self.settle(spares);
        taken
    }

    /// Takes the messages back that no byte of has left, in order; control bytes and a message begun stay.
    pub(crate) fn take_unsent(&mut self, spares: &mut Spares) -> Vec<Unsent> {
        let Some(buffer) = &mut self.0 else {
            return Vec::new();
        };
        let left = buffer.start + buffer.launched;
        let begun = |mark: &&Mark| mark.frame().start < left;
        let keep = buffer.marks.iter().take_while(begun).count();
        let taken: Vec<Mark> = buffer.marks.drain(keep..).collect();
        if let Some(proof) = &mut buffer.proof {
            proof.covers = proof.covers.min(keep);
        }
        buffer.of_messages -= taken.iter().map(|mark| mark.bytes as usize).sum::<usize>();
        let Some(first) = taken.first() else {
            return Vec::new();
        };
        let base = first.frame().start;
        let unsent = taken.iter().map(|mark| buffer.unsent_of(mark, false));
        let unsent = unsent.collect();
        // What is between them moves up.
        let old = buffer.bytes.split_off(base);
        let mut at = base;
        for mark in taken {
            let Range { start, end } = mark.frame();
            let control = old.get(at - base..start - base);
            buffer.bytes.extend_from_slice(control.unwrap_or_default());
            at = end;
        }
        let control = old.get(at - base..);
        buffer.bytes.extend_from_slice(control.unwrap_or_default());
        self.settle(spares);
        unsent
    }

    /// Takes every message back that was not confirmed, and drops all else: the connection has ended.
    pub(crate) fn drain(&mut self) -> Vec<Unsent> {
        let Some(buffer) = self.0.take() else {
            return Vec::new();
        };
        let marks = buffer.marks.iter().enumerate();
        let unsent = marks.map(|(place, mark)| buffer.unsent_of(mark, place < buffer.written));
        unsent.collect()
    }

    fn buffer(&mut self, spares: &mut Spares) -> &mut Buffer {
        self.0
            .get_or_insert_with(|| spares.buffers.pop().unwrap_or_default())
    }

    /// Gives the bytes back that nothing needs, of a large buffer once they are more than half of it, and the buffer
    /// where it is empty. Of one whose messages were taken back the positions stay until the connection ends, and a
    /// ping under way until its pong has come: the same message, if it comes again, has a ping of the same number.
    fn settle(&mut self, spares: &mut Spares) {
        let Some(buffer) = &mut self.0 else {
            return;
        };
        let spent = buffer.spent();
        if spent < buffer.bytes.len() {
            if spent > COMPACT_BYTES && spent > buffer.bytes.len() / 2 {
                buffer.bytes.drain(..spent);
                buffer.start -= spent;
                let marks = buffer.marks.iter_mut();
                marks.for_each(|mark| mark.begin -= offset(spent));
            }
        } else if buffer.is_forgotten() {
            self.reset(spares);
        } else {
            buffer.bytes = Vec::new();
            buffer.start = 0;
        }
    }

    fn reset(&mut self, spares: &mut Spares) {
        let Some(mut buffer) = self.0.take() else {
            return;
        };
        if spares.buffers.len() < spares.most && buffer.bytes.capacity() <= SPARE_OUTBOX_BYTES_MAX {
            buffer.bytes.clear();
            buffer.marks.clear();
            (buffer.start, buffer.launched, buffer.of_messages) = (0, 0, 0);
            (buffer.on_wire, buffer.confirmed, buffer.unasked) = (0, 0, 0);
            (buffer.round_trip_ms, buffer.makes_room) = (0, false);
            buffer.doubtful_since = None;
            spares.buffers.push(buffer);
        }
    }
}

impl Buffer {
    /// How many bytes at the front nothing needs: no message that is not confirmed has them.
    #[inline]
    fn spent(&self) -> usize {
        let first = self.marks.front();
        first.map_or(self.start, |mark| mark.frame().start.min(self.start))
    }

    /// A message at the front is written no more: it was confirmed, or taken back.
    #[inline]
    fn unwritten(&mut self, mark: &Mark) {
        self.written -= 1;
        self.written_bytes -= mark.bytes as usize;
        if let Some(proof) = &mut self.proof {
            proof.covers = proof.covers.saturating_sub(1);
        }
    }

    /// Whether nothing of an empty buffer is to be known later.
    fn is_forgotten(&self) -> bool {
        let returned = !self.returned.is_empty() || self.repeated > 0;
        !returned && self.over.is_none() && self.proof.is_none()
    }

    fn frame_of(&self, mark: &Mark) -> &[u8] {
        let frame = self.bytes.get(mark.frame());
        frame.unwrap_or_default()
    }

    fn unsent_of(&self, mark: &Mark, written: bool) -> Unsent {
        Unsent {
            launch: mark.launch,
            written,
            frame: ws::whole(self.frame_of(mark)),
        }
    }
}

/// Fewer bytes at the front are left where they are. Few, since a busy connection always has some that are not
/// confirmed: what it touches is to stay in a core's cache.
const COMPACT_BYTES: usize = 2 * 1024;

#[cfg(test)]
mod tests;
