//! The end of the process: clients that may get GO_AWAY do, then all are closed, each spread over time; then the
//! waiting calls are answered.
//!
//! ```text
//!  0 ─────────── ½ ────── ¾ ────── end
//!  | GO_AWAY     | close  | echoes | waiting calls get 503, Drained
//! ```
//! A walk goes over the table's slots in proportion to the time that has passed, so one step stays short however many
//! there are. Empty (no WebSocket, no waiting call, no change under way) is the end at once.

use crate::event::Purpose;
use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::limits::DRAIN_STEP_MS;
use crate::machine::Output;
use crate::shard::books::Books;
use crate::shard::books::evidence::Evidence;
use crate::shard::calls::refusals::shutting_down;
use crate::shard::calls::respond;
use crate::shard::directory::Directory;
use crate::shard::shares::Asking;
use crate::shard::sockets::Sockets;
use crate::shard::sockets::drains::Drain;
use crate::shard::todo::{Todo, TodoList};
use crate::time::{Moment, Now};

/// No new connection or call is taken from here on.
pub(in crate::shard) fn begin_drain(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    within_ms: u64,
    at: Moment,
) {
    if sockets.ends.drain.is_none() {
        let (began, ends) = (at.now, at.now.after(within_ms));
        let drain = Drain {
            began,
            ends,
            next: at.now,
            told: 0,
            closed: 0,
            calls_ended: false,
            over: false,
        };
        sockets.ends.drain = Some(drain);
        sockets.step_drain(books, todo, at);
    }
}

impl Sockets {
    /// Whether the process is about to end.
    pub(in crate::shard) fn drains(&self) -> bool {
        self.ends.drain.is_some()
    }
}

/// Refuses a request and ends its connection while the process is about to end; false when it is not.
pub(in crate::shard) fn refuses_in_drain(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    purpose: Purpose,
    evidence: &Evidence<'_>,
    at: Moment,
) -> bool {
    if sockets.drains() {
        let fault = shutting_down();
        respond::respond_error(sockets, books, key, purpose, &fault, evidence, true, at);
    }
    sockets.drains()
}

impl Sockets {
    /// Goes on with a drain as far as the time that has passed.
    pub(in crate::shard) fn step_drain(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        at: Moment,
    ) {
        // A copy: the shard goes on draining while this step closes connections and answers calls.
        let due = |drain: &Drain| !drain.over && drain.next <= at.now;
        let Some(mut drain) = self.ends.drain.filter(due) else {
            return;
        };
        let slots = self.sessions.slots();
        let (told, closed) = (
            drain.share(slots, (0, 2), at.now),
            drain.share(slots, (2, 3), at.now),
        );
        for number in drain.told..told {
            if let Some(key) = self.sessions.at(number) {
                self.go_away(books, key, at);
            }
        }
        for number in drain.closed..closed {
            if let Some(key) = self.sessions.at(number) {
                self.close(books, todo, key, EndReason::Drain, at);
            }
        }
        (drain.told, drain.closed) = (drain.told.max(told), drain.closed.max(closed));
        let last_call = Now(drain
            .ends
            .0
            .saturating_sub(LAST_CALL_MS.min(drain.ends.since(drain.began) / 10)));
        if at.now >= last_call && !drain.calls_ended {
            drain.calls_ended = true;
            todo.push(Todo::FailCalls);
        }
        drain.next = Now(at.now.0 + DRAIN_STEP_MS);
        self.ends.drain = Some(drain);
    }

    /// Says once that nothing is left to wait for: its time is over, or nothing is left of what connections, calls and
    /// changes wait for; `quiet`: of what is not here.
    pub(in crate::shard) fn look_at_drain(&mut self, quiet: bool, at: Moment) {
        let empty = quiet
            && !self.has_web_sockets()
            && self.shards.offers_out == 0
            && self.shards.asking.iter().all(Asking::is_empty);
        let Some(drain) = &mut self.ends.drain else {
            return;
        };
        if !drain.over && (empty || at.now >= drain.ends) {
            drain.over = true;
            self.output(Output::Drained);
        }
    }
}

impl Directory {
    /// The time for answers is over: every call that waits gets one.
    pub(in crate::shard) fn fail_all_calls(&mut self, books: &mut Books, todo: &mut TodoList) {
        for key in self.waits.channels() {
            self.fail_calls(books, todo, key, &shutting_down());
        }
    }
}

/// Time for the answers of waiting calls to reach their callers.
const LAST_CALL_MS: u64 = 500;
