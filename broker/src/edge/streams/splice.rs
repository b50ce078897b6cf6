//! A shard's clients whose channels are on other nodes.
//!
//! ```text
//!  Waiting ──► Link ────────────────────────────────────────► gone
//!     │           │ ended, by the owner or the link            ▲
//!     └───────────┴► close: back to the machine, or closed ────┘
//! ```
//! Such a client's connection is not in the table of connections. Its bytes are forwarded to its stream. While the
//! stream is full, they are kept here, and nothing more is read. Bytes for the client stay in the link until the
//! client's socket accepts them.

use crate::edge::connection::{Connection, NEVER, Receive, Stage, Written};
use crate::edge::io::Io;
use crate::edge::limits::{
    CALL_ANSWER_BYTES_MAX, CALL_ANSWER_MS, CLIENT_LEAVE_MS, CLIENT_LINGER_MS, CLIENT_STALL_MS,
    ENCRYPT_BYTES, LEAVING_BYTES, LINK_CONNECT_MS, UPGRADE_ANSWER_MS,
};
use crate::edge::links::{LinkEnd, link_key};
use crate::edge::{streams::Streams, tls::Piece};
use broker_core::cluster::link::Link;
use broker_core::id::NodeId;
use broker_core::machine::{Machine, PassFailure, PassedOn, Peer, StreamHome};
use broker_core::time::Now;
use codec::link::{How, Kind};
use codec::ws::close_frame;
use std::os::fd::AsFd;

/// A client that is connected to this node and served by another node, through a stream on a link.
pub(crate) struct Splice<M: Machine> {
    pub(crate) connection: Connection,
    /// The client's session. Kept until the owner has responded, in case the client returns to the state machine.
    pub(crate) parcel: Option<M::Parcel>,
    pub(crate) node: NodeId,
    pub(crate) home: StreamHome,
    pub(crate) kind: Kind,
    pub(crate) peer: Peer,
    /// Maximum size, in bytes, of TLS records sent to the client.
    record_bytes: usize,
    pub(crate) on: On,
    /// Bytes from the client that its stream could not accept yet, or that followed a call.
    pub(crate) unread: Vec<u8>,
    /// The response to the client's call, as far as it has been received.
    pub(crate) answer: Vec<u8>,
    /// Why this node detached the client from its owner, if it did.
    pub(crate) why: Option<PassFailure>,
    pub(crate) close: Option<CloseMode>,
    /// Whether this node is shutting down. No more data from the client is forwarded then.
    pub(crate) is_leaving: bool,
    /// Whether the client has made a call on a link whose node has stopped responding. Such a call must be answered
    /// within the time allowed for opening a link.
    pub(crate) is_doubtful: bool,
    /// The time when the client entered its current stage.
    pub(crate) since: Now,
}

/// A client's relation to a link.
pub(crate) enum On {
    /// Waiting for a link on which to send this request.
    Waiting(Vec<u8>),
    /// On the link and the stream with these numbers.
    Link(u32, u32),
    /// On no link, since the stream has ended.
    None,
}

/// How this node closes or returns a client.
#[derive(Debug)]
pub(crate) enum CloseMode {
    /// The link has failed, and the client is queued to be closed. It is sent a close frame with this code, or is reset
    /// if there is no code.
    Lost(Option<u16>),
    /// Return the client to the state machine with these bytes of its request. The state machine responds, or tries
    /// another owner.
    Back(PassFailure, Vec<u8>),
    /// Send all remaining bytes, followed by a close frame with this code, and then close the connection.
    Close(u16),
    /// Close the connection after everything has been sent.
    Finish,
    /// Wait for the client's FIN after sending our own.
    Linger,
    /// Close or reset the connection immediately.
    Cut {
        /// Whether to send an RST, because the client has received only part of a frame or response.
        reset: bool,
    },
}

impl<M: Machine> AsMut<Connection> for Splice<M> {
    fn as_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl<M: Machine> Splice<M> {
    /// Creates a client whose request is waiting for a link to `node`.
    pub(crate) fn new(
        connection: Connection,
        parcel: M::Parcel,
        sent: PassedOn,
        node: NodeId,
        home: StreamHome,
        now: Now,
    ) -> Self {
        let mut request = sent.bytes;
        let length = sent.call.unwrap_or(request.len()).min(request.len());
        Self {
            connection,
            parcel: Some(parcel),
            node,
            home,
            kind: sent.kind,
            peer: sent.peer,
            record_bytes: sent.record_bytes,
            unread: request.split_off(length),
            on: On::Waiting(request),
            answer: Vec::new(),
            why: None,
            close: None,
            is_leaving: false,
            is_doubtful: false,
            since: now,
        }
    }

    /// Returns whether the owner has responded.
    pub(crate) fn is_answered(&self) -> bool {
        self.parcel.is_none() || !self.answer.is_empty()
    }

    /// Returns whether the client made a call. A call's response is collected here and returned to the state machine
    /// with the client.
    pub(crate) fn is_call(&self) -> bool {
        self.kind != Kind::Upgrade
    }

    /// Returns the time at which the client times out if nothing else happens.
    fn limit(&self) -> Now {
        let span = match (&self.close, &self.on) {
            (Some(CloseMode::Linger), _) => CLIENT_LINGER_MS,
            (Some(CloseMode::Close(_)), _) => CLIENT_STALL_MS,
            (Some(CloseMode::Finish), _) if !self.is_call() => CLIENT_STALL_MS,
            // These modes need no deadline. They end when the kernel's completions arrive, or when a queued client's
            // turn comes.
            (
                Some(
                    CloseMode::Lost(_)
                    | CloseMode::Back(..)
                    | CloseMode::Finish
                    | CloseMode::Cut { .. },
                ),
                _,
            ) => {
                return NEVER;
            }
            (None, On::Waiting(_)) => LINK_CONNECT_MS,
            (None, On::Link(..)) if self.is_leaving => CLIENT_LEAVE_MS,
            (None, On::Link(..)) if !self.is_answered() && self.is_doubtful => LINK_CONNECT_MS,
            (None, On::Link(..)) if !self.is_answered() && self.is_call() => CALL_ANSWER_MS,
            (None, On::Link(..)) if !self.is_answered() => UPGRADE_ANSWER_MS,
            (None, On::Link(..) | On::None) => return NEVER,
        };
        self.since.after(span)
    }

    /// Returns the client's own deadline or the deadline for its incomplete TLS record, whichever is earlier.
    pub(crate) fn due(&self, io: &Io) -> Now {
        self.limit().min(self.connection.record_due(io))
    }

    /// Returns whether more bytes should be read from the client.
    fn reads(&self) -> bool {
        let takes = match &self.close {
            None => match self.kind {
                Kind::Upgrade => matches!(self.on, On::Link(..)) && self.unread.is_empty(),
                Kind::Call => false,
                // Keeps reading, in order to detect EOF from the caller.
                Kind::AlexaCall => self.unread.len() < LEAVING_BYTES,
            },
            Some(CloseMode::Lost(_) | CloseMode::Linger) => true, // only the client's FIN is awaited
            Some(
                CloseMode::Close(_)
                | CloseMode::Finish
                | CloseMode::Back(..)
                | CloseMode::Cut { .. },
            ) => false,
        };
        takes && !self.connection.receive.armed() && !self.connection.ended
    }

    fn write(&mut self, place: u32, bytes: &[u8], is_last: bool, io: &mut Io) -> Option<Written> {
        let piece = Piece {
            bytes,
            record_bytes: self.record_bytes,
            is_last,
        };
        let key = link_key(LinkEnd::Client(place));
        self.connection.write(key, piece, io)
    }

    /// Sends some of the bytes buffered for the client, and its TLS engine's pending output. Returns whether there was
    /// anything to send, or `None` if the connection is broken.
    fn send(&mut self, place: u32, link: Option<(&mut Link, u32)>, io: &mut Io) -> Option<bool> {
        let inbox = link.as_ref().map_or(&[][..], |(link, id)| link.inbox(*id));
        let piece = inbox.get(..inbox.len().min(ENCRYPT_BYTES))?;
        let length = piece.len();
        let Written { plain, on_wire } = self.write(place, piece, false, io)?;
        io.counts.link_bytes_to_client += length as u64;
        if let Some((link, id)) = link
            && length > 0
        {
            link.streams.took(id, length);
            if on_wire > 0 {
                link.streams.sent(id, plain, on_wire, io.turn.at().now);
            }
            self.parcel = None; // this node can no longer respond in place of the owner
        }
        Some(on_wire > 0 || self.connection.sending)
    }

    /// Continues closing a client to which everything else has been sent: sends a close frame, and then the TLS
    /// close_notify. Returns whether the kernel has accepted both.
    pub(crate) fn say_end(&mut self, place: u32, io: &mut Io) -> bool {
        let mut frame = Vec::new();
        if let Some(CloseMode::Close(code)) = self.close {
            self.close = Some(CloseMode::Finish);
            close_frame(&mut frame, code, "Going away");
        }
        if self.write(place, &frame, true, io).is_none() {
            self.close = Some(CloseMode::Cut { reset: true });
            return false;
        }
        !self.connection.sending
    }

    /// Forwards as many of the client's unread bytes as its stream accepts and, once there are none left, EOF.
    pub(crate) fn give_unread(&mut self, link: &mut Link, id: u32) {
        if !self.is_call() && !self.unread.is_empty() {
            if link.streams.is_unconfirmed(id) {
                self.answer_kernel(link, id);
            }
            let room = link.streams.room(id).min(self.unread.len());
            let rest = self.unread.split_off(room);
            if room > 0 {
                link.streams.push(id, &self.unread, false);
            }
            self.unread = rest;
        }
        if self.connection.ended && (self.is_call() || self.unread.is_empty()) {
            link.streams.end(id, How::Fin);
        }
    }

    /// Reports how many bytes the client has not acknowledged, and then resets its stream.
    pub(crate) fn reset_stream(&self, link: &mut Link, id: u32) {
        self.answer_kernel(link, id);
        link.streams.end(id, How::Reset);
    }

    /// Tells the owner how many bytes the client has not acknowledged, unless this side has reset the connection. After
    /// a reset, the kernel considers all bytes acknowledged, so the report must come first.
    pub(crate) fn answer_kernel(&self, link: &mut Link, id: u32) {
        if self.connection.stage == Stage::Shut {
            return;
        }
        let bytes = self.connection.unacknowledged();
        link.streams
            .unacknowledged(id, bytes.into(), self.connection.round_trip_ms());
    }
}

/// A client and, if it is on a link, the link and the stream's id.
type OnLink<'a, M> = (&'a mut Splice<M>, Option<(&'a mut Link, u32)>);

impl<M: Machine> Streams<M> {
    /// Returns a client and, if it is on a link, the link and the stream's id. Schedules the link to be served at the
    /// end of the loop iteration.
    pub(crate) fn client(&mut self, place: u32) -> Option<OnLink<'_, M>> {
        let client = self.clients.get_mut(place)?;
        let link = match client.on {
            On::Link(link, id) => {
                self.wires.touch(link);
                self.wires
                    .get_mut(link)
                    .and_then(|it| Some((it.link()?, id)))
            }
            On::Waiting(_) | On::None => None,
        };
        Some((client, link))
    }

    /// Sends the bytes buffered for a client, or collects them if they respond to a call. Returns `false` if the
    /// client's connection is broken, or the response is too long.
    pub(crate) fn flush_client(&mut self, place: u32, io: &mut Io) -> bool {
        if let Some((client, Some((link, id)))) = self.client(place)
            && client.is_call()
        {
            let inbox = link.inbox(id);
            let length = inbox.len();
            if length > 0 {
                client.answer.extend_from_slice(inbox);
                io.counts.link_bytes_to_client += length as u64;
                link.streams.took(id, length);
                link.streams.sent(id, length, length, io.turn.at().now);
                link.streams.unacknowledged(id, 0, 0); // this node delivers the response itself
            }
            return client.answer.len() <= CALL_ANSWER_BYTES_MAX;
        }
        while let Some((client, link)) = self.client(place)
            && !client.connection.sending
        {
            match client.send(place, link, io) {
                None => return false,
                Some(true) => {}
                Some(false) => break,
            }
        }
        true
    }

    /// Arms a client's receive if more should be read, and sets the client's next deadline.
    pub(crate) fn watch_client(&mut self, place: u32, io: &mut Io) {
        let Some(client) = self.clients.get_mut(place) else {
            return;
        };
        let reads = client.reads();
        let connection = &mut client.connection;
        if reads {
            connection.receive = Receive::Once;
            let key = link_key(LinkEnd::Client(place));
            io.ring.receive_once(connection.socket.as_fd(), key);
        } else if !connection.receive.armed()
            && let Some(tls) = &mut connection.tls
        {
            tls.pause();
        }
        let due = client.due(io);
        self.clients.serve_by(place, due);
    }

    /// Takes the request of a client that is waiting for a link. Afterwards, the client no longer counts as waiting.
    pub(crate) fn take_request(&mut self, place: u32) -> Vec<u8> {
        let Some(client) = self.clients.get_mut(place) else {
            return Vec::new();
        };
        let On::Waiting(request) = &mut client.on else {
            return Vec::new();
        };
        let request = std::mem::take(request);
        client.on = On::None;
        self.waiting.leave(place);
        self.waiting_bytes -= request.len();
        request
    }
}
