//! Which requests are answered now and which wait: a bounded number per connection at once, and of all connections at
//! one moment. Those that wait are answered in the order of their connections' arrival, by ticks that are due at once.

use crate::id::SessionKey;
use crate::limits::{FRESH_REQUESTS_PER_TURN, REQUESTS_PER_VISIT};
use crate::time::Moment;
use crate::work;
use std::collections::VecDeque;

/// The remainder of a turn, and the connections that wait for the next one. One per shard.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// The moment of the turn: all inputs of one turn have the same.
    at: Moment,
    /// Heads and bodies answered at that moment as they arrived.
    pub(crate) fresh: u32,
    /// The work after which those that arrive at that moment wait.
    fresh_until: u64,
    /// The work after which those wait that are looked at now.
    until: u64,
    /// Heads and bodies answered since the start.
    taken: u64,
    /// Connections with bytes that may hold whole requests, each once; some of them may be gone.
    pub(crate) waiting: VecDeque<SessionKey>,
    /// Connections whose call was answered, or whose answers were taken: the request behind is next. Empty between two
    /// inputs.
    pub(crate) answered: VecDeque<SessionKey>,
}

impl Turns {
    /// The number of heads and bodies of a connection that may be answered as they arrive, after this much work.
    pub(crate) fn visit(&mut self, done: u64, at: Moment) -> u32 {
        if self.at != at {
            (self.at, self.fresh, self.fresh_until) = (at, 0, done + work::RECEIVES);
        }
        self.until = self.fresh_until;
        REQUESTS_PER_VISIT.min(FRESH_REQUESTS_PER_TURN.saturating_sub(self.fresh))
    }

    /// Requests that wait are answered from here on, after this much work.
    pub(crate) fn begin_tick(&mut self, done: u64) {
        self.until = done + work::TICK;
    }

    /// The number of connections that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The connection that waits longest: it waits no more.
    pub(crate) fn next_waiting(&mut self) -> Option<SessionKey> {
        self.waiting.pop_front()
    }

    /// Heads and bodies answered since the start.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the next request waits, by a shard that has done this work.
    pub(crate) fn is_over(&self, done: u64) -> bool {
        done >= self.until
    }

    /// One more head or body is answered.
    pub(crate) fn take(&mut self) {
        self.taken += 1;
    }
}
