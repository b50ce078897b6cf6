//! A shard's client connections: their pending work, armed operations, deadlines, and aborts.
//!
//! This module sends no bytes, and passes none to the state machine. `connection.rs` defines the connection type,
//! `table.rs` the table of connections. `eviction.rs` selects the connections to evict.

use crate::edge::connection::{Connection, Deadlines, NEVER, Receive, Stage, ring_key};
use crate::edge::limits::{BUFFERS_PER_PEER, OVERDUE_PER_TURN, REARMS_PER_TURN, WORK_PER_BUFFER};
use crate::edge::table::{Table, Transport};
use crate::edge::{counters::EdgeCounts, io::Io, tls::Held};
use broker_core::machine::{Intake, Machine};
use broker_core::{address_shares::Crowd, id::SessionKey};
use ring::Ring;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::AsFd;

/// A shard's client connections, keyed by the session keys that the state machine assigns.
#[derive(Default)]
pub(crate) struct Connections {
    pub(crate) table: Table,
    /// Sessions to flush at the end of this loop iteration, without duplicates.
    pub(crate) touched: Vec<SessionKey>,
    /// Connections whose receive must be rearmed, in order.
    listed: VecDeque<SessionKey>,
    /// Bytes received on connections that are about to leave this shard. They move with the connection. Nearly always
    /// empty.
    pub(crate) unread: BTreeMap<SessionKey, Vec<u8>>,
    pub(crate) deadlines: Deadlines<SessionKey>,
    /// Connections that the state machine has not admitted, grouped by address.
    pub(crate) guests: Crowd<SessionKey>,
    /// Handshakes in progress, grouped by address.
    pub(crate) shaking: Crowd<SessionKey>,
    /// Proxied connections whose client is not known yet.
    ///
    /// Until the PROXY protocol header is complete, such a connection is not counted toward any address and has no TLS
    /// engine. It times out after `[timeouts] tls`, like a TLS handshake. Bytes that follow the header are processed as
    /// one of the iteration's handshake steps. For each connection, stores whether TLS follows the header, and the
    /// bytes received so far: at most one header and one receive.
    pub(crate) unnamed: BTreeMap<SessionKey, (bool, Vec<u8>)>,
}

impl Connections {
    pub(crate) fn is_empty(&self) -> bool {
        self.table.sockets() == 0
    }

    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        self.table.keys()
    }

    /// Returns a session's connection. See [`Table::get`].
    #[inline]
    pub(crate) fn get(&self, session: SessionKey) -> Option<&Connection> {
        self.table.get(session)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, session: SessionKey) -> Option<&mut Connection> {
        self.table.get_mut(session)
    }

    /// Adds a connection under its session's key.
    pub(crate) fn insert(&mut self, session: SessionKey, connection: Connection, io: &mut Io) {
        if let Some(tls) = &connection.tls {
            io.counts.handshaking += u64::from(tls.handshaking());
        }
        self.table.insert(session, Transport::Socket(connection));
        self.recharge(session, &mut io.counts);
        self.limit_record(session, io);
        io.counts.connections = self.table.sockets() as u64;
    }

    /// Removes a connection, on which no operation may be armed.
    pub(crate) fn remove(
        &mut self,
        session: SessionKey,
        counts: &mut EdgeCounts,
    ) -> Option<Connection> {
        if let Some(connection) = self.table.get_mut(session) {
            self.deadlines.set(session, connection, NEVER);
        }
        self.settle_guest(session);
        self.unread.remove(&session);
        counts.proxy_headers.incomplete += u64::from(self.unnamed.remove(&session).is_some());
        let mut connection = self.table.remove(session)?;
        debug_assert!(
            connection.at_rest(),
            "the kernel still holds something of it"
        );
        if let Some(tls) = &mut connection.tls {
            let before = tls.discharge();
            counts.count_held(before, Held::default());
            counts.handshaking -= u64::from(connection.handshaking());
        }
        self.shaking.leave(session);
        counts.connections = self.table.sockets() as u64;
        debug_assert!(
            !self.is_empty()
                || (self.guests.is_empty()
                    && self.shaking.is_empty()
                    && self.unread.is_empty()
                    && self.deadlines.next().is_none()),
            "of who is gone nothing is kept"
        );
        Some(connection)
    }

    /// Moves a connection to a later stage. Ignores requests for an earlier one: a closing connection can no longer
    /// leave, and a shut connection stays shut.
    pub(crate) fn restage(&mut self, session: SessionKey, to: Stage, io: &Io) {
        let Some(connection) = self.table.get_mut(session) else {
            return;
        };
        if matches!(
            (connection.stage, to),
            (Stage::Open, Stage::Leaving(_) | Stage::Closing) | (Stage::Leaving(_), Stage::Closing)
        ) {
            connection.stage = to;
            if let Stage::Leaving(_) = to {
                let due = io.turn.at().now.after(io.settings.leaving_ms);
                self.deadlines.set(session, connection, due);
            }
            self.touch(session);
        }
    }

    /// Schedules a session to be flushed in this iteration, whatever its transport.
    #[inline]
    pub(crate) fn touch(&mut self, session: SessionKey) {
        let dirty = match self.table.transport(session) {
            Some(Transport::Socket(connection)) => &mut connection.dirty,
            Some(Transport::Stream(stream)) => &mut stream.dirty,
            None => return,
        };
        if !std::mem::replace(dirty, true) {
            self.touched.push(session);
        }
    }

    /// Appends a connection to the rearm queue if its receive has ended.
    pub(crate) fn list(&mut self, session: SessionKey) {
        if let Some(connection) = self.table.get_mut(session)
            && connection.receive == Receive::Idle
        {
            connection.receive = Receive::Listed;
            self.listed.push_back(session);
        }
    }

    /// Returns whether any connection must be flushed or rearmed.
    pub(crate) fn has_work(&self) -> bool {
        !self.touched.is_empty() || !self.listed.is_empty()
    }
}

// Reading: arms and cancels receives, and enforces each peer's share of a loop iteration.

impl Connections {
    /// Ensures that a connection is being read if it should be. Afterwards, its receive is armed, queued or paused, or
    /// the connection is waiting to be closed.
    ///
    /// Must be called after every change that may affect this. Otherwise, an open connection could end up with a
    /// receive that is neither armed nor queued nor paused, and would never be read again.
    pub(crate) fn watch<M: Machine>(&mut self, session: SessionKey, machine: &M, ring: &mut Ring) {
        let Some(connection) = self.table.get_mut(session) else {
            return;
        };
        let wanted = match connection.stage {
            Stage::Open if connection.ended => return,
            Stage::Open if connection.handshaking() => Intake::Once,
            Stage::Open => machine.intake(session),
            Stage::Lingering if !connection.ended => Intake::Once,
            Stage::Leaving(_) => Intake::Paused,
            Stage::Closing | Stage::Lingering | Stage::Shut => return,
        };
        if wanted == Intake::Paused
            && let Some(tls) = &mut connection.tls
        {
            tls.pause();
        }
        let socket = connection.socket.as_fd();
        let key = ring_key(session);
        match (wanted, connection.receive) {
            (Intake::Once, Receive::Idle) => {
                ring.receive_once(socket, key);
                connection.receive = Receive::Once;
            }
            (Intake::Many, Receive::Idle) => {
                if connection.is_calm() {
                    ring.receive_many(socket, key);
                    connection.receive = Receive::Many;
                } else {
                    ring.receive_once(socket, key);
                    connection.receive = Receive::Once;
                }
                self.settle_guest(session);
            }
            (Intake::Paused, Receive::Once | Receive::Many) => {
                ring.cancel_receive(socket, key);
                connection.receive = Receive::Cancelling;
            }
            (Intake::Paused, Receive::Idle)
            | (Intake::Once | Intake::Many, Receive::Once | Receive::Many)
            | (_, Receive::Listed | Receive::Queued | Receive::Cancelling) => {}
        }
    }

    /// Rearms some of the queued receives. Called once this iteration's buffers have all been returned.
    pub(crate) fn rearm_some<M: Machine>(&mut self, machine: &M, ring: &mut Ring) {
        for _ in 0..self.listed.len().min(REARMS_PER_TURN) {
            let Some(session) = self.listed.pop_front() else {
                return;
            };
            if let Some(connection) = self.get_mut(session)
                && connection.receive == Receive::Listed
            {
                connection.receive = Receive::Idle;
                self.watch(session, machine, ring);
            }
        }
    }

    /// Charges a peer for one receive buffer and for the work that its messages have caused. Many small messages can
    /// cost as much as several buffers.
    #[inline]
    pub(crate) fn charge(&mut self, session: SessionKey, work: u64, io: &mut Io) {
        let more = u8::try_from(work / WORK_PER_BUFFER).unwrap_or(u8::MAX);
        let turn = io.turn.number();
        if let Some(connection) = self.get_mut(session) {
            if connection.turn != turn {
                (connection.turn, connection.taken) = (turn, 0);
            }
            connection.taken = connection.taken.saturating_add(more.saturating_add(1));
            if connection.taken >= BUFFERS_PER_PEER {
                self.cap(session, io);
            }
        }
    }

    /// Cancels the receive of a peer that has used up its share of this iteration. All other peers are rearmed first.
    pub(crate) fn cap(&mut self, session: SessionKey, io: &mut Io) {
        if let Some(connection) = self.get_mut(session)
            && connection.receive == Receive::Many
        {
            io.counts.capped += 1;
            connection.receive = Receive::Cancelling;
            let socket = connection.socket.as_fd();
            io.ring.cancel_receive(socket, ring_key(session));
        }
    }
}

// The edge's own deadlines.
//
// The state machine tracks session deadlines, and requests aborts. The edge tracks two deadlines that the state machine
// cannot see: the deadline for an incomplete TLS record, and the deadline for a connection that has been handed over
// but cannot leave. As a result, every stage ends:
//
// | stage | ended by |
// |---|---|
// | open | the state machine's deadline for the session's state; `EdgeSettings::record_ms` for an incomplete record |
// | leaving | `EdgeSettings::leaving_ms`; the state machine has already released the session |
// | closing, lingering | the state machine's deadline for closing the session |
// | shut | itself: operations on a socket that is shut down complete immediately |

/// Puts a processed list back, so that its allocation is reused. Keeps any entries added in the meantime.
pub(crate) fn keep<T>(list: &mut Vec<T>, mut done: Vec<T>) {
    done.append(list);
    *list = done;
}

impl Connections {
    /// Sets a deadline for a connection's incomplete TLS record, measured from the record's first byte.
    pub(crate) fn limit_record(&mut self, session: SessionKey, io: &Io) {
        if let Some(connection) = self.table.get_mut(session)
            && connection.stage == Stage::Open
        {
            let due = connection.record_due(io).min(connection.due);
            self.deadlines.set(session, connection, due);
        }
    }

    /// Aborts connections whose deadline has passed.
    pub(crate) fn end_overdue(&mut self, io: &mut Io) {
        let now = io.turn.at().now;
        for _ in 0..OVERDUE_PER_TURN {
            let late = self.deadlines.next().filter(|(due, _)| *due <= now);
            let Some((_, session)) = late else { return };
            self.end_if_late(session, io);
        }
    }

    /// Aborts a connection whose deadline has passed, unless the deadline has been moved.
    fn end_if_late(&mut self, session: SessionKey, io: &mut Io) {
        let Some(connection) = self.table.get_mut(session) else {
            return;
        };
        self.deadlines.set(session, connection, NEVER);
        let late = match connection.stage {
            Stage::Leaving(_) => true,
            Stage::Open => connection.record_due(io) <= io.turn.at().now,
            Stage::Closing | Stage::Lingering | Stage::Shut => false,
        };
        if late {
            io.counts.overdue += 1;
            self.cut(session, &mut io.counts);
        } else {
            self.limit_record(session, io);
        }
    }
}

// Aborting connections.

impl Connections {
    /// Aborts a connection at the state machine's request, because its session's deadline has passed.
    pub(crate) fn abort(&mut self, session: SessionKey, counts: &mut EdgeCounts) {
        self.give_up_handshake(session, GivenUp::Late, counts);
        self.cut(session, counts);
    }

    /// Shuts down a connection without sending anything more. Operations in flight complete later.
    pub(crate) fn cut(&mut self, session: SessionKey, counts: &mut EdgeCounts) {
        self.give_up_handshake(session, GivenUp::Failed, counts);
        let Some(connection) = self.get_mut(session) else {
            return;
        };
        if connection.stage != Stage::Shut {
            connection.stage = Stage::Shut;
            connection.shut(false);
            if let Some(tls) = &mut connection.tls {
                tls.let_go();
            }
            self.recharge(session, counts); // a connection that is closing no longer counts against others
            self.settle_guest(session);
        }
        self.touch(session);
    }

    /// Abandons the handshake of a connection that is being closed, if one is in progress.
    pub(crate) fn give_up_handshake(
        &mut self,
        session: SessionKey,
        why: GivenUp,
        counts: &mut EdgeCounts,
    ) {
        let connection = self.get_mut(session);
        let Some(tls) = connection.and_then(|connection| connection.tls.as_mut()) else {
            return;
        };
        if tls.give_up() {
            self.handshake_over(session, counts);
            match why {
                GivenUp::Failed => counts.handshakes.failed += 1,
                GivenUp::Late => counts.handshakes.timeout += 1,
            }
        }
    }
}

/// Why a handshake was abandoned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GivenUp {
    Failed,
    /// The handshake timed out.
    Late,
}
