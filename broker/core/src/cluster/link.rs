//! Links, which are connections between two nodes. A link carries one stream per client. Clients are connected to the
//! *front*; the *owner* is the node that owns their channels. A [`Link`] is one end of a link, either the front or the
//! owner. This module implements buffering, framing and the protocol rules, but uses no sockets.
//!
//! ```text
//!  client ◄── kernel ── inbox, took, sent, unacknowledged ──┐                  ┌── inbox, took ──► session
//!         ── receive ─► push, end ───────────────────────── Link ══ frames ══ Link ── push, end, ask ──
//!                                                          front              owner
//! ```
//! The *local side* of a stream is the client or session at this end. Local sides use [`Link::streams`].
//!
//! In each turn of its event loop, the caller first calls [`Link::stood_still`] if it was paused. It then passes all
//! received bytes to [`Link::read`] and, after each input, calls [`Link::poll`] until it returns `None`. Finally, it
//! calls [`Link::tick`] and, if the previous write has completed, [`Link::write`] once.
//!
//! * **Credit is acknowledgement.** The sender of a stream may have at most one window of unacknowledged bytes in
//!   flight. Bytes for a client are acknowledged by the client's machine. If a link, a front or a client dies, the
//!   owner therefore knows which messages are unacknowledged, and returns them to their queues.
//! * **A front never stops reading.** It buffers bytes that its clients do not read, up to a limit per link.
//! * **Ending a stream.** Each side calls [`LinkStreams::end`] once. [`Event::Ended`] reports that the other side has
//!   done so, after all bytes that it sent. [`Event::Gone`] is the last event of a stream at each end. It occurs once
//!   both sides have ended the stream, or the link itself has ended.
//! * **Only a request is sent twice.** A client's further bytes wait for the owner's first DATA frame. Until it
//!   arrives, the front can retry the request at the next owner.
//! * **After a pause, a front forwards nothing** until the owner has answered a PING sent after the pause. If the owner
//!   has given up the link, it has returned the messages still in the front's buffers to their queues, and answers with
//!   a reset. The same rule applies to a suspect link.
//!
//! Stream ids increase and are never reused on a link. Frames for streams that have ended are ignored. A frame that
//! exceeds a limit, or that names a stream that never existed, is a [`Fault`] and ends the link.

mod events;
mod figures;
mod pulse;
mod stream;
mod streams;

use crate::cluster::limits::LINK_IDLE_MS;
use crate::time::Now;
use codec::link::{Client, Frame, Reader, write};
pub use events::{Death, Ending, Event, Fault, Mismatch, Refused, Role, check_hello};
pub use figures::{LinkFigures, LinkTable, PeerLinks, sum_of};
use pulse::{Pulse, Verdict};
pub use streams::LinkStreams;

/// One end of a link, created after both nodes have exchanged hellos.
#[derive(Debug)]
pub struct Link {
    /// The streams of the link. Clients and sessions use them directly.
    pub streams: LinkStreams,
    reader: Reader,
    pulse: Pulse,
    /// Number of the PING frame that the next write must send, if any.
    ping: Option<u64>,
    /// Number of the PONG frame that the next write must send, if any.
    pong: Option<u64>,
    /// Whether the next write must send an AWAY frame.
    owes_away: bool,
    /// Whether the other side has sent an AWAY frame.
    is_away: bool,
    empty_since: Option<Now>,
    death: Option<Death>,
}

impl Link {
    /// Creates one end of a link after both nodes have exchanged hellos. `window` is the maximum number of
    /// unacknowledged bytes in flight from a stream's client or session. It is at most
    /// [`LINK_WINDOW_BYTES`](crate::cluster::limits::LINK_WINDOW_BYTES).
    #[must_use]
    pub fn new(role: Role, window: u32, now: Now) -> Self {
        Self {
            streams: LinkStreams::new(role, window),
            reader: Reader::default(),
            pulse: Pulse::new(now),
            ping: None,
            pong: None,
            owes_away: false,
            is_away: false,
            empty_since: None,
            death: None,
        }
    }

    /// Returns the metrics of this link.
    #[must_use]
    pub fn figures(&self) -> LinkFigures {
        LinkFigures {
            links: 1,
            doubtful: self.is_doubtful().into(),
            round_trip_ms: self.pulse.round_trip_ms,
            ..self.streams.figures()
        }
    }

    // Methods for the connection.

    /// Reads bytes from the other side. Frames may be split at any position.
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

    /// Ends the link because its connection has been lost.
    pub fn broke(&mut self, why: Death) {
        if self.death.is_none() {
            self.death = Some(why);
            self.streams.events.push_back(Event::Dead(why));
        }
    }

    /// Records that this process was paused for `span_ms`, until `now`. Must be called before anything is read.
    pub fn stood_still(&mut self, span_ms: u64, now: Now) {
        self.pulse.stood_still(span_ms, now);
    }

    /// Completes an event loop iteration after all received bytes have been read. Checks whether the other side is
    /// alive, and starts kernel queries for clients' unacknowledged bytes if they are due.
    pub fn tick(&mut self, now: Now) {
        if self.death.is_some() {
            return;
        }
        match self.pulse.judge(now) {
            Verdict::Same => {}
            Verdict::Doubtful => self.streams.return_unbegun(),
            Verdict::Dead => return self.broke(Death::Silent),
        }
        self.ping = self.pulse.take_ping(now).or(self.ping);
        self.streams.tick(now);
        if !self.streams.is_empty() || self.streams.role == Role::Owner {
            self.empty_since = None;
        } else if now.since(*self.empty_since.get_or_insert(now)) >= LINK_IDLE_MS {
            self.broke(Death::Idle);
        }
    }

    /// Returns the time by which [`Link::tick`] must be called.
    #[must_use]
    pub fn due(&self, now: Now) -> Option<Now> {
        let idle = self.empty_since.map(|since| since.after(LINK_IDLE_MS));
        let all = self.pulse.due(now).into_iter().chain(idle);
        let all = all.chain(self.streams.due(now));
        all.min().filter(|_| self.death.is_none())
    }

    /// Returns `true` if [`Link::write`] may have something to write.
    #[must_use]
    pub fn has_output(&self) -> bool {
        let of_link = self.ping.is_some() || self.pong.is_some() || self.owes_away;
        self.death.is_none() && (of_link || self.streams.has_frames())
    }

    /// Appends this turn's frames: the control frames, followed by at most one DATA frame per stream.
    pub fn write(&mut self, out: &mut Vec<u8>, now: Now) {
        if self.death.is_some() {
            return;
        }
        if self.has_output() {
            self.streams.release_quiet();
        }
        let ping = self.ping.take().map(Frame::Ping);
        for frame in ping.into_iter().chain(self.pong.take().map(Frame::Pong)) {
            write(out, 0, &frame);
        }
        let begin = out.len();
        if std::mem::take(&mut self.owes_away) {
            write(out, 0, &Frame::Away);
        }
        self.streams.write(out, begin, now);
        if out.len() > begin {
            self.pulse.sent(now);
        }
    }

    /// Removes and returns the next event.
    pub fn poll(&mut self) -> Option<Event> {
        if self.streams.events.is_empty() && self.death.is_some() {
            self.streams.bury_next();
        }
        self.streams.events.pop_front()
    }

    /// Returns `true` if the link is suspect because the other side is silent. No streams can be opened on it.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.pulse.is_doubtful
    }

    /// Stops opening streams. Existing streams continue.
    pub fn leave(&mut self) {
        self.owes_away |= !std::mem::replace(&mut self.is_away, true);
    }

    /// Returns `true` if either node has stopped opening streams, because its process is shutting down or the link has
    /// no ids left.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.is_away
    }

    // Methods for streams.

    /// Opens a stream for a client of `account` and returns the stream's id. Called on the client's node. `bytes` is
    /// the client's complete request and must contain at least one byte.
    ///
    /// # Errors
    /// Returns an error if no stream may be opened on this link.
    pub fn open(&mut self, client: &Client, bytes: Vec<u8>, account: u64) -> Result<u32, Refused> {
        if self.streams.newest == u32::MAX {
            self.leave();
        }
        self.accepts()?;
        if bytes.is_empty() || u32::try_from(bytes.len()).is_err() {
            return Err(Refused::Full);
        }
        Ok(self.streams.open(client, bytes, account))
    }

    /// Checks whether a stream may be opened. Only the client's node may open streams.
    ///
    /// # Errors
    /// Returns the reason why no stream may be opened.
    pub fn accepts(&self) -> Result<(), Refused> {
        match () {
            () if self.death.is_some() => Err(Refused::Dead),
            () if self.is_away || self.streams.role == Role::Owner => Err(Refused::Away),
            () if self.is_doubtful() => Err(Refused::Doubtful),
            () if self.streams.is_full() => Err(Refused::Full),
            () => Ok(()),
        }
    }

    /// Returns the bytes to deliver to the client or session. Returns no bytes for a client while the owner may have
    /// given up the link.
    #[must_use]
    pub fn inbox(&self, id: u32) -> &[u8] {
        let id = Some(id).filter(|_| !self.is_fenced());
        id.map_or(&[], |id| self.streams.inbox(id))
    }

    // Methods that handle frames from the other side.

    fn take_frame(&mut self, id: u32, frame: Frame<'_>) -> Result<(), Fault> {
        match (frame, self.streams.role) {
            (Frame::Ping(number), _) => self.pong = Some(number),
            (Frame::Pong(number), _) => {
                if self.pulse.answered(number) {
                    self.streams.unfence();
                }
            }
            (Frame::Away, _) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    self.streams.events.push_back(Event::Away);
                }
            }
            (Frame::Open(open), Role::Owner) => self.streams.take_open(id, open)?,
            (Frame::Data { bytes, whole }, _) => {
                let is_fenced = self.is_fenced();
                self.streams.take_data(id, bytes, whole, is_fenced)?;
            }
            (Frame::Ack(ack), _) => self.streams.take_ack(id, &ack)?,
            (Frame::Ask, Role::Front) => self.streams.take_ask(id)?,
            (Frame::End(end), _) => self.streams.take_end(id, end)?,
            (Frame::Open(_), Role::Front) | (Frame::Ask, Role::Owner) => {
                return Err(Fault::WrongSide);
            }
        }
        Ok(())
    }

    /// Returns `true` if received bytes are withheld because they may have been sent before a pause.
    fn is_fenced(&self) -> bool {
        self.streams.role == Role::Front && self.pulse.fence.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::limits::{LINK_QUIET_MS, LINK_WINDOW_BYTES};
    use codec::link::{End, How, Kind};

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
        front.streams.newest = u32::MAX - 1;
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
            front.streams.end(id, How::Fin);
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
