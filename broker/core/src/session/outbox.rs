//! The outbox: bytes queued for a socket, with the boundaries of their messages.
//!
//! ```text
//!   0                    start     start+launched                              bytes.len()
//!   |  written  | control  |  in flight  |        unsent                            |
//!   |mark | mark|          |  mark  |  mark   | control |  mark  |
//! ```
//! Written bytes have been passed to the kernel. Bytes in flight have been copied by the edge (by encryption or into a
//! buffer that the kernel reads) and not reported as sent. A [`Mark`] delimits one message, so that the unacknowledged
//! messages are known when the connection ends; a message keeps its bytes until it is acknowledged. Bytes outside marks
//! are control frames and HTTP responses, which are counted separately so that they never take space from messages.
//! Invariants: `start + launched ≤ bytes.len()`; marks are in order and do not overlap; the first `written` marks end
//! at or before `start`; `of_messages` is the number of bytes after `start` within marks.
//!
//! Acknowledgement is computed from positions in the byte stream on the wire: the `on_wire` bytes passed to the kernel
//! since the buffer was allocated, minus those that the kernel holds unacknowledged. The result is a lower bound:
//! earlier bytes, TLS overhead, an unreported send and the connection's own FIN can only lower it.

use crate::id::SessionKey;
use crate::limits::{SPARE_OUTBOX_BYTES_MAX, SPARE_OUTBOXES_MAX};
use crate::time::{Now, take_due};
use codec::{signal::Action, ws};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    begin: u32,
    pub bytes: u32,
    pub launch: DeliveryMark,
    /// When the last byte was passed to the kernel, and the number of bytes on the wire up to it.
    pub written: (Now, u64),
}

/// Sized as one cache line, since a busy connection has several marks.
const _: () = assert!(size_of::<Mark>() == 64);

/// Converts a length, or an offset in a buffer, to 32 bits, which suffice: `outbox_bytes` is at most a gigabyte,
/// preceded by at most as much consumed space.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Mark {
    fn frame(&self) -> Range<usize> {
        self.begin as usize..self.begin as usize + self.bytes as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryMark {
    pub action: Action,
    /// Expiry of the message if it is returned to the queue.
    pub expires: Now,
    /// Number in the channel's order of acceptance.
    pub order: u64,
    /// Length of the sender id at the end of the frame; 0 for messages to viewers.
    pub sender_bytes: u16,
    /// Whether the message is an Alexa caller's offer, which never returns to the queue because its call keeps the
    /// frame.
    pub call: bool,
    /// Whether the message is in the gauge and has an outcome, unlike a redelivered offer.
    pub counted: bool,
    /// Viewer connection that sent the message; `None` for a master or another node.
    pub from: Option<SessionKey>,
    /// Whether the message is the first offer of the connection `from`. An offer from another node counts as first,
    /// since it was queued there with the messages before it.
    pub first: bool,
    /// Whether the message may be a candidate of an unanswered offer; once acknowledged, it is then stored with that
    /// offer.
    pub follows: bool,
    /// Time of acceptance ([`crate::time::Moment::micros`]), if the recipient was connected. `None` for queued messages
    /// and for acceptance at time 0, which are not measured.
    pub accepted_us: Option<NonZeroU32>,
}

impl DeliveryMark {
    /// Creates the mark of a counted message from a master, or from another node, that is not measured.
    pub(crate) fn new(action: Action, order: u64, expires: Now, sender_bytes: usize) -> Self {
        Self {
            action,
            expires,
            order,
            sender_bytes: u16::try_from(sender_bytes).unwrap_or(u16::MAX),
            call: false,
            counted: true,
            from: None,
            first: false,
            follows: false,
            accepted_us: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub messages: usize,
    pub control: usize,
}

/// Bytes queued for one socket. Allocates no memory while empty.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Option<Box<Buffer>>);

#[derive(Debug, Default)]
#[repr(C)] // what each message needs is in its first two lines
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    launched: usize,
    of_messages: usize,
    marks: VecDeque<Mark>,
    /// Marks of messages that the kernel has accepted, and the bytes of these messages.
    written: usize,
    written_bytes: usize,
    /// Message bytes written since the last query to the kernel.
    unasked: usize,
    /// Bytes passed to the wire since the buffer was allocated, and how many of them were acknowledged.
    on_wire: u64,
    confirmed: u64,
    /// End positions of written messages that were returned, and how many of these proved to be acknowledged.
    returned: VecDeque<u64>,
    repeated: u32,
    /// Position on the wire when the peer announced that it sends no more; its program reads nothing beyond.
    over: Option<u64>,
    /// Whether messages that the next query finds unacknowledged are evicted in favour of others.
    makes_room: bool,
    doubtful_since: Option<Now>,
    /// Last round trip, in milliseconds.
    round_trip_ms: u32,
    /// Ping in flight whose pong confirms the messages before it.
    proof: Option<Proving>,
}

#[derive(Clone, Copy, Debug)]
struct Proving {
    /// Payload of the ping, which identifies its pong.
    counter: [u8; 4],
    covers: usize,
    since: Now,
}

/// Buffers kept for reuse, each of at most [`SPARE_OUTBOX_BYTES_MAX`].
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

pub(crate) type Offers = Vec<(DeliveryMark, Box<[u8]>)>;

#[derive(Debug)]
pub(crate) struct Unsent {
    pub launch: DeliveryMark,
    /// Whether the message was passed completely to the kernel but not acknowledged.
    pub written: bool,
    pub frame: Box<[u8]>,
}

impl Outbox {
    /// Whether everything was passed to the kernel and no acknowledgement is awaited.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes not passed to the kernel, including those in flight.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |buffer| buffer.bytes.len() - buffer.start)
    }

    /// Bytes not passed to the kernel, plus those of unacknowledged messages.
    #[inline]
    #[must_use]
    pub(crate) fn bytes_kept(&self) -> usize {
        let buffer = self.0.as_ref();
        buffer.map_or(0, |buffer| buffer.bytes.len() - buffer.spent())
    }

    #[inline]
    #[must_use]
    pub(crate) fn unconfirmed_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |buffer| buffer.written_bytes)
    }

    /// When the oldest unacknowledged message was written.
    #[must_use]
    pub(crate) fn unconfirmed_since(&self) -> Option<Now> {
        let buffer = self.0.as_ref().filter(|buffer| buffer.written > 0)?;
        buffer.marks.front().map(|mark| mark.written.0)
    }

    /// Bytes not passed to the kernel, by kind.
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

    /// Queued bytes, excluding those in flight.
    #[inline]
    #[must_use]
    pub(crate) fn unsent(&self) -> &[u8] {
        self.0
            .as_ref()
            .and_then(|buffer| buffer.bytes.get(buffer.start + buffer.launched..))
            .unwrap_or_default()
    }

    /// Whether bytes were copied but not reported as sent.
    #[must_use]
    pub(crate) fn in_flight(&self) -> bool {
        (self.0.as_ref()).is_some_and(|buffer| buffer.launched > 0)
    }

    /// Whether a message has not been passed completely to the kernel.
    #[must_use]
    pub(crate) fn has_messages(&self) -> bool {
        (self.0.as_ref()).is_some_and(|buffer| buffer.marks.len() > buffer.written)
    }

    /// Whether the next query is due: at least `bytes` of messages were written since the last one. True once per
    /// query.
    #[inline]
    pub(crate) fn is_to_be_asked(&mut self, bytes: usize) -> bool {
        let buffer = self.0.as_mut().filter(|it| it.unasked >= bytes);
        buffer.map(|buffer| buffer.unasked = 0).is_some()
    }

    pub(crate) fn make_room(&mut self) {
        if let Some(buffer) = &mut self.0 {
            buffer.makes_room = true;
        }
    }

    /// Drops the written, unacknowledged messages if they are marked for eviction, and calls `dropped` for each. The
    /// peer is then no longer suspect.
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

    /// Queues a ping that confirms the messages before it; returns its payload. `None` if such a ping is in flight or
    /// no message needs one.
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

    #[must_use]
    pub(crate) fn awaits_proof(&self) -> bool {
        self.0.as_ref().is_some_and(|buffer| buffer.proof.is_some())
    }

    /// Handles a pong; returns whether it answers the confirming ping. Everything before the ping is then acknowledged;
    /// calls `confirmed` for each message.
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

    /// When the peer became suspect, if it is suspect; the acknowledgement of a single byte ends that.
    #[must_use]
    pub(crate) fn doubtful_since(&self) -> Option<Now> {
        self.0.as_ref()?.doubtful_since
    }

    /// Marks the peer as suspect since `since`, unless it already is. Its messages are kept at least until `expires`.
    pub(crate) fn doubt(&mut self, since: Now, expires: Now) {
        let Some(buffer) = &mut self.0 else { return };
        buffer.doubtful_since.get_or_insert(since);
        for mark in buffer.marks.iter_mut().take(buffer.written) {
            mark.launch.expires = mark.launch.expires.max(expires);
        }
    }

    /// Written, unacknowledged messages with their frames, oldest first. Excludes an Alexa caller's offer, since its
    /// call keeps the frame.
    pub(crate) fn unconfirmed(&self) -> impl Iterator<Item = (&DeliveryMark, &[u8])> {
        let buffers = self.0.iter();
        buffers.flat_map(|buffer| {
            let marks = buffer.marks.iter().take(buffer.written);
            let marks = marks.filter(|mark| !mark.launch.call);
            marks.map(|mark| (&mark.launch, buffer.frame_of(mark)))
        })
    }

    pub(crate) fn measured(&mut self, round_trip_ms: u32) {
        if let Some(buffer) = &mut self.0 {
            buffer.round_trip_ms = round_trip_ms;
        }
    }

    /// Last round trip in milliseconds; 0 if never measured.
    #[must_use]
    pub(crate) fn round_trip_ms(&self) -> u32 {
        self.0.as_ref().map_or(0, |buffer| buffer.round_trip_ms)
    }

    /// Number of messages returned after they were written, and how many of these proved to be acknowledged.
    #[must_use]
    pub(crate) fn returned(&self) -> (usize, u32) {
        let buffer = self.0.as_ref();
        buffer.map_or((0, 0), |buffer| {
            let repeated = buffer.repeated;
            (buffer.returned.len() + repeated as usize, repeated)
        })
    }

    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|it| it.over.is_some())
    }

    /// Records that the peer sends no more. Its program then reads neither the unacknowledged bytes nor the rest of a
    /// partially sent message, which still precedes the connection's own close frame.
    pub(crate) fn peer_is_over(&mut self) {
        let buffer = self.0.as_mut();
        if let Some(buffer) = buffer.filter(|it| !it.marks.is_empty() || !it.is_forgotten()) {
            buffer.over.get_or_insert(buffer.on_wire);
        }
    }

    /// Appends the output of `write` as control bytes; returns their number.
    pub(crate) fn push(&mut self, spares: &mut Spares, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let buffer = self.buffer(spares);
        let before = buffer.bytes.len();
        write(&mut buffer.bytes);
        buffer.bytes.len() - before
    }

    /// Appends the output of `write` as one message; returns its length.
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

    pub(crate) fn launched(&mut self, bytes: usize) {
        if let Some(buffer) = &mut self.0 {
            buffer.launched = (buffer.launched + bytes).min(buffer.bytes.len() - buffer.start);
        }
    }

    /// Records that the oldest `bytes` were passed to the kernel as `on_wire` bytes: the same number or, with TLS, the
    /// size of their records. Calls `written` for each message whose last byte was among them. Returns the number of
    /// bytes that left the queue.
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
            // The end of a record is known, but not which of its bytes is the message's last.
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

    /// Records that the kernel still holds `unacknowledged` bytes, so everything before them is acknowledged. Calls
    /// `confirmed` for each message that becomes acknowledged.
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
        let readable = buffer.over.unwrap_or(u64::MAX);
        let by_now = buffer.on_wire.saturating_sub(unacknowledged);
        if by_now > buffer.confirmed {
            (buffer.confirmed, buffer.doubtful_since) = (by_now, None);
        }
        let through = buffer.confirmed;
        while take_due(&mut buffer.returned, |end| *end <= through).is_some() {
            buffer.repeated += 1;
        }
        let read = through.min(readable);
        while buffer.written > 0
            && let Some(mark) = take_due(&mut buffer.marks, |mark| mark.written.1 <= read)
        {
            buffer.unwritten(&mark);
            confirmed(&mark, buffer.frame_of(&mark));
        }
        buffer.makes_room &= buffer.written > 0;
        self.settle(spares);
    }

    /// Takes back the unacknowledged messages written by `by`, in order.
    pub(crate) fn take_unconfirmed(&mut self, spares: &mut Spares, by: Now) -> Vec<Unsent> {
        let Some(buffer) = &mut self.0 else {
            return Vec::new();
        };
        let mut taken = Vec::new();
        while buffer.written > 0
            && let Some(mark) = take_due(&mut buffer.marks, |mark| mark.written.0 <= by)
        {
            buffer.unwritten(&mark);
            buffer.returned.push_back(mark.written.1);
            taken.push(buffer.unsent_of(&mark, true));
        }
        self.settle(spares);
        taken
    }

    /// Takes back the messages of which no byte was sent, in order; control bytes and a partially sent message remain.
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
        // Control bytes between the messages move up.
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

    /// Takes back every unacknowledged message and drops everything else after the end of the connection.
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

    /// Frees unneeded bytes (in a large buffer, once they fill more than half of it), and an empty buffer. Positions of
    /// returned messages remain until the connection ends. A ping in flight remains until its pong, since a redelivered
    /// message has a ping with the same number.
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
    #[inline]
    fn spent(&self) -> usize {
        let first = self.marks.front();
        first.map_or(self.start, |mark| mark.frame().start.min(self.start))
    }

    /// Removes the first written message, which was acknowledged or returned, from the counts.
    #[inline]
    fn unwritten(&mut self, mark: &Mark) {
        self.written -= 1;
        self.written_bytes -= mark.bytes as usize;
        if let Some(proof) = &mut self.proof {
            proof.covers = proof.covers.saturating_sub(1);
        }
    }

    /// Whether an empty buffer can be freed: none of its state is needed later.
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

/// Minimum length of a prefix worth compacting, in bytes. Small, because a busy connection always has unacknowledged
/// bytes, and its memory should stay in a core's cache.
const COMPACT_BYTES: usize = 2 * 1024;

#[cfg(test)]
mod tests;
