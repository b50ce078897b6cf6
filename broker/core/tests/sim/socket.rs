//! A connection as the edge and the network have it, with its client's side, and how bytes leave on it.

use crate::sim::frames::WebSocket;
use crate::sim::reader::Reader;
use crate::sim::requests::Requests;
use crate::sim::tcp::{Arrival, Tcp, pop_front_if};
use crate::sim::wire::{Item, Placed};
use crate::sim::words::Piece;
use crate::sim::world::{Cause, World};
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Machine};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

/// A connection of the world, never used again.
pub(crate) type ConnId = usize;

/// One connection as the edge and the network have it, with its client's side.
pub(crate) struct Socket {
    pub(crate) number: ConnId,
    pub(crate) remote: SocketAddr,
    /// When it was accepted, and when its end began.
    pub(crate) opened: u64,
    pub(crate) closing: Option<u64>,
    pub(crate) shard: usize,
    pub(crate) key: SessionKey,
    pub(crate) stage: Stage,
    pub(crate) tls: bool,
    pub(crate) secured: bool,
    pub(crate) ended: bool,
    pub(crate) tcp: Tcp,
    /// Bytes that the client wrote, how many of them the machine got, and the pieces that they consist of with their
    /// ends.
    pub(crate) up: Vec<u8>,
    pub(crate) fed: usize,
    pub(crate) pieces: VecDeque<(usize, Piece)>,
    /// Begin of the first of these.
    pub(crate) next_begin: usize,
    /// Bytes that the edge took, and how many of them the kernel has; the rest is in flight.
    pub(crate) stream: Vec<u8>,
    pub(crate) sent: usize,
    /// The bytes in flight when the connection broke will never be reported.
    pub(crate) lost: bool,
    /// End of the client's reading: the next thing begins here; frames or responses.
    pub(crate) read: usize,
    pub(crate) upgraded: bool,
    pub(crate) reader: RefCell<Reader>,
    /// After which step that was, and what it held then: bytes, and how many of them are messages.
    pub(crate) looked: Cell<u64>,
    pub(crate) waits: (usize, usize),
    /// Things beside messages behind `read` that were judged already, and the payloads of the messages there.
    pub(crate) seen: usize,
    pub(crate) queued: VecDeque<String>,
    /// Messages behind `read` that were begun, each with the step of its first byte.
    pub(crate) begun: VecDeque<u64>,
    /// A `Send` is under way.
    pub(crate) asked_to_send: bool,
    /// The client does not read, and the socket has no room.
    pub(crate) stuck: bool,
    /// The client sends no more after what it wrote.
    pub(crate) fin: bool,
    /// The network broke the connection.
    pub(crate) reset: bool,
    pub(crate) role: Role,
    /// Requests and WebSocket of the connection, as read from the wire.
    pub(crate) requests: Requests,
    pub(crate) ws: Option<WebSocket>,
    /// Bytes that the kernel accepted and the peer has not acknowledged.
    pub(crate) written: VecDeque<Written>,
    /// When it was asked for that last; and how much was on the wire when its client sent no more.
    pub(crate) asked: u64,
    /// Through which byte on the wire its peer has confirmed; and since when something else is late.
    pub(crate) confirmed: usize,
    pub(crate) late: Option<u64>,
    pub(crate) over: Option<usize>,
    /// A master: since when it is reported gone.
    pub(crate) gone_told: Option<u64>,
}

/// A message that the kernel took, or a ping that proves what is before it.
pub(crate) struct Written {
    /// The end of what carries it on the wire.
    pub(crate) end: usize,
    pub(crate) at: u64,
    pub(crate) bytes: usize,
    pub(crate) payload: Option<String>,
    pub(crate) ping: Option<u32>,
}

/// The role that a client means to have, as it knows itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    #[default]
    Caller,
    Master(String),
    Viewer(String, String),
}

/// The edge's stages of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    Leaving(usize),
    Travelling,
    Closing,
    Shut,
    Over,
}

impl World {
    /// The edge sends: this many bytes, by a call that takes them at once, or by one that reports later.
    pub(crate) fn flush(&mut self, conn: ConnId, bytes: usize, launch: bool) {
        let (shard, session) = self.place(conn);
        let socket = &self.sockets[conn];
        if socket.sent < socket.stream.len() || socket.reset {
            return;
        }
        let unsent = self.shards[shard].unsent(session).to_vec();
        let bytes = bytes.min(unsent.len());
        if unsent.is_empty() {
            self.sockets[conn].asked_to_send = false;
            return;
        }
        if bytes < unsent.len() {
            self.hit("fault: partial write");
        }
        if bytes == 0 {
            return;
        }
        let items = self.take(conn, bytes);
        if launch {
            self.shards[shard].launched(session, bytes);
            self.hit("send launched");
        } else {
            self.report(conn, bytes, items);
        }
    }

    /// A launched send is over: all of it was taken, or, when the connection broke, so much of it.
    pub(crate) fn land(&mut self, conn: ConnId, if_broken: usize) {
        let socket = &self.sockets[conn];
        let flight = socket.stream.len() - socket.sent;
        let bytes = if socket.reset {
            if_broken.max(socket.tcp.ahead).min(flight)
        } else {
            flight
        };
        if bytes > 0 {
            let items = self.items(conn);
            self.report(conn, bytes, items);
        }
        self.sockets[conn].lost = bytes < flight;
    }

    /// Unsent bytes were copied out: messages among them are begun. Returns what the client has yet to read.
    pub(crate) fn take(&mut self, conn: ConnId, bytes: usize) -> Rc<Vec<Placed>> {
        let items = self.items(conn);
        let socket = &mut self.sockets[conn];
        let (shard, session) = (socket.shard, socket.key);
        let before = socket.stream.len();
        let unsent = self.shards[shard].unsent(session);
        socket.stream.extend_from_slice(&unsent[..bytes]);
        let taken = before..socket.stream.len();
        let begun = items
            .iter()
            .filter(|placed| matches!(placed.item, Item::Message { .. }))
            .filter(|placed| taken.contains(&placed.begin))
            .count();
        socket.begun.extend(std::iter::repeat_n(self.step, begun));
        items
    }

    /// The kernel has this many more of the bytes taken: the client reads them, the machine learns of it.
    pub(crate) fn report(&mut self, conn: ConnId, bytes: usize, items: Rc<Vec<Placed>>) {
        let now = self.now;
        let socket = &mut self.sockets[conn];
        let (shard, session) = (socket.shard, socket.key);
        let (on_wire, carrier) = socket.takes(bytes);
        socket.requests.taken = now;
        if let Some(ws) = &mut socket.ws {
            ws.went = now;
        }
        let mut whole = 0;
        for placed in items.iter() {
            if placed.end > socket.sent {
                break;
            }
            socket.read = placed.end;
            let (end, bytes) = (carrier(placed.end), placed.end - placed.begin);
            let mut written = Written {
                end,
                at: now,
                bytes,
                payload: None,
                ping: None,
            };
            match &placed.item {
                Item::Message { payload, .. } => {
                    whole += 1;
                    let message = Arrival::Message(payload.clone());
                    socket.tcp.under_way.push_back((end, message));
                    let begun = socket.begun.pop_front().expect("it was begun");
                    let queued = socket.queued.pop_front();
                    assert_eq!(queued.as_ref(), Some(payload), "in the order of the stream");
                    (self.ledger).delivered(conn, &socket.role, begun, payload);
                    self.calls_sent += u64::from(self.ledger.facts(payload).0);
                    socket.ws.as_mut().expect("a WebSocket").messages_out += 1;
                    written.payload = Some(payload.clone());
                    socket.written.push_back(written);
                    continue;
                }
                Item::ProofPing(number) => {
                    let ping = Arrival::Ping(*number);
                    socket.tcp.under_way.push_back((end, ping));
                    written.ping = Some(*number);
                    socket.written.push_back(written);
                }
                Item::Response(response) => socket.upgraded |= response.status == 101,
                _ => {}
            }
            socket.seen -= 1;
        }
        drop(items);
        self.trace(shard, &("sent", conn, bytes, whole));
        let input = Input::Sent {
            session,
            bytes,
            on_wire,
        };
        self.handle(shard, input, Cause::Sent(conn));
    }

    /// Everything in the stream behind what the client has read, unsent bytes included. Between two steps that is the
    /// same.
    pub(crate) fn items(&self, conn: ConnId) -> Rc<Vec<Placed>> {
        let socket = &self.sockets[conn];
        let taken = &socket.stream[socket.read..];
        let unsent = self.shards[socket.shard].queued(socket.key);
        let mut reader = socket.reader.borrow_mut();
        if socket.looked.replace(self.step) == self.step {
            return reader.things(socket.read);
        }
        reader.read(socket.read, taken, unsent, socket.upgraded)
    }
}

impl Socket {
    /// Moves on to `end` in what the client wrote: the pieces completed, and whether that is inside another one.
    pub(crate) fn advance(&mut self, end: usize) -> (Vec<Piece>, bool) {
        self.fed = end;
        let mut done = Vec::new();
        while let Some((piece_end, piece)) =
            pop_front_if(&mut self.pieces, |(piece_end, _)| *piece_end <= end)
        {
            self.next_begin = piece_end;
            done.push(piece);
        }
        (done, end > self.next_begin)
    }

    /// Whether something the client wrote has not come to the machine.
    pub(crate) fn has_more(&self) -> bool {
        self.fed < self.up.len()
    }

    /// Whether the kernel holds nothing of it.
    pub(crate) fn at_rest(&self) -> bool {
        self.lost || self.sent == self.stream.len()
    }
}
