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

use crate::edge::connections::connection::{NEVER, Stage};
use crate::edge::limits::OVERDUE_PER_TURN;
use crate::edge::shard::Edge;
use broker_core::id::SessionKey;
use broker_core::machine::Machine;
use broker_core::time::Now;

impl<M: Machine> Edge<M> {
    /// Has the edge look at a connection at `due`, unless it does so earlier. A connection has one entry at most.
    pub(in crate::edge) fn look_at(&mut self, session: SessionKey, due: Now) {
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
    pub(in crate::edge) fn look_away(&mut self, session: SessionKey) {
        if let Some(connection) = self.table.get_mut(session) {
            let due = std::mem::replace(&mut connection.due, NEVER);
            self.overdue.remove(&(due, session));
        }
    }

    /// A connection is to leave and may not: from here on that has an end.
    pub(in crate::edge) fn limit_leaving(&mut self, session: SessionKey) {
        self.look_away(session);
        self.look_at(
            session,
            self.io.turn.at().now.after(self.io.settings.leaving_ms),
        );
    }

    /// A record of a connection may be unfinished: from its first byte on that has an end.
    pub(in crate::edge) fn limit_record(&mut self, session: SessionKey) {
        if let Some(connection) = self.table.get(session)
            && connection.stage == Stage::Open
            && let Some(begun) = connection.tls.as_ref().and_then(|tls| tls.begun())
        {
            self.look_at(session, begun.after(self.io.settings.record_ms));
        }
    }

    /// Cuts off connections whose time is over.
    pub(in crate::edge) fn end_overdue(&mut self) {
        for _ in 0..OVERDUE_PER_TURN {
            let Some(&(due, session)) = self.overdue.first() else {
                return;
            };
            if due > self.io.turn.at().now {
                return;
            }
            self.look_away(session);
            self.look_at_due(session);
        }
    }

    fn look_at_due(&mut self, session: SessionKey) {
        let Some(connection) = self.table.get(session) else {
            return;
        };
        let late = match connection.stage {
            Stage::Leaving(_) => true,
            Stage::Open => {
                let begun = connection.tls.as_ref().and_then(|tls| tls.begun());
                begun.is_some_and(|begun| {
                    begun.after(self.io.settings.record_ms) <= self.io.turn.at().now
                })
            }
            Stage::Closing | Stage::Lingering | Stage::Shut => false,
        };
        if late {
            self.io.counts.overdue += 1;
            self.cut(session);
        } else {
            self.limit_record(session);
        }
    }

    /// When the first of these deadlines is due, those of links included.
    pub(in crate::edge) fn next_overdue(&self) -> Option<Now> {
        let own = self.overdue.first().map(|&(due, _)| due);
        let links = [self.tunnels.next_due(), self.inners.next_due()];
        own.into_iter().chain(links.into_iter().flatten()).min()
    }
}
