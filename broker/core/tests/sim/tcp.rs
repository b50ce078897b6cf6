//! TCP between our kernel and the machines of clients: bytes arrive late, in part or never, and so do acknowledgements;
//! hosts are cut off, and come back by the same connection, by another one, or not at all.

use crate::sim::gauges::Known;
use crate::sim::socket::{ConnId, Role, Socket, Stage, Written};
use crate::sim::words::Piece;
use crate::sim::world::{Cause, World};
use broker_core::machine::{Input, Machine};
use std::collections::VecDeque;

/// One connection's bytes on the wire, from us to the client.
#[derive(Default)]
pub(crate) struct Tcp {
    /// Bytes that the kernel took and the edge reported, and those that it took of a send under way.
    pub(crate) wire: usize,
    pub(crate) ahead: usize,
    /// Bytes of these that the client's machine has, and those of which the kernel knows that.
    arrived: usize,
    acked: usize,
    /// What the kernel took and that has not arrived, with the ends of what carries it.
    pub(crate) under_way: VecDeque<(usize, Arrival)>,
    /// Nothing comes through, in either direction.
    pub(crate) cut: bool,
    round_trip_ms: u32,
}

/// What a client gets.
pub(crate) enum Arrival {
    /// A message, by its payload.
    Message(String),
    /// A ping whose pong proves, with its number.
    Ping(u32),
}

/// Bytes that TLS adds to what is sent at once.
const RECORD_BYTES: usize = 22;

/// After that a message that is not confirmed makes its recipient doubtful, by the slowest networks here.
const DOUBT_MS: u64 = 8_000;

/// Time after a standstill in which what is read may have come meanwhile.
const HELD_MS: u64 = 2_000;

impl Tcp {
    /// Bytes of which the kernel does not know that the peer has them.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.wire.saturating_sub(self.acked)
    }

    /// A connection over some distance.
    pub(crate) fn begins(random: &mut fastrand::Rng) -> Self {
        Self {
            round_trip_ms: [0, 0, 40, 300, 2_000][random.usize(0..5)],
            ..Self::default()
        }
    }
}

impl Socket {
    /// Whether what its client sends comes here.
    pub(crate) fn is_heard(&self) -> bool {
        !self.tcp.cut || self.reset
    }

    /// The kernel took this many bytes more of the stream: those on the wire for them, and for a place in the stream
    /// the end of what carries it.
    pub(crate) fn takes(&mut self, bytes: usize) -> (usize, impl Fn(usize) -> usize + use<>) {
        self.sent += bytes;
        let on_wire = bytes + if self.tls { RECORD_BYTES } else { 0 };
        self.tcp.wire += on_wire;
        self.tcp.ahead = 0;
        let (tls, sent, wire) = (self.tls, self.sent, self.tcp.wire);
        let carrier = move |end: usize| if tls { wire } else { wire - (sent - end) };
        (on_wire, carrier)
    }
}

impl World {
    /// The edge looks what a client's machine has, as it was asked to.
    pub(crate) fn say_unacknowledged(&mut self, conn: ConnId) {
        self.arrive(conn, false);
        let bytes = self.unacknowledged(conn);
        let (shard, session) = self.place(conn);
        let round_trip_ms = self.sockets[conn].tcp.round_trip_ms;
        self.trace(shard, &("unacknowledged", conn, bytes));
        self.sockets[conn].asked = self.now;
        self.acknowledged(conn, bytes);
        let told = Input::Unacknowledged {
            session,
            bytes: u32::try_from(bytes).expect("little"),
            round_trip_ms,
        };
        self.handle(shard, told, Cause::Known(conn));
    }

    /// Where TCP is the proof: all that is on the wire is confirmed but the last `bytes`, and what came after its
    /// client said that it sends no more, which its program does not read.
    pub(crate) fn acknowledged(&mut self, conn: ConnId, bytes: usize) {
        if self.by_pong() {
            return;
        }
        let sure = self.confirms_exactly(conn);
        let socket = &mut self.sockets[conn];
        let through = socket.tcp.wire.saturating_sub(bytes);
        let through = socket.over.map_or(through, |over| through.min(over));
        if through > socket.confirmed {
            (socket.confirmed, socket.late) = (through, None);
        }
        let known =
            std::iter::from_fn(|| pop_front_if(&mut socket.written, |one| one.end <= through));
        let acknowledged = known.filter_map(|one| one.payload).collect();
        let first = socket.written.iter().find(|one| one.payload.is_some());
        // Nothing is judged before what came while the process stood still is read.
        let (_, over) = self.standstill;
        let is_judged = |at: u64| over + HELD_MS <= self.now || over < at;
        let is_late = first.is_some_and(|one| one.at + DOUBT_MS <= self.now && is_judged(one.at));
        socket.late = is_late.then(|| socket.late.unwrap_or(self.now));
        self.known = Known {
            conn,
            acknowledged,
            sure,
        };
        self.acknowledged_is_there();
    }

    /// Where a pong is the proof: it confirms all before its ping.
    pub(crate) fn proved(&mut self, conn: ConnId, payload: &[u8]) {
        let sure = self.confirms_exactly(conn);
        let socket = &mut self.sockets[conn];
        let same = |number: u32| number.to_be_bytes() == *payload;
        let ping = |one: &Written| one.ping.is_some_and(same);
        let Some(place) = socket.written.iter().position(ping) else {
            return;
        };
        let known = socket.written.drain(..=place);
        let more = known.filter_map(|one| one.payload);
        self.known.acknowledged.extend(more);
        (self.known.conn, self.known.sure) = (conn, sure);
        self.acknowledged_is_there();
    }

    /// What is acknowledged, its recipient's machine has.
    fn acknowledged_is_there(&self) {
        let Known {
            conn, acknowledged, ..
        } = &self.known;
        for payload in acknowledged {
            let mut under_way = self.sockets[*conn].tcp.under_way.iter();
            let same =
                |other: &Arrival| matches!(other, Arrival::Message(other) if other == payload);
            let arrived = under_way.all(|(_, other)| !same(other));
            assert!(arrived || self.is_scripted(), "{conn} never got {payload}");
        }
    }

    /// A client sends no more.
    pub(crate) fn is_over(&mut self, conn: ConnId) {
        let socket = &mut self.sockets[conn];
        socket.over.get_or_insert(socket.tcp.wire);
    }

    /// Bytes of messages that the kernel took and that are not known to be there.
    pub(crate) fn unacknowledged_bytes(&self, conn: ConnId) -> usize {
        let messages = self.sockets[conn].written.iter();
        let messages = messages.filter(|one| one.payload.is_some());
        messages.map(|one| one.bytes).sum()
    }

    /// Whether all that its peer has is counted as confirmed: it has its slot, and had it all the time.
    pub(crate) fn confirms_exactly(&self, conn: ConnId) -> bool {
        let socket = &self.sockets[conn];
        let lost = socket.ws.as_ref().is_none_or(|ws| ws.lost);
        let unproved = self.gauges[socket.shard].unproved() > 0;
        let copies = self.settings.signaling.repeat_offers_ms > 0 || self.is_scripted();
        let open = self.holds_slot(conn) && self.is_member(conn) && socket.over.is_none();
        open && !lost && !unproved && !copies
    }

    /// Bytes that the kernel holds without an acknowledgement; our own end is one. A proxy has acknowledged all.
    pub(crate) fn unacknowledged(&mut self, conn: ConnId) -> usize {
        if self.by_pong() {
            return 0;
        }
        let socket = &self.sockets[conn];
        let tcp = &socket.tcp;
        let left = tcp.wire + tcp.ahead - tcp.acked;
        let unsent = self.shards[socket.shard].unsent(socket.key);
        let ended = socket.stage == Stage::Closing && socket.at_rest() && unsent.is_empty();
        left + usize::from(ended && (left > 0 || self.random.bool()))
    }

    /// The network does its work: bytes arrive and are acknowledged, all of them or some.
    pub(crate) fn arrive(&mut self, conn: ConnId, all: bool) {
        let socket = &mut self.sockets[conn];
        let flight = socket.stream.len() - socket.sent;
        let tcp = &mut socket.tcp;
        if !tcp.cut && !socket.reset {
            let mut some = |from: usize, to: usize| match self.random.u32(0..4) {
                0 if !all => self.random.usize(from..=to),
                _ => to,
            };
            tcp.ahead = some(tcp.ahead, flight);
            tcp.arrived = some(tcp.arrived, tcp.wire + tcp.ahead);
            tcp.acked = some(tcp.acked, tcp.arrived);
        }
        let arrived = tcp.arrived;
        let mut pings = Vec::new();
        while let Some((_, arrival)) = pop_front_if(&mut tcp.under_way, |(end, _)| *end <= arrived)
        {
            if let Arrival::Ping(number) = arrival {
                pings.push(number);
            }
        }
        let answers = socket.writes() && !socket.stuck;
        for number in pings.into_iter().filter(|_| answers) {
            self.write(conn, Piece::Pong(number.to_be_bytes().to_vec()));
        }
    }

    /// A host is cut off, with all its connections. Some come at once by another network.
    pub(crate) fn cut_some_off(&mut self) {
        let found = self.pick(|socket| socket.upgraded && socket.has_session() && !socket.tcp.cut);
        let Some(conn) = found else { return };
        self.hit("fault: host cut off");
        let role = self.sockets[conn].role.clone();
        let own = self.sockets.iter_mut().filter(|socket| socket.role == role);
        own.for_each(|socket| socket.tcp.cut = true);
        if !self.sockets[conn].at_rest() {
            self.hit("fault: host cut off with bytes in flight");
        }
        if self.random.bool() {
            self.connect_as(role);
        }
    }

    /// A client vanishes without a word, in whatever it was doing: this connection of it stays, and nothing comes
    /// through on it any more. Some come back at once by another one. The old one ends by a time limit of ours, by a
    /// reset ([`Self::mend_some`]), or lasts beside its successor.
    pub(crate) fn half_open_some(&mut self) {
        let Some(conn) = self.pick(|socket| socket.has_session() && !socket.tcp.cut) else {
            return;
        };
        self.sockets[conn].tcp.cut = true;
        let socket = &self.sockets[conn];
        let (in_flight, role) = (!socket.at_rest(), socket.role.clone());
        self.hit(match socket.stage {
            Stage::Closing | Stage::Shut => "fault: half open while it closes",
            _ if !socket.upgraded => "fault: half open before its upgrade",
            _ => "fault: half open",
        });
        if in_flight {
            self.hit("fault: half open with bytes in flight");
        }
        if role != Role::Caller && self.random.bool() {
            self.connect_as(role);
        }
    }

    /// A host is back. Its connections go on, or are reset, or come from an address that it has no more.
    pub(crate) fn mend_some(&mut self) {
        let Some(conn) = self.pick(|socket| socket.tcp.cut && socket.has_session()) else {
            return;
        };
        let role = self.sockets[conn].role.clone();
        for conn in 0..self.sockets.len() {
            let socket = &mut self.sockets[conn];
            if socket.role != role || !socket.tcp.cut || !socket.has_session() {
                continue;
            }
            match self.random.u32(0..3) {
                0 => {
                    socket.tcp.cut = false;
                    self.hit("fault: connection outlives a cut");
                }
                1 => self.reset(conn),
                _ => {}
            }
        }
    }
}

/// Takes the first element if it is as wanted.
pub(crate) fn pop_front_if<T>(queue: &mut VecDeque<T>, is: impl FnOnce(&T) -> bool) -> Option<T> {
    let is_first = queue.front().is_some_and(is);
    is_first.then(|| queue.pop_front()).flatten()
}
