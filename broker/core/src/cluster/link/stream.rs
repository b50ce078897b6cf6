//! The local end of a stream on a link. Tracks the bytes in each direction by their offsets.
//!
//! ```text
//!  Outgoing   base            acked               framed              pushed
//!              ├── kept for ────┼──── unconfirmed ───┼───── waits ───────┤        acked ≤ framed ≤ acked + window
//!  Incoming    told     confirmed     written     passed             received
//!              ├───────────┼─────────────┼───────────┼────── held ───────┤        received ≤ told + window
//! ```
//! The *local side* is the client on a front and the session on an owner. `passed` counts the bytes that the local side
//! has taken. A client's machine acknowledges the bytes that the front's kernel has sent (`written`), whereas a session
//! acknowledges the bytes that it has taken.

use crate::cluster::limits::{LINK_SENDS_MAX, LINK_WINDOW_BYTES};
use crate::cluster::link::{Ending, Fault, Role};
use crate::time::{Now, take_due};
use codec::link::{Ack, Client, End, Frame, How, Kind, Open, PAYLOAD_BYTES_MAX, write};
use codec::ws::close::GOING_AWAY;
use std::collections::VecDeque;

/// The local end of a stream. Occupies 350 bytes, and holds no buffers while idle.
#[derive(Debug)]
pub(crate) struct Stream {
    kind: Kind,
    /// The account to which the stream's buffered bytes are charged.
    pub(crate) account: u64,
    /// The OPEN frame with the start of the request; empty once it has been written.
    pub(crate) opening: Vec<u8>,
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
    /// How the local side has ended the stream.
    own_end: Option<How>,
    pub(crate) is_end_written: bool,
    /// The END frame received from the other node.
    their_end: Option<How>,
    /// How the client or session must react to the received END frame. Reported once all buffered bytes have been
    /// delivered.
    ending: Option<Ending>,
    /// Whether an ACK frame must be sent.
    pub(crate) owes_ack: bool,
    /// Whether an ASK frame must be sent in order to request an ACK frame.
    pub(crate) owes_ask: bool,
    /// Whether the owner has requested an ACK frame that has not been sent yet.
    pub(crate) is_asked: bool,
    /// Whether a kernel query for the client's unacknowledged bytes is in flight.
    pub(crate) is_kernel_asked: bool,
    /// Whether the local side is waiting for buffer space.
    pub(crate) is_starved: bool,
    /// Whether the stream is in the link's queue of streams with control frames.
    pub(crate) is_in_controls: bool,
    /// Whether the stream is in the link's queue of streams with data to frame.
    pub(crate) is_in_pieces: bool,
}

/// Bytes that the local side sends to the other node.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Buffered bytes, starting at offset `base`.
    bytes: Vec<u8>,
    base: u64,
    /// Offset of the next byte to frame.
    framed: u64,
    /// Offset up to which the other side has acknowledged all bytes.
    acked: u64,
    window: u64,
    /// Offset after the last push that completed a WebSocket frame.
    whole: u64,
    /// Length of the request; `None` once the response has started. Until then, bytes after the request are not framed,
    /// and all bytes are kept so that the request can be retried at another owner.
    request: Option<u64>,
    /// Whether pushed bytes are dropped because the other side accepts no more bytes.
    is_over: bool,
}

/// Bytes that the other node sends to the local side.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// Buffered bytes, starting at offset `passed`.
    bytes: Vec<u8>,
    passed: u64,
    /// Offset at which the last complete WebSocket frame ends.
    whole: u64,
    /// Whether the last byte delivered to the local side completed a WebSocket frame.
    is_between: bool,
    /// Number of bytes for the client that the kernel has accepted.
    written: u64,
    /// Number of bytes for the client that the kernel has accepted, as counted on the wire.
    wire: u64,
    sends: VecDeque<Send>,
    confirmed: u64,
    /// Offset reported in the last ACK frame sent.
    told: u64,
    round_trip_ms: u32,
    /// When to query the kernel next for the client's unacknowledged bytes.
    pub(crate) sweep: Option<Now>,
}

/// An unacknowledged send to a client: the offset at which it ends, and when it was written.
#[derive(Clone, Copy, Debug)]
struct Send {
    written: u64,
    wire: u64,
    since: Now,
}

const _: () = assert!(size_of::<Stream>() <= 360);

impl Stream {
    /// Creates the stream of a session or client.
    pub(crate) fn new(kind: Kind, account: u64, outgoing: Outgoing) -> Self {
        Self {
            kind,
            account,
            opening: Vec::new(),
            outgoing: Outgoing {
                window: LINK_WINDOW_BYTES as u64,
                ..outgoing
            },
            incoming: Incoming::default(),
            own_end: None,
            is_end_written: false,
            their_end: None,
            ending: None,
            owes_ack: false,
            owes_ask: false,
            is_asked: false,
            is_kernel_asked: false,
            is_starved: false,
            is_in_controls: false,
            is_in_pieces: false,
        }
    }

    /// Creates a client's stream with the given request.
    pub(crate) fn of_client(id: u32, client: &Client, request: Vec<u8>, account: u64) -> Self {
        let begin = request.get(..client.room()).unwrap_or(&request);
        let open = Open {
            client: client.clone(),
            request_bytes: u32::try_from(request.len()).unwrap_or(u32::MAX),
            begin,
        };
        let framed = begin.len() as u64;
        let mut opening = Vec::new();
        write(&mut opening, id, &Frame::Open(open));
        let outgoing = Outgoing {
            request: Some(request.len() as u64),
            bytes: request,
            framed,
            ..Outgoing::default()
        };
        Self {
            opening,
            ..Self::new(client.kind, account, outgoing)
        }
    }

    /// Returns `true` if the local side accepts bytes. A client that has closed only its sending side still accepts
    /// them.
    pub(crate) fn takes(&self) -> bool {
        matches!(self.own_end, None | Some(How::Fin))
    }

    /// Returns the number of bytes waiting to be framed.
    pub(crate) fn waiting(&self) -> usize {
        self.opening.len() + self.outgoing.bytes.len()
    }

    /// Returns `true` if the stream has bytes to frame and the credit to send them.
    pub(crate) fn has_piece(&self) -> bool {
        !self.opening.is_empty() || self.outgoing.piece_end() > self.outgoing.framed
    }

    /// Returns `true` if the stream has a control frame to send. The OPEN frame is always sent first.
    pub(crate) fn has_control(&self) -> bool {
        let is_begun = self.opening.is_empty();
        is_begun && (self.owes_ack() || self.owes_ask || self.due_end().is_some())
    }

    /// Returns `true` if an ACK frame must be sent. None is sent after the last END frame.
    pub(crate) fn owes_ack(&self) -> bool {
        let is_silent = self.is_end_written && !self.takes();
        self.owes_ack && self.opening.is_empty() && !is_silent
    }

    /// Returns how the local side has ended the stream, if its END frame must be sent now. The END frame is sent after
    /// all bytes.
    pub(crate) fn due_end(&self) -> Option<How> {
        let is_behind = self.opening.is_empty() && self.outgoing.framed == self.outgoing.pushed();
        self.own_end.filter(|_| is_behind && !self.is_end_written)
    }

    /// Returns `true` if the stream is an API call that the owner has answered. The END frame from the client's node is
    /// then not urgent.
    pub(crate) fn is_answered_call(&self) -> bool {
        self.kind == Kind::Call && self.their_end == Some(How::Finish)
    }

    /// Returns `true` if the stream can be removed. Either both sides have ended it and everything has been delivered,
    /// or the other side never learned of it.
    pub(crate) fn is_over(&self) -> bool {
        let is_unknown = !self.opening.is_empty() && self.own_end.is_some_and(is_hard);
        let is_told = self.their_end.is_some() && self.incoming.bytes.is_empty();
        is_unknown || (is_told && self.is_end_written)
    }

    /// Ends the local side of the stream.
    pub(crate) fn end(&mut self, how: How) {
        if !may_follow(self.own_end, how) {
            return;
        }
        (self.own_end, self.is_end_written) = (Some(how), false);
        if !self.takes() {
            self.incoming.bytes = Vec::new();
        }
        if is_hard(how) {
            self.outgoing.end();
        }
    }

    /// Buffers bytes from the other side.
    pub(crate) fn take_data(&mut self, bytes: &[u8], whole: bool) -> Result<(), Fault> {
        if self.their_end.is_some() {
            return Err(Fault::BehindEnd);
        }
        if self.takes() {
            // The response has begun: the request can no longer be retried, and bytes that follow it may be sent.
            if self.outgoing.request.take().is_some() {
                self.outgoing.trim();
            }
            let is_in_bounds = self.incoming.push(bytes, whole);
            is_in_bounds.then_some(()).ok_or(Fault::DataBeyond)?;
        }
        Ok(())
    }

    /// Processes an END frame from the other side.
    pub(crate) fn take_end(&mut self, end: End, role: Role) -> Result<(), Fault> {
        let is_of_client = matches!(end.how, How::Fin | How::Reset | How::Timeout | How::Slow);
        if is_of_client != (role == Role::Owner) {
            return Err(Fault::WrongSide);
        }
        if !may_follow(self.their_end, end.how) {
            return Err(Fault::BehindEnd);
        }
        if !self.outgoing.confirm(end.offset, None) {
            return Err(Fault::AckBeyond);
        }
        self.their_end = Some(end.how);
        let may_close = self.may_close();
        self.ending = Some(match end.how {
            How::Fin | How::Reset | How::Timeout | How::Slow => Ending::Left(end.how),
            How::Finish => Ending::AllSent,
            How::Cut(code @ 1..) if may_close => Ending::Close(code),
            How::Cut(_) => Ending::Reset,
            How::NotBegun => (self.outgoing.take_request()).map_or(Ending::Reset, Ending::Repeat),
        });
        if end.how != How::Fin {
            self.outgoing.end(); // neither a session nor a departed client accepts more bytes
        }
        if role == Role::Front && is_hard(end.how) {
            self.incoming.bytes = Vec::new();
        }
        Ok(())
    }

    /// Returns `true` if a close frame may follow the bytes that the client has received so far.
    fn may_close(&self) -> bool {
        self.incoming.is_between && self.kind == Kind::Upgrade
    }

    /// Returns how the client or session must react now that the other side has ended the stream. Returns the result
    /// only once, after all bytes have been taken.
    pub(crate) fn take_ending(&mut self) -> Option<Ending> {
        let is_due = self.incoming.bytes.is_empty();
        let ending = if is_due { self.ending.take() } else { None };
        ending.filter(|_| self.takes())
    }

    /// Ends the stream because the link is dead or the OPEN frame was not accepted.
    pub(crate) fn lose(&mut self, role: Role) {
        self.incoming.bytes = Vec::new();
        let was_sent = self.opening.is_empty();
        let knows = self.their_end.is_some() && self.ending.is_none();
        let may_close = self.may_close();
        let ending = match self.outgoing.take_request() {
            Some(_) if was_sent && self.kind != Kind::Upgrade => Ending::Unavailable,
            Some(request) => Ending::Repeat(request),
            None if may_close => Ending::Close(GOING_AWAY),
            None => Ending::Reset,
        };
        self.ending = Some(ending).filter(|_| role == Role::Front && !knows);
    }
}

/// Returns `true` if a side that has ended the stream with `before` may end it again with `how`.
fn may_follow(before: Option<How>, how: How) -> bool {
    before.is_none_or(|before| !is_hard(before) && is_hard(how))
}

/// Returns `true` if this kind of end stops transmission in both directions.
fn is_hard(how: How) -> bool {
    !matches!(how, How::Fin | How::Finish)
}

impl Outgoing {
    fn pushed(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Returns the number of bytes that the local side may push.
    pub(crate) fn room(&self) -> usize {
        let room = match self.is_over {
            true => self.window,
            false => (self.acked + self.window).saturating_sub(self.pushed()),
        };
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    pub(crate) fn push(&mut self, bytes: &[u8], whole: bool) {
        self.bytes.extend_from_slice(bytes);
        if self.is_over {
            self.end();
        } else if whole {
            self.whole = self.pushed();
        }
    }

    /// Returns the highest offset at which the next frame may end.
    fn piece_end(&self) -> u64 {
        let piece = self.framed + PAYLOAD_BYTES_MAX as u64;
        let bytes = self.request.unwrap_or(u64::MAX).min(self.pushed());
        bytes.min(piece).min(self.acked + self.window)
    }

    /// Returns the bytes of the next frame, and whether they complete a WebSocket frame. The returned bytes are counted
    /// as sent.
    pub(crate) fn piece(&mut self) -> Option<(&[u8], bool)> {
        let (begin, end) = (self.framed, self.piece_end());
        if end <= begin {
            return None;
        }
        self.framed = end;
        let [begin, upto] = [begin, end].map(|it| usize::try_from(it - self.base).unwrap_or(0));
        let bytes = self.bytes.get(begin..upto)?;
        Some((bytes, end == self.whole))
    }

    /// Drops framed bytes once they make up at least half of the buffer.
    pub(crate) fn trim(&mut self) {
        let sent = usize::try_from(self.framed - self.base).unwrap_or(0);
        if self.request.is_none() && 2 * sent >= self.bytes.len() {
            self.bytes.drain(..sent);
            self.base = self.framed;
            if self.bytes.is_empty() {
                self.bytes = Vec::new();
            }
        }
    }

    /// Removes and returns the request and any bytes that follow it, if the response has not started.
    fn take_request(&mut self) -> Option<Vec<u8>> {
        self.request.take()?;
        let pushed = self.pushed();
        (self.base, self.framed, self.is_over) = (pushed, pushed, true);
        Some(std::mem::take(&mut self.bytes))
    }

    /// Drops all buffered bytes and all bytes pushed later.
    fn end(&mut self) {
        self.base = self.pushed();
        self.framed = self.base;
        self.bytes = Vec::new();
        (self.request, self.is_over) = (None, true);
    }

    /// Records that the other side has acknowledged all bytes before `offset`. Returns `false` if that is more than was
    /// sent.
    pub(crate) fn confirm(&mut self, offset: u64, window: Option<u32>) -> bool {
        self.acked = self.acked.max(offset.min(self.framed));
        if let Some(window) = window {
            self.window = u64::from(window).min(LINK_WINDOW_BYTES as u64);
        }
        offset <= self.framed
    }

    /// Returns the number of pushed bytes that have not been acknowledged.
    pub(crate) fn unconfirmed(&self) -> u64 {
        self.pushed() - self.acked
    }

    pub(crate) fn invariants(&self) {
        assert!(self.acked.max(self.base) <= self.framed && self.framed <= self.pushed());
        let is_within = self.framed - self.acked <= LINK_WINDOW_BYTES as u64;
        assert!(self.is_over || is_within, "credit");
    }
}

impl Incoming {
    /// Returns the bytes that the local side has not taken yet.
    pub(crate) fn held(&self) -> &[u8] {
        &self.bytes
    }

    /// Buffers bytes. Returns `false` if the other side has exceeded its window.
    pub(crate) fn push(&mut self, bytes: &[u8], whole: bool) -> bool {
        self.bytes.extend_from_slice(bytes);
        let received = self.passed + self.bytes.len() as u64;
        if whole {
            self.whole = received;
        }
        received <= self.told + LINK_WINDOW_BYTES as u64
    }

    /// Removes the first `bytes` bytes from the buffer of the local side.
    pub(crate) fn take(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes.len());
        if bytes > 0 {
            self.bytes.drain(..bytes);
            self.passed += bytes as u64;
            self.is_between = self.passed == self.whole;
        }
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }

    /// Records that the session has acknowledged all bytes that it took. Returns `true` if an ACK frame is due because
    /// half of the window is free.
    pub(crate) fn confirm_taken(&mut self, window: u32) -> bool {
        (self.written, self.confirmed) = (self.passed, self.passed);
        self.confirmed - self.told >= u64::from(window / 2)
    }

    /// Records that the kernel has accepted the next `bytes` bytes for the client, which take `wire` bytes on the wire.
    pub(crate) fn sent(&mut self, bytes: usize, wire: usize, now: Now) {
        self.written = (self.written + bytes as u64).min(self.passed);
        self.wire += wire as u64;
        let send = Send {
            written: self.written,
            wire: self.wire,
            since: now,
        };
        if self.sends.len() >= LINK_SENDS_MAX {
            // The merged send is confirmed together with the next one. That is later than necessary, but never too
            // early.
            self.sends.pop_back();
        }
        self.sends.push_back(send);
    }

    /// Records that the client's machine has acknowledged all bytes on the wire except the last `unacknowledged`.
    pub(crate) fn confirm_wire(&mut self, unacknowledged: u64, round_trip_ms: u32) {
        let confirmed = self.wire.saturating_sub(unacknowledged);
        while let Some(send) = take_due(&mut self.sends, |send| send.wire <= confirmed) {
            self.confirmed = send.written;
        }
        self.round_trip_ms = round_trip_ms;
    }

    /// Returns `true` if an ACK frame would contain new information.
    pub(crate) fn has_news(&self) -> bool {
        self.confirmed > self.told
    }

    /// Returns the number of bytes that the kernel has accepted but the client's machine has not acknowledged.
    pub(crate) fn unconfirmed(&self) -> u64 {
        self.written - self.confirmed
    }

    /// Returns when the oldest unacknowledged send was written.
    pub(crate) fn oldest(&self) -> Option<Now> {
        self.sends.front().map(|send| send.since)
    }

    /// Returns the offset up to which the local side has acknowledged the bytes.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Returns the ACK frame to send, and records that it has been sent.
    pub(crate) fn ack(&mut self, window: u32, now: Now) -> Ack {
        self.told = self.confirmed;
        let oldest_ms = self.oldest().map_or(0, |since| now.since(since));
        Ack {
            offset: self.confirmed,
            window,
            round_trip_ms: self.round_trip_ms,
            oldest_ms: u32::try_from(oldest_ms).unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn invariants(&self) {
        let offsets = [self.told, self.confirmed, self.written, self.passed];
        assert!(offsets.is_sorted());
        assert!(self.bytes.len() <= LINK_WINDOW_BYTES && self.sends.len() <= LINK_SENDS_MAX);
    }
}
