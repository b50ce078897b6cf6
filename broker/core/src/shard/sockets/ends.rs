//! Connections that the shard ends by itself: all of them in a drain, and those whose ends are spread over time.

use crate::limits::RECALL_STEP_MS;
use crate::machine::Output;
use crate::shard::sockets::Sockets;
use crate::shard::sockets::drains::{Drain, DrainStep};
use crate::time::Now;

impl Sockets {
    /// Begins a drain that takes this long. False when one is under way.
    pub(in crate::shard) fn begin_drain(&mut self, within_ms: u64, now: Now) -> bool {
        let begins = self.ends.drain.is_none();
        if begins {
            self.ends.drain = Some(Drain::begin(now, now.after(within_ms)));
        }
        begins
    }

    /// Whether the process is about to end.
    pub(in crate::shard) fn drains(&self) -> bool {
        self.ends.drain.is_some()
    }

    /// When the next step of a drain is due.
    pub(in crate::shard) fn next_drain_step(&self) -> Option<Now> {
        self.ends.drain.as_ref().and_then(Drain::next)
    }

    /// The next step of a drain, if it is due.
    pub(in crate::shard) fn drain_step(&mut self, now: Now) -> Option<DrainStep> {
        let places = self.places();
        self.ends.drain.as_mut()?.step(places, now)
    }

    /// Reports once that nothing is left to wait for: the drain's time is over, or nothing is left of what connections,
    /// calls and changes wait for; `quiet`: of what is not here.
    pub(in crate::shard) fn look_at_drain(&mut self, quiet: bool, now: Now) {
        let empty = quiet && self.census.web_sockets == 0 && self.asks_nothing();
        let drain = self.ends.drain.as_mut();
        if drain.is_some_and(|drain| drain.end(empty, now)) {
            self.output(Output::Drained);
        }
    }

    /// When the next connection that an operator recalls is closed: [`RECALL_STEP_MS`] after the one before.
    pub(in crate::shard) fn next_recall(&mut self, now: Now) -> Now {
        self.ends.recalled = self.ends.recalled.after(RECALL_STEP_MS).max(now);
        self.ends.recalled
    }

    /// The place of the next connection that is closed without notice in the spread of their ends, as a fraction of
    /// 2³²: as far as possible from those before it (multiples of the golden ratio).
    pub(in crate::shard) fn next_in_spread(&mut self) -> u32 {
        self.ends.spread = self.ends.spread.wrapping_add(GOLDEN);
        self.ends.spread
    }
}

/// 2³² divided by the golden ratio, odd.
const GOLDEN: u32 = 0x9e37_79b9;
