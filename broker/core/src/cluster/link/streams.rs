//! All streams at one end of a link: their total bytes, the order in which they are served, and their events.

use crate::cluster::limits::{
    LINK_HELD_BYTES_MAX, LINK_QUIET_MS, LINK_STREAMS_MAX, LINK_SWEEP_MS, LINK_WAITING_BYTES_MAX,
    LINK_WINDOW_BYTES, LINK_WRITE_BYTES,
};
use crate::cluster::link::stream::{Outgoing, Stream};
use crate::cluster::link::{Ending, Event, Fault, LinkFigures, Role};
use crate::time::Now;
use codec::link::{Ack, Client, End, Frame, How, Open, write};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// All streams at one end of a link. The local side of a stream calls the public methods, which ignore the ids of
/// streams that have ended.
#[derive(Debug, Default)]
pub struct LinkStreams {
    pub(crate) role: Role,
    /// Maximum number of unacknowledged bytes in flight from the local side of a stream.
    window: u32,
    /// Streams by id. They are boxed because ids are inserted in increasing order, which leaves the tree's nodes half
    /// full.
    all: BTreeMap<u32, Box<Stream>>,
    /// Highest stream id used so far.
    pub(crate) newest: u32,
    /// Queue of streams with control frames to write. Each stream occurs at most once. Streams that have been removed
    /// may still be in the queue.
    controls: VecDeque<u32>,
    /// Queue of streams with data to frame. Each stream occurs at most once. Streams that have been removed may still
    /// be in the queue.
    pieces: VecDeque<u32>,
    /// Streams of answered calls that have only an END frame left to send. It is sent along with other frames, or after
    /// [`LINK_QUIET_MS`].
    quiet: Vec<u32>,
    quiet_since: Option<Now>,
    /// Streams with unacknowledged bytes, sorted by the time of their next kernel query.
    sweep: BTreeSet<(Now, u32)>,
    /// Streams whose local side is waiting for buffer space that other streams occupy.
    starved: VecDeque<u32>,
    /// Number of bytes buffered for local sides.
    held: usize,
    /// Number of bytes from local sides that have not been framed yet.
    waiting: usize,
    /// Number of unacknowledged bytes from local sides.
    unconfirmed: u64,
    waiting_max: usize,
    /// Events of the streams and of the link.
    pub(crate) events: VecDeque<Event>,
}

impl LinkStreams {
    pub(crate) fn new(role: Role, window: u32) -> Self {
        Self {
            role,
            window,
            waiting_max: LINK_WAITING_BYTES_MAX,
            ..Self::default()
        }
    }

    /// Returns the number of streams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns `true` if there are no streams.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns the number of bytes buffered for local sides.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Returns `true` if a limit has been reached and no stream may be opened.
    pub(crate) fn is_full(&self) -> bool {
        self.all.len() >= LINK_STREAMS_MAX || self.waiting >= self.waiting_max
    }

    pub(crate) fn figures(&self) -> LinkFigures {
        LinkFigures {
            streams: self.all.len() as u64,
            waiting_bytes: self.waiting as u64,
            held_bytes: self.held as u64,
            unconfirmed_bytes: self.unconfirmed,
            ..LinkFigures::default()
        }
    }

    // Methods for the local side of a stream.

    /// Opens a stream for a client of this node; see [`Link::open`](super::Link::open).
    pub(crate) fn open(&mut self, client: &Client, request: Vec<u8>, account: u64) -> u32 {
        self.newest += 1;
        let stream = Stream::of_client(self.newest, client, request, account);
        self.waiting += stream.waiting();
        self.unconfirmed += stream.outgoing.unconfirmed();
        self.all.insert(self.newest, Box::new(stream));
        self.change(self.newest, |_| ());
        self.newest
    }

    /// Returns the number of bytes that the local side may push. If this is 0, [`Event::Room`] follows later.
    pub fn room(&mut self, id: u32) -> usize {
        let left = self.waiting_max.saturating_sub(self.waiting);
        let Some(stream) = self.all.get_mut(&id) else {
            return 0;
        };
        let room = stream.outgoing.room().min(left);
        if room == 0 && !std::mem::replace(&mut stream.is_starved, true) {
            self.starved.extend(Some(id).filter(|_| left == 0));
        }
        room
    }

    /// Pushes at most [`Self::room`] bytes from the client or session. `whole` is `true` if they complete a WebSocket
    /// frame. While [`Self::is_unconfirmed`] returns `true`, the client's node must first report how many bytes are
    /// unacknowledged according to the kernel. This tells the owner what the client had acknowledged when it sent the
    /// bytes.
    pub fn push(&mut self, id: u32, bytes: &[u8], whole: bool) {
        self.change(id, |stream| stream.outgoing.push(bytes, whole));
    }

    /// Returns the bytes received for the local side.
    pub(crate) fn inbox(&self, id: u32) -> &[u8] {
        (self.all.get(&id)).map_or(&[], |stream| stream.incoming.held())
    }

    /// Removes the first `bytes` bytes from [`Link::inbox`](super::Link::inbox).
    pub fn took(&mut self, id: u32, bytes: usize) {
        let session_window = Some(self.window).filter(|_| self.role == Role::Owner);
        self.change(id, |stream| {
            stream.incoming.take(bytes);
            let is_due = session_window.map(|window| stream.incoming.confirm_taken(window));
            stream.owes_ack |= is_due.unwrap_or(false);
        });
    }

    /// Records, on the client's node, that the kernel has accepted the oldest `bytes` bytes taken from the inbox. They
    /// take `wire` bytes on the wire.
    pub fn sent(&mut self, id: u32, bytes: usize, wire: usize, now: Now) {
        let Some(stream) = self.all.get_mut(&id).filter(|stream| stream.takes()) else {
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

    /// Returns `true` if the client has yet to acknowledge some bytes. Always `false` on the owner.
    #[must_use]
    pub fn is_unconfirmed(&self, id: u32) -> bool {
        (self.all.get(&id)).is_some_and(|stream| stream.incoming.oldest().is_some())
    }

    /// Sets the number of bytes on the wire that the client has not acknowledged, as reported by the kernel of the
    /// client's node. Overestimating this number is safe.
    pub fn unacknowledged(&mut self, id: u32, bytes: u64, round_trip_ms: u32) {
        self.change(id, |stream| {
            stream.incoming.confirm_wire(bytes, round_trip_ms);
            stream.is_kernel_asked = false;
            stream.owes_ack |= std::mem::take(&mut stream.is_asked) || stream.incoming.has_news();
        });
    }

    /// Asks the client's node which bytes the client has acknowledged. Called on the owner, which later receives
    /// [`Event::Confirmed`].
    pub fn ask(&mut self, id: u32) {
        self.change(id, |stream| stream.owes_ask = true);
    }

    /// Ends this side of the stream. The client's node must first report how many bytes are unacknowledged according to
    /// the kernel. A stream that was ended with [`How::Fin`] or [`How::Finish`] may be ended again in another way,
    /// which takes effect at once. All other ways are final.
    pub fn end(&mut self, id: u32, how: How) {
        self.change(id, |stream| stream.end(how));
    }

    /// Ends a stream on the client's node because the channel has moved or this node is shutting down. The client
    /// receives [`Event::Ended`] as if the link had died, and the owner receives a reset.
    pub fn lose(&mut self, id: u32) {
        let role = self.role;
        self.change(id, |stream| stream.lose(role));
        self.end(id, How::Reset);
    }

    /// Returns the number of pushed bytes that have not been acknowledged; 0 for a stream that has ended.
    #[must_use]
    pub fn unconfirmed(&self, id: u32) -> u64 {
        (self.all.get(&id)).map_or(0, |stream| stream.outgoing.unconfirmed())
    }

    /// Limits the number of unframed bytes buffered from local sides. Used when several links share
    /// [`LINK_WAITING_BYTES_MAX`].
    pub fn bound_waiting(&mut self, bytes: usize) {
        self.waiting_max = bytes.min(LINK_WAITING_BYTES_MAX);
    }

    /// Checks the totals and the offsets of each stream.
    ///
    /// # Panics
    /// Panics if a total or an offset is inconsistent.
    pub fn invariants(&self) {
        let mut sums = (0, 0, 0);
        for (id, stream) in &self.all {
            stream.outgoing.invariants();
            stream.incoming.invariants();
            sums.0 += stream.incoming.held().len();
            sums.1 += stream.waiting();
            sums.2 += stream.outgoing.unconfirmed();
            let is_listed = |at| self.sweep.contains(&(at, *id));
            assert!(stream.incoming.sweep.is_none_or(is_listed));
        }
        assert_eq!(sums, (self.held, self.waiting, self.unconfirmed), "bytes");
        assert!(self.held <= LINK_HELD_BYTES_MAX && self.all.len() <= LINK_STREAMS_MAX);
        assert!(!self.all.is_empty() || self.sweep.is_empty());
    }

    // The steps of a turn.

    /// Queues the END frames of answered calls that have waited long enough, and starts kernel queries for clients'
    /// unacknowledged bytes if they are due.
    pub(crate) fn tick(&mut self, now: Now) {
        if !self.quiet.is_empty()
            && now.since(*self.quiet_since.get_or_insert(now)) >= LINK_QUIET_MS
        {
            self.controls.extend(self.quiet.drain(..));
        }
        while let Some(&(at, id)) = self.sweep.first()
            && at <= now
        {
            self.sweep.pop_first();
            let Some(stream) = self.all.get_mut(&id) else {
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
    }

    /// Returns the time by which [`Self::tick`] must be called.
    pub(crate) fn due(&self, now: Now) -> Option<Now> {
        let sweep = self.sweep.first().map(|(at, _)| *at);
        let quiet_since = self.quiet_since.unwrap_or(now);
        let quiet = (!self.quiet.is_empty()).then(|| quiet_since.after(LINK_QUIET_MS));
        sweep.into_iter().chain(quiet).min()
    }

    /// Returns `true` if there are frames to write other than the END frames of answered calls.
    pub(crate) fn has_frames(&self) -> bool {
        !self.controls.is_empty() || !self.pieces.is_empty()
    }

    /// Queues the END frames of answered calls, because other frames are about to be written.
    pub(crate) fn release_quiet(&mut self) {
        self.controls.extend(self.quiet.drain(..));
        self.quiet_since = None;
    }

    /// Appends control frames, followed by at most one DATA frame per stream. Stops once the bytes after offset `begin`
    /// reach the limit for one turn.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, begin: usize, now: Now) {
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
                self.change(id, |_| ()); // reports to the local side that there is space
            }
        }
    }

    // Methods that handle frames from the other side.

    /// Applies a frame to its stream. Returns `false` if the stream has ended.
    fn begun(
        &mut self,
        id: u32,
        step: impl FnOnce(&mut Stream) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        match self.all.get(&id) {
            None if id <= self.newest => Ok(false),
            Some(stream) if stream.opening.is_empty() => {
                self.change(id, step).transpose()?;
                Ok(true)
            }
            Some(_) | None => Err(Fault::NeverOpened),
        }
    }

    /// Adds a stream that the client's node has opened.
    pub(crate) fn take_open(&mut self, id: u32, open: Open<'_>) -> Result<(), Fault> {
        if id <= self.newest {
            return Err(Fault::IdReused);
        }
        if self.all.len() >= LINK_STREAMS_MAX {
            return Err(Fault::TooManyStreams);
        }
        self.newest = id;
        let stream = Stream::new(open.client.kind, 0, Outgoing::default());
        self.all.insert(id, Box::new(stream));
        let opened = Event::Opened(id, Box::new(open.client), open.request_bytes);
        self.events.push_back(opened);
        match open.begin {
            [] => Ok(()),
            begin => self.take_data(id, begin, false, false),
        }
    }

    /// Buffers bytes for the client or session. It is notified immediately or, if the link is fenced, when the fence
    /// ends.
    pub(crate) fn take_data(
        &mut self,
        id: u32,
        bytes: &[u8],
        whole: bool,
        is_fenced: bool,
    ) -> Result<(), Fault> {
        let mut taken = 0;
        self.begun(id, |stream| {
            taken = if stream.takes() { bytes.len() } else { 0 };
            stream.take_data(bytes, whole)
        })?;
        if taken > 0 && !is_fenced {
            self.events.push_back(Event::Inbox(id, taken));
        }
        while self.held > LINK_HELD_BYTES_MAX {
            self.end_slowest();
        }
        Ok(())
    }

    /// Records how many bytes the other side has acknowledged.
    pub(crate) fn take_ack(&mut self, id: u32, ack: &Ack) -> Result<(), Fault> {
        let mut unconfirmed = 0;
        let is_open = self.begun(id, |stream| {
            let is_in_bounds = stream.outgoing.confirm(ack.offset, Some(ack.window));
            unconfirmed = stream.outgoing.unconfirmed();
            is_in_bounds.then_some(()).ok_or(Fault::AckBeyond)
        })?;
        if is_open && self.role == Role::Owner {
            (self.events).push_back(Event::Confirmed(id, unconfirmed, ack.round_trip_ms));
        }
        Ok(())
    }

    /// Asks the kernel which bytes the client has acknowledged, so that this can be reported to the owner.
    pub(crate) fn take_ask(&mut self, id: u32) -> Result<(), Fault> {
        let is_open = self.begun(id, |stream| {
            stream.is_asked = true;
            Ok(())
        })?;
        if is_open {
            self.ask_kernel(id);
        }
        Ok(())
    }

    /// Ends a stream that the other side has ended.
    pub(crate) fn take_end(&mut self, id: u32, end: End) -> Result<(), Fault> {
        let role = self.role;
        self.begun(id, |stream| stream.take_end(end, role))?;
        Ok(())
    }

    // Methods that change a single stream.

    /// Changes a stream and updates everything that depends on it: the totals, the queues and the events. Removes the
    /// stream if it is over.
    fn change<R>(&mut self, id: u32, step: impl FnOnce(&mut Stream) -> R) -> Option<R> {
        let stream = self.all.get_mut(&id)?;
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
        if let Some(stream) = self.all.get_mut(&id).filter(|stream| stream.takes())
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
        let ends = self.all.get(&id).and_then(|stream| stream.due_end());
        if ends.is_some() {
            self.write_control(id, out, now);
        }
    }

    fn remove(&mut self, id: u32) {
        let Some(stream) = self.all.remove(&id) else {
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

    /// Frees buffer space when a limit is reached. Closes the largest streams of the account with the most buffered
    /// bytes, until a 64th of that account's bytes is free. Closing one small stream at a time would require a full
    /// scan for each further message.
    pub fn end_slowest(&mut self) {
        let held = |stream: &Stream| stream.incoming.held().len();
        let mut accounts: BTreeMap<u64, usize> = BTreeMap::new();
        for stream in self.all.values() {
            *accounts.entry(stream.account).or_default() += held(stream);
        }
        let fullest = accounts.into_iter().max_by_key(|(_, bytes)| *bytes);
        let (account, most) = fullest.unwrap_or_default();
        let own = self.all.iter().filter(|it| it.1.account == account);
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

    /// Releases the withheld bytes. Called once the owner has proved that it has not given up the link.
    pub(crate) fn unfence(&mut self) {
        let streams = self.all.iter();
        let held = streams.map(|(id, stream)| (*id, stream.incoming.held().len()));
        let held = held.filter(|(_, bytes)| *bytes > 0 && self.role == Role::Front);
        self.events
            .extend(held.map(|(id, bytes)| Event::Inbox(id, bytes)));
    }

    /// Ends the streams on a suspect link whose requests have not been sent, so that the requests are retried
    /// elsewhere.
    pub(crate) fn return_unbegun(&mut self) {
        let streams = self.all.iter();
        let unbegun = streams.filter(|(_, stream)| !stream.opening.is_empty());
        let unbegun: Vec<u32> = unbegun.map(|(id, _)| *id).collect();
        unbegun.into_iter().for_each(|id| self.bury(id));
    }

    /// Ends and removes one of a dead link's streams.
    pub(crate) fn bury_next(&mut self) {
        if let Some((&id, _)) = self.all.first_key_value() {
            self.bury(id);
        }
    }

    /// Ends and removes a stream without telling the other side.
    fn bury(&mut self, id: u32) {
        let role = self.role;
        self.change(id, |stream| stream.lose(role));
        self.remove(id);
    }
}
