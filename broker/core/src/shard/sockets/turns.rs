//! Which requests are answered now and which wait: a bounded number per connection at once, and of all connections at
//! one moment. Those that wait are answered in the order of their connections' arrival, by ticks that are due at once.

use crate::id::SessionKey;
use crate::limits::{FRESH_REQUESTS_PER_TURN, REQUESTS_PER_VISIT, WAITING_REQUESTS_PER_TICK};
use crate::machine::Output;
use crate::shard::books::Books;
use crate::shard::connect::requests;
use crate::shard::directory::Directory;
use crate::shard::gate::Gate;
use crate::shard::sockets::Sockets;
use crate::time::Moment;
use crate::work;
use std::collections::VecDeque;

/// What is left of a turn, and who waits for the next one. One per shard.
#[derive(Debug, Default)]
pub(in crate::shard) struct Turns {
    /// The moment of the turn: all inputs of one turn have the same.
    at: Moment,
    /// Heads and bodies answered at that moment as they arrived.
    fresh: u32,
    /// The work after which those that arrive at that moment wait.
    fresh_until: u64,
    /// The work after which those wait that are looked at now.
    until: u64,
    /// Heads and bodies answered since the start.
    taken: u64,
    /// Connections with bytes that may hold whole requests, each once; some of them may be gone.
    waiting: VecDeque<SessionKey>,
    /// Connections whose call was answered, or whose answers were taken: the request behind is next. Empty between two
    /// inputs.
    pub(in crate::shard) answered: VecDeque<SessionKey>,
}

/// The work that a shard has done since its start, in units.
pub(in crate::shard) fn work(
    sockets: &Sockets,
    directory: &Directory,
    books: &Books,
    gate: &Gate,
) -> u64 {
    books.frames * work::FRAME
        + sockets.requests.turns.taken * work::REQUEST
        + gate.hashed_bytes() / work::HASHED_BYTES_PER_UNIT
        + books.counters.policy_steps * work::POLICY_STEP
        + directory.pages.records() * work::RECORD
}

impl Turns {
    /// Whether a connection waits: a tick is due at once.
    pub(in crate::shard) fn due(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The number of heads and bodies of a connection that may be answered as they arrive, after this much work.
    fn visit(&mut self, done: u64, at: Moment) -> u32 {
        if self.at != at {
            (self.at, self.fresh, self.fresh_until) = (at, 0, done + work::RECEIVES);
        }
        self.until = self.fresh_until;
        REQUESTS_PER_VISIT.min(FRESH_REQUESTS_PER_TURN.saturating_sub(self.fresh))
    }

    /// Whether the next request waits, by a shard that has done this work.
    pub(in crate::shard) fn is_over(&self, done: u64) -> bool {
        done >= self.until
    }

    /// One more head or body is answered.
    pub(in crate::shard) fn take(&mut self) {
        self.taken += 1;
    }
}

/// Handles bytes of an HTTP connection, or continues with those that wait there.
pub(in crate::shard) fn receive_requests(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    gate: &mut Gate,
    key: SessionKey,
    bytes: &mut [u8],
    at: Moment,
) {
    let done = work(sockets, directory, books, gate);
    let allowed = sockets.requests.turns.visit(done, at);
    let left = requests::take_requests(sockets, directory, books, gate, key, bytes, allowed, at);
    sockets.requests.turns.fresh += allowed - left;
}

impl Sockets {
    /// The requests of this connection wait for a later turn.
    pub(in crate::shard) fn wait_for_turn(&mut self, key: SessionKey) {
        if let Some(http) = self.http(key)
            && !std::mem::replace(&mut http.queued, true)
        {
            self.requests.turns.waiting.push_back(key);
        }
    }
}

/// The next request that waited behind a call which was answered, or for its peer to take answers, begins. False when
/// there is none.
pub(in crate::shard) fn receive_answered(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    gate: &mut Gate,
    at: Moment,
) -> bool {
    let Some(session) = sockets.requests.turns.answered.pop_front() else {
        return false;
    };
    receive_requests(sockets, directory, books, gate, session, &mut [], at);
    true
}

/// Goes on with connections whose requests wait, each at most once. A visit costs at least one request: the look at an
/// unfinished one is work too.
pub(in crate::shard) fn answer_waiting(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    gate: &mut Gate,
    at: Moment,
) {
    let mut left = WAITING_REQUESTS_PER_TICK;
    sockets.requests.turns.until = work(sockets, directory, books, gate) + work::TICK;
    for _ in 0..sockets.requests.turns.waiting.len() {
        let done = work(sockets, directory, books, gate);
        if left == 0 || sockets.requests.turns.is_over(done) {
            return;
        }
        let Some(key) = sockets.requests.turns.waiting.pop_front() else {
            return;
        };
        let Some(http) = sockets.http(key) else {
            continue; // gone meanwhile
        };
        http.queued = false;
        let allowed = REQUESTS_PER_VISIT.min(left);
        let rest =
            requests::take_requests(sockets, directory, books, gate, key, &mut [], allowed, at);
        left -= (allowed - rest).max(1);
        // Also without an answer: the edge asks whether to read on.
        sockets.output(Output::Send(key));
    }
}
