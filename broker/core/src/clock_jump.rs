//! Makes a shard's clock jump ahead in tests, stopping at each deadline on the way.
//!
//! If the clock jumped in a single step, everything that is due would fire at once. For example, a connection that has
//! reached its maximum age would be closed without first receiving a GO_AWAY. The driver therefore
//! [announces](Machine::leap) the end of the jump in advance, and ticks at each moment that [`Leap::next`] returns.
//!
//! Peers cannot act during a jump. If a timeout for a peer's reaction (a pong or a close frame) starts during the jump,
//! it runs from the end of the jump instead. Likewise, a WebSocket that reaches its maximum age during the jump is not
//! closed for inactivity before then. A shard keeps its events in order. Shards jump independently.

use crate::time::{Moment, Now, Wall};
use crate::{limits::LEAP_STEPS_MAX, machine::Machine};

/// A clock jump in progress.
#[derive(Debug)]
pub struct Leap {
    at: Moment,
    until: Moment,
    steps: u32,
}

impl Leap {
    /// Starts a jump and announces it to the machine.
    pub fn begin<M: Machine>(machine: &mut M, from: Moment, until: Moment) -> Self {
        machine.leap(until.now);
        Self {
            at: from,
            until,
            steps: 0,
        }
    }

    /// Returns the moment of the next tick, or `None` once the jump is complete. `deadline` is the machine's next
    /// deadline.
    pub fn next(&mut self, deadline: Option<Now>) -> Option<Moment> {
        let now = deadline?.max(self.at.now);
        if now >= self.until.now || self.steps == LEAP_STEPS_MAX {
            return None;
        }
        self.steps += 1;
        let ahead_ms = self.until.now.since(now);
        self.at = Moment {
            now,
            wall: Wall(self.until.wall.0.saturating_sub(ahead_ms)),
            micros: self.until.micros,
        };
        Some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leap(from: u64, until: u64) -> Leap {
        let moment = |ms| Moment {
            now: Now(ms),
            wall: Wall(1_000_000 + ms),
            micros: 7,
        };
        Leap {
            at: moment(from),
            until: moment(until),
            steps: 0,
        }
    }

    #[test]
    fn steps_go_forward_by_both_clocks_and_end_before_the_jump_does() {
        let mut leap = leap(1000, 5000);
        let mut step = |deadline| {
            let at = leap.next(Some(Now(deadline)))?;
            assert_eq!(at.wall.0 - at.now.0, 1_000_000);
            Some(at.now.0)
        };
        // A deadline that has passed is due immediately, repeatedly if necessary.
        assert_eq!([step(0), step(0)], [Some(1000), Some(1000)]);
        assert_eq!([step(3000), step(2000)], [Some(3000), Some(3000)]);
        let found = [step(4999), step(5000), step(9000)];
        assert_eq!(found, [Some(4999), None, None]);
        assert_eq!(leap.next(None), None);
    }

    #[test]
    fn a_machine_that_is_always_due_has_its_steps_and_no_more() {
        let mut leap = leap(0, 1000);
        let steps = std::iter::from_fn(|| leap.next(Some(Now(0)))).count();
        assert_eq!(steps, LEAP_STEPS_MAX as usize);
    }
}
