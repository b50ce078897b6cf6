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

use super::Connections;
use super::connection::{NEVER, Stage};
use crate::edge::io::Io;
use crate::edge::limits::OVERDUE_PER_TURN;
use broker_core::id::SessionKey;
use broker_core::time::Now;

impl Connections {
    /// Has the edge look at a connection at `due`, unless it does so earlier. A connection has one entry at most.
    fn look_at(&mut self, session: SessionKey, due: Now) {
        let Some(connection) = self.table.get_mut(session) else {
            return;
        };
        if due < connection.due {
            self.overdue.remove(&(connection.due, session));
            connection.due = due;
            self.overdue.insert((due, session));
        }
    }

    /// Takes back what [`Self::look_at`] wanted.
    pub(super) fn look_away(&mut self, session: SessionKey) {
        if let Some(connection) = self.table.get_mut(session) {
            let due = std::mem::replace(&mut connection.due, NEVER);
            self.overdue.remove(&(due, session));
        }
    }

    /// A connection is to leave and may not: from here on that has an end.
    pub(super) fn limit_leaving(&mut self, session: SessionKey, io: &Io) {
        self.look_away(session);
        self.look_at(session, io.turn.at().now.after(io.settings.leaving_ms));
    }

    /// A record of a connection may be unfinished: from its first byte on that has an end.
    pub(in crate::edge) fn limit_record(&mut self, session: SessionKey, io: &Io) {
        if let Some(connection) = self.get(session)
            && connection.stage == Stage::Open
            && let Some(begun) = connection.tls.as_ref().and_then(|tls| tls.begun())
        {
            self.look_at(session, begun.after(io.settings.record_ms));
        }
    }

    /// Cuts off connections whose time is over.
    pub(in crate::edge) fn end_overdue(&mut self, io: &mut Io) {
        for _ in 0..OVERDUE_PER_TURN {
            let Some(&(due, session)) = self.overdue.first() else {
                return;
            };
            if due > io.turn.at().now {
                return;
            }
            self.look_away(session);
            self.look_at_due(session, io);
        }
    }

    fn look_at_due(&mut self, session: SessionKey, io: &mut Io) {
        let Some(connection) = self.get(session) else {
            return;
        };
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
    pub(in crate::edge) fn next_overdue(&self) -> Option<Now> {
        self.overdue.first().map(|&(due, _)| due)
    }
}
