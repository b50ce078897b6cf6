//! A link: one connection between two nodes, with a stream for each client of the *front* whose channel belongs to the
//! *owner*. Contains buffering, framing and protocol rules but no sockets; [`Link`] is one end, the front or the owner.
//!
//! ```text
//!  client ◄── kernel ── inbox, took, sent, unacknowledged ──┐                  ┌── inbox, took ──► session
//!         ── receive ─► push, end ───────────────────────── Link ══ frames ══ Link ── push, end, ask ──
//!                                                         front              owner
//! ```
//! In each turn, the edge calls [`Link::stood_still`] after a pause; [`Link::read`] with everything received, and
//! [`Link::poll`] after each input until it returns `None`; [`Link::tick`]; then [`Link::write`] once, if the previous
//! write has completed.
//!
//! * **Credit is acknowledgement.** A stream has at most one window of bytes that its receiver has not acknowledged;
//!   the client's machine acknowledges the client's bytes. The owner therefore knows which messages a dead link, front
//!   or client has not acknowledged, and returns them.
//! * **A front never stops reading.** It buffers what its clients do not take, up to a bound for the link.
//! * **End of a stream.** Each side calls [`Link::end`] once and learns of the other's end by [`Event::Ended`], after
//!   all bytes before it. [`Event::Gone`] is the last event of a stream at each end, when both sides or the link have
//!   ended.
//! * **Only a request is sent twice.** Further bytes of a client wait for the owner's first DATA; until then, the
//!   request can be retried at the next owner.
//! * **A front that wakes up forwards nothing** until the owner has answered a PING sent after the wake-up: an owner
//!   that has given up the link has returned the messages in the front's buffers, and answers with a reset. The same
//!   rule applies to a suspect link.
//!
//! Stream ids increase and are never reused on a link. A frame for an ended stream is ignored. A frame that is out of
//! bounds, or whose stream never existed, is a [`Fault`], which ends the link.

mod events;
mod figures;
mod greeting;
mod pulse;
mod stream;

use crate::cluster::limits::{
    LINK_HELD_BYTES_MAX, LINK_IDLE_MS, LINK_QUIET_MS, LINK_STREAMS_MAX, LINK_SWEEP_MS,
    LINK_WAITING_BYTES_MAX, LINK_WINDOW_BYTES, LINK_WRITE_BYTES,
};
use crate::time::Now;
use codec::link::{Ack, Client, End, Frame, How, Open, Reader, write};
pub use events::{Confirmation, Death, Ending, Event, Fault, Refused};
pub use figures::{LinkFigures, LinkTable, PeerLinks, sum_of};
pub use greeting::{Mismatch, check_hello};
use pulse::{Pulse, Verdict};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use stream::Stream;

/// Endpoint of a link, after the exchange of hellos.
#[derive(Debug)]
pub struct Link {
    role: Role,
    /// Maximum number of unacknowledged bytes that the local side of a stream has sent.
    window: u32,
    /// Streams by id; boxed because ever-increasing ids leave the tree's nodes half full.
    streams: BTreeMap<u32, Box<Stream>>,
    newest: u32,
    reader: Reader,
    pulse: Pulse,
    ping: Option<u64>,
    pong: Option<u64>,
    owes_away: bool,
    is_away: bool,
    /// Streams with control frames, and streams with data to frame. Each stream occurs at most once, possibly after its
    /// removal.
    controls: VecDeque<u32>,
    pieces: VecDeque<u32>,
    /// Streams of calls that only need to send END, together with other frames or after [`LINK_QUIET_MS`].
    quiet: Vec<u32>,
    quiet_since: Option<Now>,
    /// Streams with unacknowledged bytes, by the time of the next query to the kernel.
    sweep: BTreeSet<(Now, u32)>,
    /// Streams whose local side waits for buffer space that other streams use.
    starved: VecDeque<u32>,
    /// Bytes buffered for local sides, and unframed bytes from local sides.
    held: usize,
    waiting: usize,
    /// Unacknowledged bytes from local sides.
    unconfirmed: u64,
    waiting_max: usize,
    empty_since: Option<Now>,
    events: VecDeque<Event>,
    death: Option<Death>,
}

/// The side of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Accepts the clients' connections and opens streams.
    Front,
    /// Owns the clients' channels and has a session per stream.
    Owner,
}

impl Link {
    /// Creates one end of a link after the exchange of hellos. `window` is the maximum number of unacknowledged bytes
    /// sent by the local side of a stream, at most [`LINK_WINDOW_BYTES`].
    #[must_use]
    pub fn new(role: Role, window: u32, now: Now) -> Self {
        Self {
            role,
            window,
            streams: BTreeMap::new(),
            newest: 0,
            reader: Reader::default(),
            pulse: Pulse::new(now),
            ping: None,
            pong: None,
            owes_away: false,
            is_away: false,
            controls: VecDeque::new(),
            pieces: VecDeque::new(),
            quiet: Vec::new(),
            quiet_since: None,
            sweep: BTreeSet::new(),
            starved: VecDeque::new(),
            held: 0,
            waiting: 0,
            unconfirmed: 0,
            waiting_max: LINK_WAITING_BYTES_MAX,
            empty_since: None,
            events: VecDeque::new(),
            death: None,
        }
    }

    /// Reads bytes from the other side, which may split frames anywhere.
    pub fn read(&mut self, bytes: &[u8], now: Now) {
        if !bytes.is_empty() {
            self.pulse.heard(now);
        }
        let mut reader = std::mem::take(&mut self.reader);
        let mut rest = bytes;
        while self.death.is_none() {
            match reader.next(rest) {
                Ok((used, Some((id, frame)))) => {
                    rest = rest.get(used..).unwrap_or_default();
                    if let Err(fault) = self.take_frame(id, frame) {
                        self.broke(Death::Fault(fault));
                    }
                }
                Ok((_, None)) => break,
                Err(error) => self.broke(Death::Fault(Fault::Frame(error))),
            }
        }
        self.reader = reader;
    }

    /// Ends the link because its connection was lost.
    pub fn broke(&mut self, why: Death) {
        if self.death.is_none() {
            self.death = Some(why);
            self.events.push_back(Event::Dead(why));
        }
    }

    /// Records that this side did not run for `span_ms`, until `now`. Must be called before anything is read.
    pub fn stood_still(&mut self, span_ms: u64, now: Now) {
        self.pulse.stood_still(span_ms, now);
    }

    /// Ends a turn after everything received was read: checks the other side's liveness and starts the due queries to
    /// clients' kernels.
    pub fn tick(&mut self, now: Now) {
        if self.death.is_some() {
            return;
        }
        match self.pulse.judge(now) {
            Verdict::Same => {}
            Verdict::Doubtful => self.return_unbegun(),
            Verdict::Dead => return self.broke(Death::Silent),
        }
        self.ping = self.pulse.take_ping(now).or(self.ping);
        if !self.quiet.is_empty()
            && now.since(*self.quiet_since.get_or_insert(now)) >= LINK_QUIET_MS
        {
            self.controls.extend(self.quiet.drain(..));
        }
        while let Some(&(at, id)) = self.sweep.first()
            && at <= now
        {
            self.sweep.pop_first();
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            let oldest = stream.incoming.oldest().filter(|_| stream.takes());
            let is_old = oldest.is_some_and(|oldest| now >= oldest.after(LINK_SWEEP_MS));
            let next = if is_old { Some(now) } else { oldest };
            stream.incoming.sweep = next.map(|from| from.after(LINK_SWEEP_MS));
            self.sweep.extend(stream.incoming.sweep.map(|at| (at, id)));
            if is_old {
                self.ask_kernel(id);
            }
        }
        if !self.streams.is_empty() || self.role == Role::Owner {
            self.empty_since = None;
        } else if now.since(*self.empty_since.get_or_insert(now)) >= LINK_IDLE_MS {
            self.broke(Death::Idle);
        }
    }

    /// Latest time at which [`Link::tick`] must be called.
    #[must_use]
    pub fn due(&self, now: Now) -> Option<Now> {
        let idle = self.empty_since.map(|since| since.after(LINK_IDLE_MS));
        let sweep = self.sweep.first().map(|(at, _)| *at);
        let quiet_since = self.quiet_since.unwrap_or(now);
        let quiet = (!self.quiet.is_empty()).then(|| quiet_since.after(LINK_QUIET_MS));
        let all = self.pulse.due(now).into_iter().chain(sweep);
        let all = all.chain(quiet).chain(idle);
        all.min().filter(|_| self.death.is_none())
    }

    /// Whether [`Link::write`] may have something to write.
    #[must_use]
    pub fn has_output(&self) -> bool {
        let of_link = self.ping.is_some() || self.pong.is_some() || self.owes_away;
        let is_empty = self.controls.is_empty() && self.pieces.is_empty();
        self.death.is_none() && (of_link || !is_empty)
    }

    /// Appends the frames of this turn: control frames first, then at most one DATA frame per stream.
    pub fn write(&mut self, out: &mut Vec<u8>, now: Now) {
        if self.death.is_some() {
            return;
        }
        if self.has_output() {
            self.controls.extend(self.quiet.drain(..));
            self.quiet_since = None;
        }
        let ping = self.ping.take().map(Frame::Ping);
        for frame in ping.into_iter().chain(self.pong.take().map(Frame::Pong)) {
            write(out, 0, &frame);
        }
        let begin = out.len();
        if std::mem::take(&mut self.owes_away) {
            write(out, 0, &Frame::Away);
        }
        let is_full = |out: &Vec<u8>| out.len() - begin >= LINK_WRITE_BYTES;
        while !is_full(out)
            && let Some(id) = self.controls.pop_front()
        {
            self.write_control(id, out, now);
        }
        for _ in 0..self.pieces.len() {
            if !is_full(out)
                && let Some(id) = self.pieces.pop_front()
            {
                self.write_piece(id, out, now);
            }
        }
        if self.waiting <= self.waiting_max / 2 {
            while let Some(id) = self.starved.pop_front() {
                self.change(id, |_| ()); // tells it that there is room
            }
        }
        if out.len() > begin {
            self.pulse.sent(now);
        }
    }

    /// Returns the next event.
    pub fn poll(&mut self) -> Option<Event> {
        if self.events.is_empty() && self.death.is_some() {
            let id = *self.streams.first_key_value()?.0;
            self.bury(id);
        }
        self.events.pop_front()
    }

    /// Whether the link is suspect: the other side is silent, and no streams can be opened.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.pulse.is_doubtful()
    }

    /// Stops opening streams; existing streams continue.
    pub fn leave(&mut self) {
        self.owes_away |= !std::mem::replace(&mut self.is_away, true);
    }

    /// Whether either node has stopped opening streams, because it shuts down or the link has used all its ids.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.is_away
    }

    /// Opens a stream for a client of `account` with its complete, nonempty `request`; returns the stream's id. Front
    /// only.
    ///
    /// # Errors
    /// Why no stream may be opened on this link.
    pub fn open(&mut self, client: &Client, bytes: Vec<u8>, account: u64) -> Result<u32, Refused> {
        if self.newest == u32::MAX {
            self.leave();
        }
        self.accepts()?;
        if bytes.is_empty() || u32::try_from(bytes.len()).is_err() {
            return Err(Refused::Full);
        }
        self.newest += 1;
        let stream = Stream::of_client(self.newest, client, bytes, account);
        self.waiting += stream.waiting();
        self.unconfirmed += stream.outgoing.unconfirmed();
        self.streams.insert(self.newest, Box::new(stream));
        self.change(self.newest, |_| ());
        Ok(self.newest)
    }

    /// Checks whether a stream may be opened. Front only.
    ///
    /// # Errors
    /// Why no stream may be opened.
    pub fn accepts(&self) -> Result<(), Refused> {
        let is_full = self.streams.len() >= LINK_STREAMS_MAX || self.waiting >= self.waiting_max;
        for (refuses, why) in [
            (self.death.is_some(), Refused::Dead),
            (self.is_away || self.role == Role::Owner, Refused::Away),
            (self.is_doubtful(), Refused::Doubtful),
            (is_full, Refused::Full),
        ] {
            if refuses {
                return Err(why);
            }
        }
        Ok(())
    }

    /// Number of bytes that the local side may push. After 0, [`Event::Room`] follows.
    pub fn room(&mut self, id: u32) -> usize {
        let left = self.waiting_max.saturating_sub(self.waiting);
        let Some(stream) = self.streams.get_mut(&id) else {
            return 0;
        };
        let room = stream.outgoing.room().min(left);
        if room == 0 && !std::mem::replace(&mut stream.is_starved, true) {
            self.starved.extend(Some(id).filter(|_| left == 0));
        }
        room
    }

    /// Pushes bytes from the local side, at most [`Link::room`]; `whole` states whether they complete a WebSocket
    /// frame. If [`Link::is_unconfirmed`], a front first reports the kernel's count of unacknowledged bytes, so that
    /// the owner knows what the client had acknowledged when it sent the bytes.
    pub fn push(&mut self, id: u32, bytes: &[u8], whole: bool) {
        self.change(id, |stream| stream.outgoing.push(bytes, whole));
    }

    /// Bytes for the local side. Empty on a front while the owner may have given up the link.
    #[must_use]
    pub fn inbox(&self, id: u32) -> &[u8] {
        let stream = self.streams.get(&id).filter(|_| !self.is_fenced());
        stream.map_or(&[], |stream| stream.incoming.held())
    }

    /// Removes the first `bytes` bytes from the inbox.
    pub fn took(&mut self, id: u32, bytes: usize) {
        let session_window = Some(self.window).filter(|_| self.role == Role::Owner);
        self.change(id, |stream| {
            stream.incoming.take(bytes);
            let is_due = session_window.map(|window| stream.incoming.confirm_taken(window));
            stream.owes_ack |= is_due.unwrap_or(false);
        });
    }

    /// Records that the client's kernel accepted the oldest `bytes` taken from the inbox, which are `wire` bytes on the
    /// wire. Front only.
    pub fn sent(&mut self, id: u32, bytes: usize, wire: usize, now: Now) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.takes()) else {
            return;
        };
        stream.incoming.sent(bytes, wire, now);
        if stream.incoming.sweep.is_none() {
            let at = now.after(LINK_SWEEP_MS);
            stream.incoming.sweep = Some(at);
            self.sweep.insert((at, id));
        }
        if stream.incoming.unconfirmed() >= u64::from(self.window / 2) {
            self.ask_kernel(id);
        }
    }

    /// Whether the client has unacknowledged bytes. Front only.
    #[must_use]
    pub fn is_unconfirmed(&self, id: u32) -> bool {
        let stream = self.streams.get(&id);
        stream.is_some_and(|stream| stream.incoming.oldest().is_some())
    }

    /// Sets the number of bytes on the wire that the client has not acknowledged, as reported by the kernel. An
    /// overestimate is safe. Front only.
    pub fn unacknowledged(&mut self, id: u32, bytes: u64, round_trip_ms: u32) {
        self.change(id, |stream| {
            stream.incoming.confirm_wire(bytes, round_trip_ms);
            stream.is_kernel_asked = false;
            stream.owes_ack |= std::mem::take(&mut stream.is_asked) || stream.incoming.has_news();
        });
    }

    /// Asks the front to query the client's kernel; [`Event::Confirmed`] follows. Owner only.
    pub fn ask(&mut self, id: u32) {
        self.change(id, |stream| stream.owes_ask = true);
    }

    /// Ends the stream from the local side. A front first reports the kernel's count of unacknowledged bytes.
    /// [`How::Fin`] and [`How::Finish`] may be followed by another end, which takes effect at once; all others are
    /// final.
    pub fn end(&mut self, id: u32, how: How) {
        self.change(id, |stream| stream.end(how));
    }

    /// Ends a stream because its channel has moved or this node shuts down. The client receives [`Event::Ended`], as if
    /// the link had died; the owner receives a reset. Front only.
    pub fn lose(&mut self, id: u32) {
        let role = self.role;
        self.change(id, |stream| stream.lose(role));
        self.end(id, How::Reset);
    }

    /// Number of unacknowledged pushed bytes; 0 for an ended stream.
    #[must_use]
    pub fn unconfirmed(&self, id: u32) -> u64 {
        let stream = self.streams.get(&id);
        stream.map_or(0, |stream| stream.outgoing.unconfirmed())
    }

    /// Limits the unframed bytes from local sides, for links that share [`LINK_WAITING_BYTES_MAX`].
    pub fn bound_waiting(&mut self, bytes: usize) {
        self.waiting_max = bytes.min(LINK_WAITING_BYTES_MAX);
    }

    /// Checks the totals and each stream's offsets.
    ///
    /// # Panics
    /// If they are inconsistent.
    pub fn invariants(&self) {
        let mut sums = (0, 0, 0);
        for (id, stream) in &self.streams {
            stream.outgoing.invariants();
            stream.incoming.invariants();
            sums.0 += stream.incoming.held().len();
            sums.1 += stream.waiting();
            sums.2 += stream.outgoing.unconfirmed();
            let mut sweep = stream.incoming.sweep.iter();
            assert!(sweep.all(|at| self.sweep.contains(&(*at, *id))));
        }
        let kept = (self.held, self.waiting, self.unconfirmed);
        assert_eq!(sums, kept, "held, waiting and unconfirmed bytes");
        assert!(self.held <= LINK_HELD_BYTES_MAX && self.streams.len() <= LINK_STREAMS_MAX);
        assert!(!self.streams.is_empty() || self.sweep.is_empty());
    }

    fn take_frame(&mut self, id: u32, frame: Frame<'_>) -> Result<(), Fault> {
        match (frame, self.role) {
            (Frame::Ping(number), _) => self.pong = Some(number),
            (Frame::Pong(number), _) => {
                if self.pulse.answered(number) {
                    self.unfence();
                }
            }
            (Frame::Away, _) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    self.events.push_back(Event::Away);
                }
            }
            (Frame::Open(open), Role::Owner) => self.take_open(id, open)?,
            (Frame::Data { bytes, whole }, _) => self.take_data(id, bytes, whole)?,
            (Frame::Ack(ack), _) => self.take_ack(id, &ack)?,
            (Frame::Ask, Role::Front) => {
                let ask = |stream: &mut Stream| {
                    stream.is_asked = true;
                    Ok(())
                };
                if self.begun(id, ask)? {
                    self.ask_kernel(id);
                }
            }
            (Frame::End(end), role) => {
                self.begun(id, |stream| stream.take_end(end, role))?;
            }
            (Frame::Open(_), Role::Front) | (Frame::Ask, Role::Owner) => {
                return Err(Fault::WrongSide);
            }
        }
        Ok(())
    }

    /// Applies a frame to its stream; returns `false` if the stream has ended.
    fn begun(
        &mut self,
        id: u32,
        step: impl FnOnce(&mut Stream) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        match self.streams.get(&id) {
            None if id <= self.newest => Ok(false),
            Some(stream) if stream.opening.is_empty() => {
                self.change(id, step).transpose()?;
                Ok(true)
            }
            Some(_) | None => Err(Fault::NeverOpened),
        }
    }

    fn take_open(&mut self, id: u32, open: Open<'_>) -> Result<(), Fault> {
        if id <= self.newest {
            return Err(Fault::IdReused);
        }
        if self.streams.len() >= LINK_STREAMS_MAX {
            return Err(Fault::TooManyStreams);
        }
        self.newest = id;
        self.streams
            .insert(id, Box::new(Stream::of_session(open.client.kind)));
        let client = Box::new(open.client);
        let opened = Event::Opened(id, client, open.request_bytes);
        self.events.push_back(opened);
        match open.begin {
            [] => Ok(()),
            begin => self.take_data(id, begin, false),
        }
    }

    fn take_data(&mut self, id: u32, bytes: &[u8], whole: bool) -> Result<(), Fault> {
        let mut taken = 0;
        self.begun(id, |stream| {
            taken = if stream.takes() { bytes.len() } else { 0 };
            stream.take_data(bytes, whole)
        })?;
        if taken > 0 && !self.is_fenced() {
            self.events.push_back(Event::Inbox(id, taken));
        }
        while self.held > LINK_HELD_BYTES_MAX {
            self.end_slowest();
        }
        Ok(())
    }

    fn take_ack(&mut self, id: u32, ack: &Ack) -> Result<(), Fault> {
        let mut unconfirmed = 0;
        let is_open = self.begun(id, |stream| {
            let is_in_bounds = stream.outgoing.confirm(ack.offset, Some(ack.window));
            unconfirmed = stream.outgoing.unconfirmed();
            is_in_bounds.then_some(()).ok_or(Fault::AckBeyond)
        })?;
        if is_open && self.role == Role::Owner {
            let confirmation = Confirmation {
                unconfirmed,
                round_trip_ms: ack.round_trip_ms,
                oldest_ms: ack.oldest_ms,
            };
            self.events.push_back(Event::Confirmed(id, confirmation));
        }
        Ok(())
    }

    /// Modifies a stream and updates its dependents: totals, queues, events and the stream's removal.
    fn change<R>(&mut self, id: u32, step: impl FnOnce(&mut Stream) -> R) -> Option<R> {
        let stream = self.streams.get_mut(&id)?;
        self.held -= stream.incoming.held().len();
        self.waiting -= stream.waiting();
        self.unconfirmed -= stream.outgoing.unconfirmed();
        let result = step(stream);
        self.held += stream.incoming.held().len();
        self.waiting += stream.waiting();
        self.unconfirmed += stream.outgoing.unconfirmed();
        if stream.has_control() && !std::mem::replace(&mut stream.is_in_controls, true) {
            match stream.is_answered_call() {
                true => self.quiet.push(id),
                false => self.controls.push_back(id),
            }
        }
        if stream.has_piece() && !std::mem::replace(&mut stream.is_in_pieces, true) {
            self.pieces.push_back(id);
        }
        let has_room = stream.outgoing.room() > 0 && self.waiting < self.waiting_max;
        if has_room && std::mem::take(&mut stream.is_starved) {
            self.events.push_back(Event::Room(id));
        }
        if let Some(ending) = stream.take_ending() {
            self.events.push_back(Event::Ended(id, ending));
        }
        if stream.is_over() {
            self.remove(id);
        }
        Some(result)
    }

    fn ask_kernel(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.takes())
            && !std::mem::replace(&mut stream.is_kernel_asked, true)
        {
            self.events.push_back(Event::Ask(id));
        }
    }

    fn write_control(&mut self, id: u32, out: &mut Vec<u8>, now: Now) {
        let window = self.window;
        self.change(id, |stream| {
            stream.is_in_controls = false;
            let end = stream.due_end();
            let has_news = end.is_some() && stream.incoming.has_news();
            if stream.owes_ack() || has_news {
                write(out, id, &Frame::Ack(stream.incoming.ack(window, now)));
            }
            stream.owes_ack = false;
            if stream.opening.is_empty() && std::mem::take(&mut stream.owes_ask) {
                write(out, id, &Frame::Ask);
            }
            if let Some(how) = end {
                stream.is_end_written = true;
                let offset = stream.incoming.confirmed();
                write(out, id, &Frame::End(End { how, offset }));
            }
        });
    }

    fn write_piece(&mut self, id: u32, out: &mut Vec<u8>, now: Now) {
        let window = self.window;
        self.change(id, |stream| {
            stream.is_in_pieces = false;
            if !stream.opening.is_empty() {
                out.append(&mut std::mem::take(&mut stream.opening));
                stream.owes_ack |= (window as usize) < LINK_WINDOW_BYTES;
            } else if let Some((bytes, whole)) = stream.outgoing.piece() {
                write(out, id, &Frame::Data { bytes, whole });
                stream.outgoing.trim();
            }
        });
        let ends = self.streams.get(&id).and_then(|stream| stream.due_end());
        if ends.is_some() {
            self.write_control(id, out, now);
        }
    }

    fn remove(&mut self, id: u32) {
        let Some(stream) = self.streams.remove(&id) else {
            return;
        };
        if let Some(at) = stream.incoming.sweep {
            self.sweep.remove(&(at, id));
        }
        self.held -= stream.incoming.held().len();
        self.waiting -= stream.waiting();
        let unconfirmed = stream.outgoing.unconfirmed();
        self.unconfirmed -= unconfirmed;
        self.events.push_back(Event::Gone(id, unconfirmed));
    }

    /// Frees space at a limit: closes the largest streams of the account with the most buffered bytes until a 64th of
    /// these bytes is free. Closing one stream at a time would require a full scan for each further message if there
    /// are many small streams.
    pub fn end_slowest(&mut self) {
        let held = |stream: &Stream| stream.incoming.held().len();
        let mut accounts: BTreeMap<u64, usize> = BTreeMap::new();
        for stream in self.streams.values() {
            *accounts.entry(stream.account).or_default() += held(stream);
        }
        let fullest = accounts.into_iter().max_by_key(|(_, bytes)| *bytes);
        let (account, most) = fullest.unwrap_or_default();
        let own = self.streams.iter().filter(|it| it.1.account == account);
        let mut slowest: Vec<(usize, u32)> = own.map(|(id, it)| (held(it), *id)).collect();
        slowest.sort_unstable();
        let mut freed = 0;
        while let Some((bytes, id)) = slowest.pop_if(|_| freed <= most / 64) {
            freed += bytes;
            self.events.push_back(Event::Ended(id, Ending::Slow));
            match self.role {
                Role::Front => self.end(id, How::Slow),
                Role::Owner => self.end(id, How::Cut(0)),
            }
        }
    }

    /// Whether received bytes are withheld because they may precede a pause.
    fn is_fenced(&self) -> bool {
        self.role == Role::Front && self.pulse.is_fenced()
    }

    /// Releases withheld bytes because the owner has not given up the link.
    fn unfence(&mut self) {
        let streams = self.streams.iter();
        let held = streams.map(|(id, stream)| (*id, stream.incoming.held().len()));
        let held = held.filter(|(_, bytes)| *bytes > 0 && self.role == Role::Front);
        self.events
            .extend(held.map(|(id, bytes)| Event::Inbox(id, bytes)));
    }

    /// Returns unsent requests of a suspect link, so that they are retried elsewhere.
    fn return_unbegun(&mut self) {
        let streams = self.streams.iter();
        let unbegun = streams.filter(|(_, stream)| !stream.opening.is_empty());
        let unbegun: Vec<u32> = unbegun.map(|(id, _)| *id).collect();
        unbegun.into_iter().for_each(|id| self.bury(id));
    }

    fn bury(&mut self, id: u32) {
        let role = self.role;
        self.change(id, |stream| stream.lose(role));
        self.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::link::Kind;

    pub(crate) fn client(kind: Kind) -> Client {
        Client {
            kind,
            address: ([192, 0, 2, 1], 1).into(),
            listener: 0,
            tls: false,
            server_name: "".into(),
            certificate: None,
        }
    }

    #[test]
    fn the_last_id_is_followed_by_away() {
        let mut front = Link::new(Role::Front, 1000, Now(0));
        front.newest = u32::MAX - 1;
        assert_eq!(front.open(&client(Kind::Call), vec![1], 0), Ok(u32::MAX));
        assert_eq!(
            front.open(&client(Kind::Call), vec![1], 0),
            Err(Refused::Away)
        );
        let mut bytes = Vec::new();
        front.write(&mut bytes, Now(0));
        let mut owner = Link::new(Role::Owner, 1000, Now(0));
        owner.read(&bytes, Now(0));
        assert_eq!(owner.poll(), Some(Event::Away));
        assert!(matches!(owner.poll(), Some(Event::Opened(u32::MAX, _, 1))));
    }

    #[test]
    fn an_answered_call_ends_with_the_next_frames_or_after_a_while() {
        let mut front = Link::new(
            Role::Front,
            u32::try_from(LINK_WINDOW_BYTES).unwrap(),
            Now(0),
        );
        let written = |front: &mut Link, now| {
            let mut bytes = Vec::new();
            front.write(&mut bytes, Now(now));
            bytes
        };
        let answered = |front: &mut Link, now| {
            let id = front.open(&client(Kind::Call), vec![1], 0).unwrap();
            let opening = written(front, now);
            let mut answer = Vec::new();
            let end = End {
                how: How::Finish,
                offset: 1,
            };
            write(&mut answer, id, &Frame::End(end));
            front.read(&answer, Now(now));
            front.end(id, How::Fin);
            front.tick(Now(now));
            assert!(!front.has_output() && written(front, now).is_empty());
            opening.len()
        };
        let alone = answered(&mut front, 0);
        assert!(
            answered(&mut front, 10) > alone,
            "beside the end of the first one"
        );
        assert_eq!(front.due(Now(10)), Some(Now(10 + LINK_QUIET_MS)));
        front.tick(Now(10 + LINK_QUIET_MS));
        assert!(!written(&mut front, 10 + LINK_QUIET_MS).is_empty());
        assert!(front.streams.is_empty());
    }
}
