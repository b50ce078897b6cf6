//! The outbox: bytes queued for a socket, with the boundaries of the messages that they contain.
//!
//! ```text
//!   0                    start     start+launched                              bytes.len()
//!   |  written  | control  |  in flight  |        unsent                            |
//!   |mark | mark|          |  mark  |  mark   | control |  mark  |
//! ```
//! Written bytes have been passed to the kernel. Bytes in flight have been copied out by the edge (encrypted, or copied
//! into a buffer that the kernel reads) but not reported as sent yet. A [`Mark`] delimits one message, so that the
//! unacknowledged messages are known when the connection ends; a message keeps its bytes until it is acknowledged.
//! Bytes outside marks are control frames and HTTP responses, which are counted separately so that they never take
//! space from messages. Invariants: `start + launched ≤ bytes.len()`; marks are in order and do not overlap; the first
//! `written` marks end at or before `start`; `of_messages` is the number of bytes after `start` that lie within marks.
//!
//! Acknowledgement is computed from positions in the byte stream on the wire: `on_wire` bytes have been passed to the
//! kernel since the buffer was allocated, less those that the kernel still holds unacknowledged. The result is a lower
//! bound: earlier bytes, TLS overhead, a send that has not been reported and the connection's own FIN can only lower
//! it.

use crate::id::SessionKey;
use crate::limits::{SPARE_OUTBOX_BYTES_MAX, SPARE_OUTBOXES_MAX};
use crate::time::{Now, take_due};
use codec::{signal::Action, ws};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::ops::Range;

/// One message in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Offset and length of the message's frame in the buffer, in bytes.
    begin: u32,
    /// When the message's last byte was passed to the kernel, and the number of bytes on the wire by then.
    pub bytes: u32,
    /// Delivery state of the message.
    pub launch: DeliveryMark,
    /// When the last byte was passed to the kernel, and the number of bytes on the wire by then.
    pub written: (Now, u64),
}

/// A mark takes exactly one cache line, since a busy connection has several marks.
const _: () = assert!(size_of::<Mark>() == 64);

/// Converts an offset in a buffer, or a length; the value fits because `outbox_bytes` is at most a gigabyte and is
/// preceded by at most as much consumed space.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Mark {
    /// Returns the range of the message's frame in the buffer.
    fn frame(&self) -> Range<usize> {
        self.begin as usize..self.begin as usize + self.bytes as usize
    }
}

/// Properties of a message that is being delivered to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryMark {
    /// Action of the message.
    pub action: Action,
    /// When the message expires if it is returned to the queue.
    pub expires: Now,
    /// Number in the channel's order of acceptance.
    pub order: u64,
    /// Length of the sender id at the end of the frame; 0 for messages to viewers.
    pub sender_bytes: u16,
    /// Whether the message is an Alexa caller's offer, which is never returned to the queue because its call keeps the
    /// frame.
    pub call: bool,
    /// Whether the message is counted in the gauge and has an outcome, unlike a redelivered offer.
    pub counted: bool,
    /// Connection of the viewer that sent the message; `None` if it came from a master or from another node.
    pub from: Option<SessionKey>,
    /// Whether the message is the first offer sent by the connection `from`. An offer from another node also counts as
    /// first, since it was queued there together with the messages that preceded it.
    pub first: bool,
    /// Whether the message may be a candidate of an unanswered offer; if so, it is stored with the offer once it has
    /// been acknowledged.
    pub follows: bool,
    /// Time at which the message was accepted ([`crate::time::Moment::micros`]), if the recipient was connected then.
    /// `None` for queued messages and for those accepted at time 0, which are not measured.
    pub accepted_us: Option<NonZeroU32>,
}

/// Number of queued bytes, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Number of bytes that belong to messages.
    pub messages: usize,
    /// Number of bytes that belong to control frames and HTTP responses.
    pub control: usize,
}

/// Bytes queued for one socket. Allocates no memory while empty.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Option<Box<Buffer>>);

/// Buffer of a non-empty outbox.
#[derive(Debug, Default)]
#[repr(C)] // what each message needs is in its first two lines
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    launched: usize,
    of_messages: usize,
    marks: VecDeque<Mark>,
    /// Number of marks whose messages have been passed to the kernel, and the number of bytes in those messages.
    written: usize,
    written_bytes: usize,
    /// Number of message bytes written since the last query to the kernel.
    unasked: usize,
    /// Number of bytes passed to the wire since the buffer was allocated, and the number of those that have been
    /// acknowledged.
    on_wire: u64,
    confirmed: u64,
    /// End positions of written messages that were returned, and the number of them that later turned out to have been
    /// acknowledged.
    returned: VecDeque<u64>,
    repeated: u32,
    /// Position on the wire at which the peer announced that it will send no more; its program reads nothing after that
    /// position.
    over: Option<u64>,
    /// Whether messages that the next query finds unacknowledged must be evicted in favour of others.
    makes_room: bool,
    /// Time since which the peer has been suspect.
    doubtful_since: Option<Now>,
    /// Last measured round trip, in milliseconds.
    round_trip_ms: u32,
    /// Ping in flight whose pong confirms the messages before it.
    proof: Option<Proving>,
}

/// A ping whose pong confirms all messages before it.
#[derive(Clone, Copy, Debug)]
struct Proving {
    /// Payload of the ping, which identifies its pong.
    counter: [u8; 4],
    /// Number of marks that precede the ping.
    covers: usize,
    /// When the ping was queued.
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
    /// Creates an empty pool that keeps at most this many buffers.
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

/// A message returned from an outbox, with its delivery state and its complete frame.
#[derive(Debug)]
pub(crate) struct Unsent {
    /// Delivery state of the message.
    pub launch: DeliveryMark,
    /// Whether the message was passed completely to the kernel but was not acknowledged.
    pub written: bool,
    /// The complete frame, including the header.
    pub frame: Box<[u8]>,
}

impl Outbox {
    /// Whether the outbox is empty: everything has been passed to the kernel, and no acknowledgement is awaited.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Number of bytes that have not been passed to the kernel, including those in flight.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |buffer| buffer.bytes.len() - buffer.start)
    }

    /// Number of bytes that have not been passed to the kernel, plus the bytes of unacknowledged messages.
    #[inline]
    #[must_use]
    pub(crate) fn bytes_kept(&self) -> usize {
        let buffer = self.0.as_ref();
        buffer.map_or(0, |buffer| buffer.bytes.len() - buffer.spent())
    }

    /// Number of bytes of messages that have been written but not acknowledged.
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

    /// Number of bytes that have not been passed to the kernel, by kind.
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

    /// Whether bytes have been copied out but not reported as sent.
    #[must_use]
    pub(crate) fn in_flight(&self) -> bool {
        (self.0.as_ref()).is_some_and(|buffer| buffer.launched > 0)
    }

    /// Whether the outbox contains a message that has not been passed completely to the kernel.
    #[must_use]
    pub(crate) fn has_messages(&self) -> bool {
        (self.0.as_ref()).is_some_and(|buffer| buffer.marks.len() > buffer.written)
    }

    /// Whether at least `bytes` of messages have been written since the last query, so that the next query is due;
    /// reported only once.
    #[inline]
    pub(crate) fn is_to_be_asked(&mut self, bytes: usize) -> bool {
        let buffer = self.0.as_mut().filter(|it| it.unasked >= bytes);
        buffer.map(|buffer| buffer.unasked = 0).is_some()
    }

    /// Marks messages for eviction if the next query finds them unacknowledged.
    pub(crate) fn make_room(&mut self) {
        if let Some(buffer) = &mut self.0 {
            buffer.makes_room = true;
        }
    }

    /// Drops the written, unacknowledged messages if they are marked for eviction; the peer is then no longer suspect
    /// because of them. Calls `dropped` for each.
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

    /// Queues a ping that confirms the messages before it, and returns its payload. `None` if such a ping is already in
    /// flight or no message needs confirmation.
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

    /// Whether a confirming ping is in flight.
    #[must_use]
    pub(crate) fn awaits_proof(&self) -> bool {
        self.0.as_ref().is_some_and(|buffer| buffer.proof.is_some())
    }

    /// Handles a pong and returns whether it answers the confirming ping. If so, everything before the ping is
    /// acknowledged, and `confirmed` is called for each message.
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

    /// Time since which the peer has been suspect; the acknowledgement of a single byte clears it.
    #[must_use]
    pub(crate) fn doubtful_since(&self) -> Option<Now> {
        self.0.as_ref()?.doubtful_since
    }

    /// Marks the peer as suspect since `since`, unless it already is. Messages for the peer are kept at least until
    /// `expires`.
    pub(crate) fn doubt(&mut self, since: Now, expires: Now) {
        let Some(buffer) = &mut self.0 else { return };
        buffer.doubtful_since.get_or_insert(since);
        for mark in buffer.marks.iter_mut().take(buffer.written) {
            mark.launch.expires = mark.launch.expires.max(expires);
        }
    }

    /// Written but unacknowledged messages, oldest first, each with its frame. An Alexa caller's offer is omitted
    /// because it is kept by its call.
    pub(crate) fn unconfirmed(&self) -> impl Iterator<Item = (&DeliveryMark, &[u8])> {
        let buffers = self.0.iter();
        buffers.flat_map(|buffer| {
            let marks = buffer.marks.iter().take(buffer.written);
            let marks = marks.filter(|mark| !mark.launch.call);
            marks.map(|mark| (&mark.launch, buffer.frame_of(mark)))
        })
    }

    /// Sets the measured round-trip time.
    pub(crate) fn measured(&mut self, round_trip_ms: u32) {
        if let Some(buffer) = &mut self.0 {
            buffer.round_trip_ms = round_trip_ms;
        }
    }

    /// Last measured round-trip time, in milliseconds; 0 if never measured.
    #[must_use]
    pub(crate) fn round_trip_ms(&self) -> u32 {
        self.0.as_ref().map_or(0, |buffer| buffer.round_trip_ms)
    }

    /// Number of messages that were returned after they had been written, and the number of those that the peer turned
    /// out to have acknowledged.
    #[must_use]
    pub(crate) fn returned(&self) -> (usize, u32) {
        let buffer = self.0.as_ref();
        buffer.map_or((0, 0), |buffer| {
            let repeated = buffer.repeated;
            (buffer.returned.len() + repeated as usize, repeated)
        })
    }

    /// Whether the peer has announced that it will send no more; see [`Self::peer_is_over`].
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|it| it.over.is_some())
    }

    /// Records that the peer has announced that it will send no more. Its program then reads neither the unacknowledged
    /// bytes nor the rest of a partially sent message, which is still sent before the connection's own close frame.
    pub(crate) fn peer_is_over(&mut self) {
        let buffer = self.0.as_mut();
        if let Some(buffer) = buffer.filter(|it| !it.marks.is_empty() || !it.is_forgotten()) {
            buffer.over.get_or_insert(buffer.on_wire);
        }
    }

    /// Appends the output of `write` as control bytes; returns the number of bytes.
    pub(crate) fn push(&mut self, spares: &mut Spares, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let buffer = self.buffer(spares);
        let before = buffer.bytes.len();
        write(&mut buffer.bytes);
        buffer.bytes.len() - before
    }

    /// Appends the output of `write` as one message; returns the number of bytes.
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

    /// Records that this many of the unsent bytes have been copied out.
    pub(crate) fn launched(&mut self, bytes: usize) {
        if let Some(buffer) = &mut self.0 {
            buffer.launched = (buffer.launched + bytes).min(buffer.bytes.len() - buffer.start);
        }
    }

    /// Records that the oldest `bytes` have been passed to the kernel as `on_wire` bytes: the same number or, with TLS,
    /// the size of their records. Calls `written` for each message whose last byte was among them. Returns the number
    /// of bytes that are no longer queued.
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
            // Only the end of a record is known, not which of its bytes is the message's last.
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

    /// Records that the kernel still holds `unacknowledged` bytes, which means that everything before them has been
    /// acknowledged. Calls `confirmed` for each newly acknowledged message.
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

    /// Takes back the messages that were written by `by` and are unacknowledged, in order.
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

    /// Takes back the messages of which no byte has been sent, in order; control bytes and a partially sent message
    /// remain.
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
        // Bytes between them move up.
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

    /// Takes back every unacknowledged message and drops everything else, since the connection has ended.
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

    /// Frees bytes that are no longer needed (in a large buffer, once they make up more than half of it), and the
    /// buffer itself when it is empty. If messages have been returned, their positions are kept until the connection
    /// ends. A ping in flight is kept until its pong arrives, since a redelivered message has a ping with the same
    /// number.
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
    /// Length of the prefix that contains no part of an unacknowledged message.
    #[inline]
    fn spent(&self) -> usize {
        let first = self.marks.front();
        first.map_or(self.start, |mark| mark.frame().start.min(self.start))
    }

    /// Removes the first written message from the counters because it has been acknowledged or returned.
    #[inline]
    fn unwritten(&mut self, mark: &Mark) {
        self.written -= 1;
        self.written_bytes -= mark.bytes as usize;
        if let Some(proof) = &mut self.proof {
            proof.covers = proof.covers.saturating_sub(1);
        }
    }

    /// Whether an empty buffer contains no state that is needed later.
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

/// Minimum length of a prefix that is worth compacting, in bytes. Small, because a busy connection always has
/// unacknowledged bytes and the memory that it uses should stay in a core's cache.
const COMPACT_BYTES: usize = 2 * 1024;

#[cfg(test)]
mod tests;
