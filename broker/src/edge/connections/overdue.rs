//! The edge's own deadlines.
//!
//! Deadlines of sessions are the machine's, which asks for an abort. The edge's own are those of what no machine sees:
//! a TLS record that is begun and not ended, and a connection that was handed over and cannot leave. So every stage
//! ends:
//!
//! | stage | ends by |
//! |---|---|
//! | open | the machine's deadline of the session's state; an unfinished record by `EdgeSettings::record_ms` |
//! | leaving | `EdgeSettings::leaving_ms`; the machine has released the session |
//! | closing, lingering | the machine's deadline of the session's end |
//! | shut | by itself: what is armed or in flight on a socket that is shut down completes at once |

use crate::edge::connections::Connections;
use crate::edge::connections::connection::{Connection, NEVER, Stage};
use crate::edge::io::Io;
use crate::edge::limits::OVERDUE_PER_TURN;
use broker_core::id::SessionKey;
use broker_core::time::Now;
use std::collections::BTreeSet;

/// The edge's own deadlines of one shard's connections. A connection has one at most, which it knows
/// ([`Connection::due`]).
#[derive(Default)]
pub(crate) struct Deadlines {
    all: BTreeSet<(Now, SessionKey)>,
}

impl Deadlines {
    /// Has the edge look at a connection at `due`, unless it does so earlier.
    fn set(&mut self, session: SessionKey, connection: &mut Connection, due: Now) {
        if due < connection.due {
            self.all.remove(&(connection.due, session));
            connection.due = due;
            self.all.insert((due, session));
        }
    }

    /// Takes back what [`Self::set`] wanted.
    pub(crate) fn clear(&mut self, session: SessionKey, connection: &mut Connection) {
        let due = std::mem::replace(&mut connection.due, NEVER);
        self.all.remove(&(due, session));
    }

    /// The first, and its connection.
    pub(crate) fn next(&self) -> Option<(Now, SessionKey)> {
        self.all.first().copied()
    }

    /// The connections that have one.
    pub(crate) fn sessions(&self) -> Vec<SessionKey> {
        self.all.iter().map(|&(_, session)| session).collect()
    }
}

impl Connections {
    /// A connection is to leave and may not: from here on that has an end.
    pub(crate) fn limit_leaving(&mut self, session: SessionKey, io: &Io) {
        if let Some(connection) = self.table.get_mut(session) {
            let due = io.turn.at().now.after(io.settings.leaving_ms);
            self.deadlines.clear(session, connection);
            self.deadlines.set(session, connection, due);
        }
    }

    /// A record of a connection may be unfinished: from its first byte on that has an end.
    pub(crate) fn limit_record(&mut self, session: SessionKey, io: &Io) {
        if let Some(connection) = self.table.get_mut(session)
            && connection.stage == Stage::Open
            && let Some(begun) = connection.tls.as_ref().and_then(|tls| tls.begun())
        {
            let due = begun.after(io.settings.record_ms);
            self.deadlines.set(session, connection, due);
        }
    }

    /// Cuts off connections whose time is over.
    pub(crate) fn end_overdue(&mut self, io: &mut Io) {
        for _ in 0..OVERDUE_PER_TURN {
            let Some((due, session)) = self.deadlines.next() else {
                return;
            };
            if due > io.turn.at().now {
                return;
            }
            self.end_if_late(session, io);
        }
    }

    /// Cuts a connection off whose deadline is over, unless it has another one by now.
    fn end_if_late(&mut self, session: SessionKey, io: &mut Io) {
        let Some(connection) = self.table.get_mut(session) else {
            return;
        };
        self.deadlines.clear(session, connection);
        let late = match connection.stage {
            Stage::Leaving(_) => true,
            Stage::Open => {
                let begun = connection.tls.as_ref().and_then(|tls| tls.begun());
                begun.is_some_and(|begun| begun.after(io.settings.record_ms) <= io.turn.at().now)
            }
            Stage::Closing | Stage::Lingering | Stage::Shut => false,
        };
        if late {
            io.counts.overdue += 1;
            self.cut(session, &mut io.counts);
        } else {
            self.limit_record(session, io);
        }
    }

    /// When the first of these deadlines is due.
    pub(crate) fn next_overdue(&self) -> Option<Now> {
        self.deadlines.next().map(|(due, _)| due)
    }
}
