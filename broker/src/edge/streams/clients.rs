//! The clients of a shard whose channels are on other nodes, at the front of links.
//!
//! ```text
//!  Waiting ──► OnLink ──────────────────────────────────────► gone
//!     │           │ ended, by the owner or the link            ▲
//!     └───────────┴► finale: back to the machine, or closed ───┘
//! ```
//! A client's connection is in no table. Its bytes go into its stream, or wait here while that has no room, and then
//! nothing more is read. Bytes for it stay in the link until its socket accepts them.

use crate::edge::departed::{Departed, Detached};
use crate::edge::limits::{
    CALL_ANSWER_BYTES_MAX, CALL_ANSWER_MS, CLIENT_LEAVE_MS, CLIENT_LINGER_MS, CLIENT_STALL_MS,
    ENCRYPT_BYTES, LEAVING_BYTES, LINK_CONNECT_MS, UPGRADE_ANSWER_MS,
};
use crate::edge::links::{LinkEnd, link_key};
use crate::edge::streams::Streams;
use crate::edge::{connection::NEVER, io::Io};
use broker_core::cluster::link::Link;
use broker_core::id::NodeId;
use broker_core::machine::{Machine, PassFailure, Peer, StreamHome};
use broker_core::time::Now;
use codec::link::Kind;
use codec::ws::close_frame;
use std::os::fd::AsFd;

/// One client.
pub(crate) struct Client<M: Machine> {
    pub(crate) half: Detached,
    pub(crate) node: NodeId,
    pub(crate) home: StreamHome,
    pub(crate) peer: Peer,
    pub(crate) kind: Kind,
    /// Bytes of the client after a call, and the answer so far.
    pub(crate) rest: Vec<u8>,
    pub(crate) answer: Vec<u8>,
    /// Session of the client, until the owner has answered.
    pub(crate) parcel: Option<M::Parcel>,
    pub(crate) on: On,
    /// Bytes that its stream had no room for.
    pub(crate) backlog: Vec<u8>,
    /// Bytes of the stream in the send in flight, which the kernel has not accepted.
    pub(crate) launched: usize,
    /// Reason why it returns, if it does so for a reason of this node.
    pub(crate) why: Option<PassFailure>,
    pub(crate) finale: Option<Finale>,
    /// End of the client after its link died, until its turn.
    pub(crate) lost: Option<Finale>,
    /// Whether the own side is shut.
    pub(crate) is_shut: bool,
    /// Whether this node shuts down: the client sends no more.
    pub(crate) is_leaving: bool,
    /// Call on a suspect link: its answer has the time limit of a connect.
    pub(crate) is_doubtful: bool,
    is_touched: bool,
    /// Start of its stage.
    pub(crate) since: Now,
    pub(crate) due: Now,
}

/// Place of a client.
pub(crate) enum On {
    /// Waiting for a link, with its request.
    Waiting(Vec<u8>),
    /// On a link, as one of its streams.
    Link(u32, u32),
    /// On no link: the stream has ended.
    None,
}

/// End of a client on this node.
#[derive(Debug)]
pub(crate) enum Finale {
    /// Returns to the machine, which answers it or tries another owner with these bytes.
    Back(PassFailure, Vec<u8>),
    /// Close frame with this code after everything sent, then the end.
    Close(u16),
    /// End after everything sent.
    Finish,
    /// Immediate close, or reset.
    Cut {
        /// Whether by RST, since the client has a part of a frame or answer.
        reset: bool,
    },
}

impl<M: Machine> Client<M> {
    /// One that awaits a link for its request.
    pub(crate) fn new(departed: Departed<M>, node: NodeId, home: StreamHome, now: Now) -> Self {
        let Departed {
            client: half,
            parcel,
            sent,
        } = departed;
        let mut request = sent.bytes;
        let behind = sent
            .call
            .map(|length| request.split_off(length.min(request.len())));
        Self {
            half,
            node,
            home,
            peer: sent.peer,
            parcel: Some(parcel),
            kind: match (sent.repeats, sent.waits) {
                (true, _) => Kind::Upgrade,
                (false, false) => Kind::Call,
                (false, true) => Kind::AlexaCall,
            },
            rest: behind.unwrap_or_default(),
            answer: Vec::new(),
            on: On::Waiting(request),
            backlog: Vec::new(),
            launched: 0,
            why: None,
            finale: None,
            lost: None,
            is_shut: false,
            is_leaving: false,
            is_doubtful: false,
            is_touched: false,
            since: now,
            due: NEVER,
        }
    }

    /// Whether the owner has answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.parcel.is_none() || !self.answer.is_empty()
    }

    /// Unlists a client that is being served; returns whether it was listed.
    pub(crate) fn untouch(&mut self) -> bool {
        std::mem::take(&mut self.is_touched)
    }

    /// Whether it is a call: its answer is collected here, and its client returns to the machine with it.
    pub(crate) fn is_call(&self) -> bool {
        self.kind != Kind::Upgrade
    }

    /// Deadline of the client, unless something happens.
    fn limit(&self) -> Now {
        let span = match (&self.finale, &self.on) {
            (Some(Finale::Cut { .. } | Finale::Back(..)), _) => return NEVER, // the kernel ends them
            (Some(Finale::Close(_) | Finale::Finish), _) if self.is_shut => CLIENT_LINGER_MS,
            (Some(Finale::Finish), _) if self.is_call() => return NEVER,
            (Some(Finale::Close(_) | Finale::Finish), _) => CLIENT_STALL_MS,
            (None, On::Waiting(_)) => LINK_CONNECT_MS,
            (None, On::Link(..)) if self.is_leaving => CLIENT_LEAVE_MS,
            (None, On::Link(..)) if !self.is_answered() && self.is_doubtful => LINK_CONNECT_MS,
            (None, On::Link(..)) if !self.is_answered() && self.is_call() => CALL_ANSWER_MS,
            (None, On::Link(..)) if !self.is_answered() => UPGRADE_ANSWER_MS,
            (None, On::Link(..) | On::None) => return NEVER,
        };
        self.since.after(span)
    }

    /// Whether a TLS record of it is late.
    pub(crate) fn has_late_record(&self, record_ms: u64, now: Now) -> bool {
        self.record_due(record_ms) <= now
    }

    fn record_due(&self, record_ms: u64) -> Now {
        let begun = self.half.tls.as_ref().and_then(|tls| tls.begun());
        begun.map_or(NEVER, |begun| begun.after(record_ms))
    }

    /// Whether more is read of it.
    fn reads(&self) -> bool {
        let half = &self.half;
        let takes = match &self.finale {
            None if self.lost.is_some() => true, // its end is awaited, and nothing else
            None => match self.kind {
                Kind::Upgrade => matches!(self.on, On::Link(..)) && self.backlog.is_empty(),
                Kind::Call => false,
                // The end of its client is awaited.
                Kind::AlexaCall => self.rest.len() < LEAVING_BYTES,
            },
            Some(Finale::Close(_) | Finale::Finish) => self.is_shut,
            Some(Finale::Back(..) | Finale::Cut { .. }) => false,
        };
        takes && !half.armed && !half.ended
    }

    /// Sends a piece of its inbox. `None` when the connection is broken.
    fn send(&mut self, place: u32, link: Option<(&mut Link, u32)>, io: &mut Io) -> Option<Sent> {
        let inbox = link.as_ref().map_or(&[][..], |(link, id)| link.inbox(*id));
        let piece = inbox.get(..inbox.len().min(ENCRYPT_BYTES))?;
        let length = piece.len();
        let has_words = self.half.tls.as_ref().is_some_and(|tls| tls.has_out());
        if piece.is_empty() && !has_words {
            return Some(Sent::Nothing);
        }
        let is_plain = self.half.tls.is_none();
        let key = link_key(LinkEnd::Client(place));
        let (sent, is_whole) = self.half.send(key, piece, io)?;
        io.counts.link_bytes_to_client += length as u64;
        let taken = match (is_whole, is_plain) {
            (true, _) => length,
            (false, true) => sent,
            (false, false) => 0,
        };
        self.launched = length - taken;
        if let Some((link, id)) = link {
            link.took(id, length);
            if sent > 0 {
                link.sent(id, taken, sent, io.turn.at().now);
            }
        }
        if length > 0 {
            self.parcel = None; // nobody answers in the owner's place
        }
        Some(if is_whole { Sent::All } else { Sent::Some })
    }

    /// Takes a piece of the answer to a call. False when that is longer than any.
    fn gather(&mut self, link: &mut Link, id: u32, io: &mut Io) -> bool {
        let inbox = link.inbox(id);
        let length = inbox.len();
        if length > 0 {
            self.answer.extend_from_slice(inbox);
            io.counts.link_bytes_to_client += length as u64;
            link.took(id, length);
            link.sent(id, length, length, io.turn.at().now);
            link.unacknowledged(id, 0, 0); // the rest is for this node to do
        }
        self.answer.len() <= CALL_ANSWER_BYTES_MAX
    }

    /// Sends bytes of this node's own, as the last ones. False while some wait, or when the connection is broken.
    pub(crate) fn say(&mut self, place: u32, bytes: &[u8], io: &mut Io) -> bool {
        match self.half.send(link_key(LinkEnd::Client(place)), bytes, io) {
            Some((_, is_whole)) => is_whole,
            None => {
                self.finale = Some(Finale::Cut { reset: true });
                false
            }
        }
    }

    /// Goes on with an end behind all bytes: the close frame, and the end of TLS. Whether both are with the kernel.
    pub(crate) fn say_end(&mut self, place: u32, io: &mut Io) -> bool {
        if let Some(Finale::Close(code)) = self.finale {
            self.finale = Some(Finale::Finish);
            let mut frame = Vec::new();
            close_frame(&mut frame, code, "Going away");
            if !self.say(place, &frame, io) {
                return false;
            }
        }
        if let Some(tls) = &mut self.half.tls {
            tls.notify_close();
            return self.say(place, &[], io);
        }
        true
    }
}

/// The result of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// There was nothing to send.
    Nothing,
    /// The kernel has all of it.
    All,
    /// The ring has the rest.
    Some,
}

/// A client with its link and the id of its stream, if it has one.
type OnLink<'a, M> = (&'a mut Client<M>, Option<(&'a mut Link, u32)>);

impl<M: Machine> Streams<M> {
    /// A client with its link and the id of its stream, if it has one.
    pub(crate) fn client(&mut self, place: u32) -> Option<OnLink<'_, M>> {
        let client = self.clients.get_mut(place)?;
        let link = match client.on {
            On::Link(link, id) => {
                let wire = self.wires.get_mut(link);
                wire.and_then(|wire| Some((wire.link()?, id)))
            }
            On::Waiting(_) | On::None => None,
        };
        Some((client, link))
    }

    /// Whether nothing is armed on a client's connection, or in flight.
    pub(crate) fn is_at_rest(&self, place: u32) -> bool {
        let client = self.clients.get(place);
        client.is_some_and(|client| client.half.at_rest())
    }

    /// Has a client served at the end of the turn.
    pub(crate) fn touch_client(&mut self, place: u32) {
        if let Some(client) = self.clients.get_mut(place)
            && !std::mem::replace(&mut client.is_touched, true)
        {
            self.touched_clients.push(place);
        }
    }

    /// Gives a client what came for it. False when its connection is broken.
    pub(crate) fn flush_client(&mut self, place: u32, io: &mut Io) -> bool {
        let on = match self.client(place) {
            None => return true,
            Some((client, _)) => match client.on {
                On::Link(link, _) => Some(link),
                On::Waiting(_) | On::None => None,
            },
        };
        if let Some(link) = on {
            self.touch(link);
        }
        if let Some((client, Some((link, id)))) = self.client(place)
            && client.is_call()
        {
            return client.gather(link, id, io);
        }
        while let Some((client, link)) = self.client(place)
            && !client.half.sending
        {
            match client.send(place, link, io) {
                None => return false,
                Some(Sent::All) => {}
                Some(Sent::Nothing | Sent::Some) => break,
            }
        }
        true
    }

    /// Reads more of a client, if more is to be read, and says when it is looked at.
    pub(crate) fn watch_client(&mut self, place: u32, io: &mut Io) {
        let Some(client) = self.clients.get_mut(place) else {
            return;
        };
        if client.reads() {
            client.half.armed = true;
            let key = link_key(LinkEnd::Client(place));
            io.ring.receive_once(client.half.socket.as_fd(), key);
        } else if !client.half.armed
            && let Some(tls) = &mut client.half.tls
        {
            tls.pause();
        }
        let due = client.limit().min(client.record_due(io.settings.record_ms));
        if due != client.due {
            self.clients_due.remove(&(client.due, place));
            client.due = due;
            if due != NEVER {
                self.clients_due.insert((due, place));
            }
        }
    }

    /// The request of a client that awaits a link; it awaits none from here on.
    pub(crate) fn take_request(&mut self, place: u32) -> Vec<u8> {
        let Some(client) = self.clients.get_mut(place) else {
            return Vec::new();
        };
        let On::Waiting(request) = &mut client.on else {
            return Vec::new();
        };
        let request = std::mem::take(request);
        client.on = On::None;
        self.waiting.remove(&(client.node, place));
        self.waiting_by_address.leave(place);
        self.waiting_bytes -= request.len();
        request
    }

    /// Gives a client's bytes to its stream, as many as that has room for; the rest waits.
    pub(crate) fn push_up(&mut self, place: u32, bytes: &[u8]) {
        let Some((client, link)) = self.client(place) else {
            return;
        };
        let is_call = client.is_call();
        match (&mut client.finale, link) {
            (Some(Finale::Back(_, unsent)), _) => {
                if !unsent.is_empty() {
                    unsent.extend_from_slice(bytes); // behind a request that is asked again
                }
            }
            (None, Some(_)) if client.is_leaving => {}
            (None, Some(_)) if is_call => client.rest.extend_from_slice(bytes),
            (None, Some((link, id))) => {
                client.backlog.extend_from_slice(bytes);
                client.give_backlog(link, id);
            }
            (Some(Finale::Close(_) | Finale::Finish | Finale::Cut { .. }), _) | (None, None) => {}
        }
    }

    /// A client's stream has room again.
    pub(crate) fn give_backlog(&mut self, place: u32) {
        if let Some((client, Some((link, id)))) = self.client(place) {
            client.give_backlog(link, id);
        }
    }

    /// Tells the owner what a client's machine has.
    pub(crate) fn answer_kernel(&mut self, place: u32) {
        if let Some((client, Some((link, id)))) = self.client(place) {
            client.answer_kernel(link, id);
        }
    }
}

impl<M: Machine> Client<M> {
    fn give_backlog(&mut self, link: &mut Link, id: u32) {
        if self.backlog.is_empty() {
            return;
        }
        if link.is_unconfirmed(id) {
            self.answer_kernel(link, id);
        }
        let room = link.room(id).min(self.backlog.len());
        let rest = self.backlog.split_off(room);
        if room > 0 {
            link.push(id, &self.backlog, false);
        }
        self.backlog = rest;
    }

    pub(crate) fn answer_kernel(&self, link: &mut Link, id: u32) {
        let socket = self.half.socket.as_fd();
        let bytes = ring::unacknowledged(socket).unwrap_or(u32::MAX);
        let round_trip_ms = ring::round_trip_us(socket).unwrap_or(0).div_ceil(1000);
        link.unacknowledged(id, bytes.into(), round_trip_ms);
    }
}
