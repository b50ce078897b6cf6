//! The connections of a shard's clients: their state, their deadlines, and which one makes room for another.
//!
//! Nothing here sends bytes, or gives the machine any. In reading order: `connection.rs` and `table.rs` (one, and all
//! of them), this page (lists of those that something is to be done for), `reading.rs` (what is armed on them),
//! `room.rs` (newcomers, and which one makes room), `overdue.rs` (deadlines), `end.rs`.

pub(crate) mod connection;
pub(crate) mod end;
mod overdue;
mod reading;
pub(crate) mod room;
mod table;

use crate::edge::io::Io;
use crate::edge::letters::counts::EdgeCounts;
use crate::edge::limits::LEAVING_BYTES;
use crate::edge::nodes::lease::Lease;
use crate::edge::tls::Held;
use broker_core::address_shares::Crowd;
use broker_core::id::SessionKey;
use connection::{Connection, Receive, Stage};
use overdue::Deadlines;
use std::collections::{BTreeMap, VecDeque};
use table::Table;

/// The connections of one shard, by the machine's session keys.
#[derive(Default)]
pub(crate) struct Connections {
    table: Table,
    /// Those to flush at the end of this turn, each once.
    touched: Vec<SessionKey>,
    /// Those whose receive is to be armed again, in turn.
    listed: VecDeque<SessionKey>,
    /// Bytes as they came from the sockets of connections that were already leaving: they travel with them.
    /// Nearly always empty.
    unread: BTreeMap<SessionKey, Vec<u8>>,
    /// Those of other nodes that come back when their WebSocket is over.
    leases: BTreeMap<SessionKey, Box<Lease>>,
    deadlines: Deadlines,
    /// Connections that the machine has not let in, by address.
    guests: Crowd<SessionKey>,
    /// Handshakes under way by address.
    shaking: Crowd<SessionKey>,
}

impl Connections {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// The keys of all.
    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        self.table.keys()
    }

    /// The connection of a session; see [`Table::get`].
    #[inline]
    pub(crate) fn get(&self, session: SessionKey) -> Option<&Connection> {
        self.table.get(session)
    }

    /// As [`Self::get`], to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, session: SessionKey) -> Option<&mut Connection> {
        self.table.get_mut(session)
    }

    /// Takes a connection in under the machine's key.
    pub(crate) fn insert(&mut self, session: SessionKey, connection: Connection, io: &mut Io) {
        if let Some(tls) = &connection.tls {
            io.counts.handshaking += u64::from(tls.handshaking());
        }
        self.table.insert(session, connection);
        self.recharge(session, &mut io.counts);
        self.limit_record(session, io);
        io.counts.connections = self.table.len() as u64;
    }

    /// Takes a connection out; nothing may be armed on it.
    pub(crate) fn remove(
        &mut self,
        session: SessionKey,
        counts: &mut EdgeCounts,
    ) -> Option<Connection> {
        if let Some(connection) = self.table.get_mut(session) {
            self.deadlines.clear(session, connection);
        }
        self.settle_guest(session);
        self.unread.remove(&session);
        self.leases.remove(&session);
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
        counts.connections = self.table.len() as u64;
        debug_assert!(
            !self.is_empty()
                || (self.guests.is_empty()
                    && self.shaking.is_empty()
                    && self.unread.is_empty()
                    && self.leases.is_empty()
                    && self.deadlines.next().is_none()),
            "of who is gone nothing is kept"
        );
        Some(connection)
    }

    /// Moves a connection on. Never back: one that is closing does not leave, one that is shut stays shut.
    pub(crate) fn restage(&mut self, session: SessionKey, to: Stage, io: &Io) {
        let Some(connection) = self.get_mut(session) else {
            return;
        };
        let onward = match (connection.stage, to) {
            (Stage::Open, Stage::Leaving(_) | Stage::Closing)
            | (Stage::Leaving(_), Stage::Closing) => true,
            (
                Stage::Open | Stage::Leaving(_) | Stage::Closing | Stage::Lingering | Stage::Shut,
                _,
            ) => false,
        };
        if onward {
            connection.stage = to;
            if let Stage::Leaving(_) = to {
                self.limit_leaving(session, io);
            }
            self.touch(session);
        }
    }

    /// Puts a connection on the list of those to flush in this turn.
    #[inline]
    pub(crate) fn touch(&mut self, session: SessionKey) {
        if let Some(connection) = self.table.get_mut(session)
            && !std::mem::replace(&mut connection.dirty, true)
        {
            self.touched.push(session);
        }
    }

    /// Takes the list of those to flush; [`Self::keep_touched`] brings it back when it is empty.
    pub(crate) fn take_touched(&mut self) -> Vec<SessionKey> {
        std::mem::take(&mut self.touched)
    }

    /// A connection of that list is flushed now: its stage.
    #[inline]
    pub(crate) fn untouch(&mut self, session: SessionKey) -> Option<Stage> {
        let connection = self.get_mut(session)?;
        connection.dirty = false;
        Some(connection.stage)
    }

    /// Keeps the larger of the two lists' memory, and what was touched meanwhile.
    pub(crate) fn keep_touched(&mut self, mut touched: Vec<SessionKey>) {
        touched.append(&mut self.touched);
        self.touched = touched;
    }

    /// Lists a connection whose receive is over but should go on, behind all others.
    pub(crate) fn list(&mut self, session: SessionKey) {
        if let Some(connection) = self.table.get_mut(session)
            && connection.receive == Receive::Idle
        {
            connection.receive = Receive::Listed;
            self.listed.push_back(session);
        }
    }

    /// Whether a list of this turn or the next is not empty.
    pub(crate) fn has_work(&self) -> bool {
        !self.touched.is_empty() || !self.listed.is_empty()
    }

    /// Puts bytes aside that came while a connection was leaving. False when there are too many.
    pub(crate) fn put_aside(&mut self, session: SessionKey, bytes: &[u8]) -> bool {
        let unread = self.unread.entry(session).or_default();
        unread.extend_from_slice(bytes);
        unread.len() <= LEAVING_BYTES
    }

    /// A connection between nodes comes back when its WebSocket is over.
    pub(crate) fn lend(&mut self, session: SessionKey, lease: Box<Lease>) {
        self.leases.insert(session, lease);
    }

    /// Its state then, if it does.
    pub(crate) fn lease(&mut self, session: SessionKey) -> Option<&mut Lease> {
        self.leases.get_mut(&session).map(|lease| &mut **lease)
    }

    /// Takes its state then.
    pub(crate) fn take_lease(&mut self, session: SessionKey) -> Option<Box<Lease>> {
        self.leases.remove(&session)
    }

    /// Takes what was put aside.
    pub(crate) fn take_unread(&mut self, session: SessionKey) -> Vec<u8> {
        self.unread.remove(&session).unwrap_or_default()
    }
}
