//! The outbox: bytes that are queued for a socket, with their message boundaries.
//!
//! ```text
//!   0                    start     start+launched                              bytes.len()
//!   |  written  | control  |  in flight  |        unsent                            |
//!   |mark | mark|          |  mark  |  mark   | control |  mark  |
//! ```
//! Written bytes have been passed to the kernel. Bytes in flight have been copied by the edge, either by encryption or
//! into a buffer that the kernel reads, but have not been reported as sent. Each [`Mark`] delimits one message. When
//! the connection ends, the marks show which messages are unacknowledged. A message keeps its bytes until it is
//! acknowledged. Bytes outside marks are control frames and HTTP responses. They are counted separately, so that they
//! never take space from messages. Invariants: `start + launched ≤ bytes.len()`; marks are in order and do not overlap;
//! the first `written` marks end at or before `start`; `of_messages` is the number of bytes after `start` that lie
//! within marks.
//!
//! Acknowledgements are computed from positions in the byte stream on the wire. The number of acknowledged bytes is at
//! least the number of bytes passed to the kernel since the buffer was allocated (`on_wire`), minus the number of bytes
//! that the kernel reports as unacknowledged. The result is a lower bound: earlier bytes, TLS overhead, an unreported
//! send and the connection's own FIN can only make it smaller.

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
    /// When the last byte of the message was passed to the kernel, and the number of bytes on the wire up to it.
    pub written: (Now, u64),
}

/// A [`Mark`] takes exactly one cache line, because a busy connection has several of them.
const _: () = assert!(size_of::<Mark>() == 64);

/// Converts a length or a buffer offset to 32 bits. These are enough, because a buffer contains at most `outbox_bytes`
/// (up to a gigabyte) and as many consumed bytes.
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
    /// When the message expires if it is returned to the channel's queue.
    pub expires: Now,
    /// The message's number in the channel's order of acceptance.
    pub order: u64,
    /// Length of the sender id at the end of the frame; 0 for messages to viewers.
    pub sender_bytes: u16,
    /// Whether the message is the offer of an Alexa call. Such an offer never returns to the channel's queue, because
    /// the call keeps the frame.
    pub call: bool,
    /// Whether the message is included in the message gauge and in the outcome counters. A redelivered offer is not.
    pub counted: bool,
    /// The viewer connection that sent the message; `None` if a master or another node sent it.
    pub from: Option<SessionKey>,
    /// Whether the message is the first offer of the connection `from`. An offer from another node counts as the first,
    /// because it was queued there together with the messages that preceded it.
    pub first: bool,
    /// Whether the message may be an ICE candidate for an unanswered offer. If so, it is stored with that offer once it
    /// has been acknowledged.
    pub follows: bool,
    /// When the message was accepted ([`crate::time::Moment::micros`]). `None` if its delay is not measured, because
    /// the message was queued or was accepted at time 0.
    pub accepted_us: Option<NonZeroU32>,
}

impl DeliveryMark {
    /// Creates the mark for a counted message from a master or another node. The message's delay is not measured.
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

/// The bytes queued for one socket. Allocates no memory while it is empty.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Option<Box<Buffer>>);

#[derive(Debug, Default)]
#[repr(C)] // the first two cache lines contain what each message needs
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    launched: usize,
    of_messages: usize,
    marks: VecDeque<Mark>,
    /// Number of messages that have been completely passed to the kernel.
    written: usize,
    written_bytes: usize,
    /// Number of message bytes written since the last query for acknowledgements.
    unasked: usize,
    /// Number of bytes passed to the wire since the buffer was allocated.
    on_wire: u64,
    /// Number of bytes on the wire that the peer has acknowledged.
    confirmed: u64,
    /// End positions, on the wire, of messages that were written and then taken back.
    returned: VecDeque<u64>,
    /// Number of messages that were taken back although they turned out to have been acknowledged.
    repeated: u32,
    /// Position on the wire after which the peer reads nothing, because it has announced that it is done.
    over: Option<u64>,
    /// Whether to drop the messages that the next query finds unacknowledged, in order to make room for others.
    makes_room: bool,
    doubtful_since: Option<Now>,
    round_trip_ms: u32,
    /// The ping in flight whose pong confirms that the messages before it have been received.
    proof: Option<Proving>,
}

#[derive(Clone, Copy, Debug)]
struct Proving {
    /// The payload of the ping. The pong contains the same payload.
    counter: [u8; 4],
    covers: usize,
    since: Now,
}

/// Empty buffers kept for reuse, each with a capacity of at most [`SPARE_OUTBOX_BYTES_MAX`].
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
    /// Whether the kernel has accepted the complete message, although the peer has not acknowledged it.
    pub written: bool,
    pub frame: Box<[u8]>,
}

impl Outbox {
    /// Returns `true` if everything has been passed to the kernel and no acknowledgement is outstanding.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the number of bytes that have not been passed to the kernel, including those in flight.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |buffer| buffer.bytes.len() - buffer.start)
    }

    /// Returns the number of bytes that have not been passed to the kernel, plus the bytes of unacknowledged messages.
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

    /// Returns when the oldest unacknowledged message was written.
    #[must_use]
    pub(crate) fn unconfirmed_since(&self) -> Option<Now> {
        let buffer = self.0.as_ref().filter(|buffer| buffer.written > 0)?;
        buffer.marks.front().map(|mark| mark.written.0)
    }

    /// Returns the number of bytes that have not been passed to the kernel, by kind.
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

    /// Returns the queued bytes, excluding those in flight.
    #[inline]
    #[must_use]
    pub(crate) fn unsent(&self) -> &[u8] {
        self.0
            .as_ref()
            .and_then(|buffer| buffer.bytes.get(buffer.start + buffer.launched..))
            .unwrap_or_default()
    }

    /// Returns `true` if bytes have been copied but not reported as sent.
    #[must_use]
    pub(crate) fn in_flight(&self) -> bool {
        (self.0.as_ref()).is_some_and(|buffer| buffer.launched > 0)
    }

    /// Returns `true` if at least one message has not been completely passed to the kernel.
    #[must_use]
    pub(crate) fn has_messages(&self) -> bool {
        (self.0.as_ref()).is_some_and(|buffer| buffer.marks.len() > buffer.written)
    }

    /// Returns `true` if the next query is due, because at least `bytes` message bytes have been written since the last
    /// one. In that case, counting starts again.
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

    /// Drops the written but unacknowledged messages if they are marked to be dropped, and calls `dropped` for each of
    /// them. Afterwards, the peer is no longer suspect.
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

    /// Queues a ping whose pong will confirm the messages before it, and returns the ping's payload. Returns `None` if
    /// such a ping is already in flight or no message needs one.
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

    /// Handles a pong. Returns `true` if the pong answers the ping from [`Self::begin_proof`]. Everything before that
    /// ping is then acknowledged, and `confirmed` is called for each message.
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

    /// Returns when the peer became suspect, if it is suspect. The peer stops being suspect as soon as it acknowledges
    /// a single byte.
    #[must_use]
    pub(crate) fn doubtful_since(&self) -> Option<Now> {
        self.0.as_ref()?.doubtful_since
    }

    /// Marks the peer as suspect since `since`, unless it is already suspect. Its messages are kept at least until
    /// `expires`.
    pub(crate) fn doubt(&mut self, since: Now, expires: Now) {
        let Some(buffer) = &mut self.0 else { return };
        buffer.doubtful_since.get_or_insert(since);
        for mark in buffer.marks.iter_mut().take(buffer.written) {
            mark.launch.expires = mark.launch.expires.max(expires);
        }
    }

    /// Iterates over the written but unacknowledged messages with their frames, oldest first. Skips the offers of Alexa
    /// calls, because a call keeps the frame of its offer.
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

    /// Returns the last round-trip time in milliseconds; 0 if it has never been measured.
    #[must_use]
    pub(crate) fn round_trip_ms(&self) -> u32 {
        self.0.as_ref().map_or(0, |buffer| buffer.round_trip_ms)
    }

    /// Returns the number of messages that were taken back after they had been written, and how many of these turned
    /// out to have been acknowledged.
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

    /// Records that the peer has announced that it will send nothing more. Its program will read neither the
    /// unacknowledged bytes nor the rest of a partly sent message. The rest is still sent before the connection's own
    /// close frame.
    pub(crate) fn peer_is_over(&mut self) {
        let buffer = self.0.as_mut();
        if let Some(buffer) = buffer.filter(|it| !it.marks.is_empty() || !it.is_forgotten()) {
            buffer.over.get_or_insert(buffer.on_wire);
        }
    }

    /// Appends the output of `write` as control bytes, and returns the number of bytes.
    pub(crate) fn push(&mut self, spares: &mut Spares, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let buffer = self.buffer(spares);
        let before = buffer.bytes.len();
        write(&mut buffer.bytes);
        buffer.bytes.len() - before
    }

    /// Appends the output of `write` as one message, and returns its length.
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

    /// Records that the kernel has accepted the oldest `bytes` bytes as `on_wire` bytes. With TLS, `on_wire` is the
    /// size of the records; otherwise, it equals `bytes`. Calls `written` for each message whose last byte was among
    /// them. Returns the number of bytes that have left the queue.
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
            // With TLS, the end of the record is known, but not the position of the message's last byte within it.
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
    /// `confirmed` for each message that this acknowledges.
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

    /// Takes back the unacknowledged messages that were written no later than `by`, in order.
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

    /// Takes back, in order, the messages that have not been sent at all. Control bytes and a partly sent message
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
        // Control bytes between the messages move forward.
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

    /// Takes back every unacknowledged message and drops everything else. Called when the connection has ended.
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

    /// Frees consumed bytes, and the whole buffer if it is empty. A large buffer is compacted only when consumed bytes
    /// fill more than half of it. The positions of messages that were taken back are kept until the connection ends. A
    /// ping in flight is kept until its pong arrives, because a redelivered message has a ping with the same number.
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
        } else if !buffer.is_forgotten() {
            buffer.bytes = Vec::new();
            buffer.start = 0;
        } else if let Some(mut buffer) = self.0.take()
            && spares.buffers.len() < spares.most
            && buffer.bytes.capacity() <= SPARE_OUTBOX_BYTES_MAX
        {
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

    /// Removes the first written message from the counts, because it was acknowledged or taken back.
    #[inline]
    fn unwritten(&mut self, mark: &Mark) {
        self.written -= 1;
        self.written_bytes -= mark.bytes as usize;
        if let Some(proof) = &mut self.proof {
            proof.covers = proof.covers.saturating_sub(1);
        }
    }

    /// Returns `true` if the buffer is empty and none of its state is needed any more, so that it can be freed.
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

/// Minimum number of consumed bytes worth removing from the start of a buffer. The value is small, because a busy
/// connection always has unacknowledged bytes, and its memory should stay in a core's cache.
const COMPACT_BYTES: usize = 2 * 1024;

#[cfg(test)]
mod tests;
