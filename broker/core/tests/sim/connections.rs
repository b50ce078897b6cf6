//! The life of connections: they come, write, end, and go to their channel's home.

use crate::sim::letters::Post;
use crate::sim::requests::{Request, Requests};
use crate::sim::socket::{ConnId, Role, Socket, Stage};
use crate::sim::tcp::Tcp;
use crate::sim::words::{Call, Piece};
use crate::sim::world::{Cause, World};
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Intake, Machine, Peer};
use broker_core::shard::Parcel;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

impl World {
    /// A client connects; `None` when the shard has no room.
    pub(crate) fn connect(&mut self, shard: usize, tls: bool, role: Role) -> Option<ConnId> {
        let network = self.sockets.len() % self.networks;
        let network = u8::try_from(network).expect("few");
        let port = 1024 + u16::try_from(self.sockets.len()).expect("few");
        let peer = Peer {
            remote: ([127, 0, network, 1], port).into(),
            listener: u16::from(tls),
            tls,
            inner: false,
        };
        let room = self.shards[shard].has_room();
        let at = self.at();
        let key = self.shards[shard].open(peer, at);
        assert_eq!(room, key.is_some(), "a machine with room opens");
        let Some(key) = key else {
            self.hit("fault: session table full");
            return None;
        };
        let conn = self.sockets.len();
        let taken = self.keys[shard].insert(key, conn);
        assert!(taken.is_none(), "a key is given once");
        self.sockets.push(Socket {
            number: conn,
            remote: peer.remote,
            opened: self.now,
            closing: None,
            shard,
            key,
            stage: Stage::Open,
            tls,
            secured: !tls,
            ended: false,
            tcp: Tcp::begins(&mut self.random),
            up: Vec::new(),
            fed: 0,
            pieces: VecDeque::new(),
            next_begin: 0,
            stream: Vec::new(),
            sent: 0,
            lost: false,
            read: 0,
            upgraded: false,
            reader: RefCell::default(),
            looked: Cell::default(),
            waits: (0, 0),
            seen: 0,
            queued: VecDeque::new(),
            begun: VecDeque::new(),
            asked_to_send: false,
            stuck: false,
            fin: false,
            reset: false,
            role,
            requests: Requests {
                answered: self.now,
                taken: self.now,
                ..Requests::default()
            },
            ws: None,
            written: VecDeque::new(),
            asked: 0,
            confirmed: 0,
            late: None,
            over: None,
            gone_told: None,
        });
        self.after(shard, Cause::Operator);
        Some(conn)
    }

    /// The TLS handshake ends.
    pub(crate) fn secure(&mut self, conn: ConnId) {
        let (shard, session) = self.place(conn);
        self.sockets[conn].secured = true;
        self.sockets[conn].requests.answered = self.now;
        self.handle(shard, Input::Secured { session }, Cause::Of(conn));
    }

    /// The machine gets this many of the bytes that the client wrote. A violation is the last thing in its read.
    pub(crate) fn feed(&mut self, conn: ConnId, bytes: usize) {
        let (shard, session) = self.place(conn);
        if self.shards[shard].intake(session) == Intake::Paused {
            self.hit("intake paused");
            if self.sockets[conn].reset {
                self.end(conn); // a paused connection has nothing armed that would wait for its turn
            }
            return;
        }
        let socket = &mut self.sockets[conn];
        let mut end = socket.fed.saturating_add(bytes).min(socket.up.len());
        let mut begin = socket.fed;
        for (piece_end, piece) in &socket.pieces {
            if matches!(piece, Piece::Bad(..)) && begin < end {
                end = *piece_end;
                break;
            }
            begin = *piece_end;
        }
        let mut bytes = socket.up[socket.fed..end].to_vec();
        if bytes.is_empty() {
            return;
        }
        let (pieces, partial) = socket.advance(end);
        self.trace(shard, &("feed", conn, &pieces, partial));
        if self.sockets[conn].ws.is_some() {
            self.frames_came(conn, pieces, partial);
        } else {
            self.requests_came(conn, pieces, partial);
        }
        let input = Input::Received {
            session,
            bytes: &mut bytes,
        };
        self.handle(shard, input, Cause::Of(conn));
    }

    /// Bytes came that completed these requests, and perhaps begin another one.
    fn requests_came(&mut self, conn: ConnId, pieces: Vec<Piece>, partial: bool) {
        let (at, since) = (self.now, self.step);
        for piece in &pieces {
            if let Piece::Body(Call::Alexa(offer)) = piece {
                self.ledger.call_came(offer, (since, at));
            }
        }
        let requests = &mut self.sockets[conn].requests;
        if requests.closes {
            return;
        }
        let begun = requests.begun.filter(|_| pieces.is_empty());
        requests.begun = partial.then(|| begun.unwrap_or(at));
        let came = pieces.into_iter();
        let came = came.map(|piece| Request { piece, at, since });
        requests.waiting.extend(came);
    }

    /// The peer will send no more.
    pub(crate) fn end(&mut self, conn: ConnId) {
        let (shard, session) = self.place(conn);
        if std::mem::replace(&mut self.sockets[conn].ended, true) {
            return;
        }
        self.trace(shard, &("ended", conn));
        self.is_over(conn);
        self.handle(shard, Input::Ended { session }, Cause::Of(conn));
    }

    /// The descriptor is free.
    pub(crate) fn bury(&mut self, conn: ConnId) {
        let (shard, session) = self.place(conn);
        self.arrive(conn, false);
        let unacknowledged = self.unacknowledged(conn);
        self.trace(shard, &("gone", conn, unacknowledged));
        self.acknowledged(conn, unacknowledged);
        self.known.sure = false;
        self.sockets[conn].stage = Stage::Over;
        self.keys[shard].remove(&session);
        self.gone = self.sockets[conn].ws.as_ref().map(|_| conn);
        let asked = self.shards[shard].is_unconfirmed(session);
        let unacknowledged = u32::try_from(unacknowledged).expect("little");
        let input = Input::Gone {
            session,
            unacknowledged: if asked { unacknowledged } else { 0 },
        };
        self.handle(shard, input, Cause::Known(conn));
        let fine = self.shards[shard].unsent(session).is_empty();
        assert!(fine, "a stale key finds nothing");
        assert_eq!(self.shards[shard].intake(session), Intake::Paused);
    }

    /// A connection leaves for its channel's home, or finds the mailbox full.
    pub(crate) fn hand_over(&mut self, conn: ConnId, to: usize, refused: bool) {
        let (shard, session) = self.place(conn);
        let parcel = self.shards[shard].release(session);
        self.keys[shard].remove(&session);
        let socket = &mut self.sockets[conn];
        if socket.reset {
            // Its unsent messages are lost; the new session begins with nothing unsent.
            (socket.sent, socket.read, socket.seen) = (socket.stream.len(), socket.stream.len(), 0);
            socket.lost = false;
        }
        self.after(shard, Cause::Operator);
        if !refused {
            self.sockets[conn].stage = Stage::Travelling;
            self.mail[to].push_back(Post::Handover(parcel, conn));
            return self.hit("handover");
        }
        self.hit("fault: handover refused");
        let at = self.at();
        let session = self.shards[shard].bounce(parcel, at);
        self.settle_in(conn, shard, session);
        self.after(shard, Cause::Letter);
    }

    pub(crate) fn adopt(&mut self, shard: usize, parcel: Box<Parcel>, conn: ConnId) {
        if !self.shards[shard].has_room() {
            self.hit("fault: no room for an adopted connection");
            self.sockets[conn].stage = Stage::Over;
            return;
        }
        if self.sockets[conn].reset {
            self.hit("fault: connection lost during its handover");
        }
        self.trace(shard, &("adopt", conn));
        let at = self.at();
        let session = self.shards[shard].adopt(parcel, at);
        self.settle_in(conn, shard, session);
        self.after(shard, Cause::Letter);
    }

    pub(crate) fn settle_in(&mut self, conn: ConnId, shard: usize, session: SessionKey) {
        let taken = self.keys[shard].insert(session, conn);
        assert!(taken.is_none(), "a key is given once");
        let socket = &mut self.sockets[conn];
        (socket.shard, socket.key, socket.stage) = (shard, session, Stage::Open);
        socket.asked_to_send = false;
    }
}
