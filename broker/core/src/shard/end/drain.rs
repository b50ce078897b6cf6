//! The end of the process: clients that may get GO_AWAY do, then all are closed, each spread over time; then the
//! waiting calls are answered.
//!
//! Devices that wait have their answer in the first half.
//! ```text
//!  0 ─────────── ½ ────── ¾ ────── end
//!  | GO_AWAY     | close  | echoes | waiting calls get 503, Drained
//! ```
//! A walk goes over the table's slots in proportion to the time that has passed; one step takes a bounded number, and
//! the rest at once in the next turn. Empty (no WebSocket, no waiting call, no change under way) is the end at once.

use crate::event::Purpose;
use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::shard::books::Books;
use crate::shard::books::evidence::Evidence;
use crate::shard::calls::refusals::shutting_down;
use crate::shard::calls::respond::{self, Rejected};
use crate::shard::calls::wake;
use crate::shard::sockets::Sockets;
use crate::shard::todo::{Todo, TodoList};
use crate::time::Moment;

/// No new connection or call is taken from here on.
pub(crate) fn begin_drain(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    within_ms: u64,
    at: Moment,
) {
    if sockets.begin_drain(within_ms, at.now) {
        sockets.step_drain(books, todo, at);
    }
}

/// Refuses a request and ends its connection while the process is about to end; false when it is not.
pub(crate) fn refuses_in_drain(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    purpose: Purpose,
    evidence: &Evidence<'_>,
    at: Moment,
) -> bool {
    if sockets.drains() {
        let fault = shutting_down();
        let rejected = Rejected::last(purpose, evidence);
        respond::respond_error(sockets, books, key, &fault, rejected, at);
    }
    sockets.drains()
}

impl Sockets {
    /// Goes on with a drain as far as the time that has passed.
    pub(crate) fn step_drain(&mut self, books: &mut Books, todo: &mut TodoList, at: Moment) {
        let Some(step) = self.drain_step(at.now) else {
            return;
        };
        for place in step.told {
            if let Some(key) = self.session_at(place) {
                self.go_away(books, key, at);
                wake::over(self, books, todo, key, at);
            }
        }
        for place in step.closed {
            if let Some(key) = self.session_at(place) {
                self.close(books, todo, key, EndReason::Drain, at);
            }
        }
        if step.ends_calls {
            todo.push(Todo::FailCalls);
        }
    }
}
