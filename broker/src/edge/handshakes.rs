//! The handshakes that wait for a step, and the steps of a turn: those of clients and of other nodes share them.

use crate::edge::limits::HANDSHAKE_STEPS_PER_TURN;
use crate::edge::nodes::links::LinkEnd;
use broker_core::id::SessionKey;
use std::collections::VecDeque;

/// The connection whose handshake bytes wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shaking {
    /// A client's.
    Session(SessionKey),
    /// Another node's.
    Link(LinkEnd),
}

/// Handshakes of one shard whose bytes were put aside.
#[derive(Default)]
pub(crate) struct Handshakes {
    waiting: VecDeque<Shaking>,
    /// Steps taken in this turn.
    steps: u32,
}

impl Handshakes {
    /// Begins a turn.
    pub(crate) fn begin(&mut self) {
        self.steps = 0;
    }

    /// The next one that may take a step in this turn, the oldest first.
    pub(crate) fn next(&mut self) -> Option<Shaking> {
        if self.steps >= HANDSHAKE_STEPS_PER_TURN {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Whether one more has to wait: this turn has had its share of steps, or others wait already.
    #[inline]
    pub(crate) fn wait(&self) -> bool {
        self.steps >= HANDSHAKE_STEPS_PER_TURN || !self.waiting.is_empty()
    }

    /// Puts one behind all others.
    pub(crate) fn push(&mut self, handshake: Shaking) {
        self.waiting.push_back(handshake);
    }

    /// Counts a step.
    pub(crate) fn stepped(&mut self) {
        self.steps += 1;
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
