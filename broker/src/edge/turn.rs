//! A turn of the drive loop: its moment, its work, and the time that it takes.

use crate::edge::clock::{Clock, Shift, thread_time};
use crate::edge::letters::counts::EdgeCounts;
use crate::edge::limits::LONG_TURN_US;
use broker_core::limits::STALL_MS;
use broker_core::time::{Moment, Now};
use std::time::{Duration, Instant};

/// The turn under way, and the shard's clocks.
pub(crate) struct Turn {
    clock: Clock,
    /// The moment of this turn, twice: for the ring and for the machine.
    now: Instant,
    at: Moment,
    /// Turns are measured by the CPU time of their thread.
    by_cpu: bool,
    /// The thread's CPU time when this turn began, where turns are measured by it.
    began: Duration,
    /// Counts turns, for the share of each peer in one.
    number: u32,
    /// The machine's work when this turn began, and that of the edge since.
    begun: u64,
    worked: u64,
    /// The machine learned of bytes sent in this turn.
    reported: bool,
}

impl Turn {
    /// The time before the first turn.
    pub(crate) fn new(by_cpu: bool) -> Self {
        let mut clock = Clock::new();
        let (now, at) = clock.read();
        Self {
            clock,
            now,
            at,
            by_cpu,
            began: Duration::ZERO,
            number: 0,
            begun: 0,
            worked: 0,
            reported: false,
        }
    }

    /// The moment of this turn, for the ring.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// The moment of this turn, for the machine.
    #[inline]
    pub(crate) fn at(&self) -> Moment {
        self.at
    }

    /// The number of this turn. It wraps.
    #[inline]
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Reads the clocks for the next turn; returns the moment of the last one.
    pub(crate) fn read(&mut self) -> Instant {
        let before = self.now;
        (self.now, self.at) = self.clock.read();
        before
    }

    /// Since when the shard did not run, if that was for long: the turn before began at `before`.
    pub(crate) fn stood_still(&self, before: Instant) -> Option<Now> {
        let span = self.now.saturating_duration_since(before).as_millis();
        let span = u64::try_from(span).unwrap_or(u64::MAX);
        (span > STALL_MS).then(|| Now(self.at.now.0.saturating_sub(span)))
    }

    /// Begins a turn; the machine has done this much work before it.
    pub(crate) fn begin(&mut self, work: u64) {
        self.number = self.number.wrapping_add(1);
        (self.begun, self.worked) = (work, 0);
    }

    /// Counts work of the edge, in units of [`broker_core::work_units`].
    #[inline]
    pub(crate) fn add_work(&mut self, units: u64) {
        self.worked += units;
    }

    /// The work of this turn so far, in units, where the machine has done `work` since its start.
    #[inline]
    pub(crate) fn work(&self, work: u64) -> u64 {
        work - self.begun + self.worked
    }

    /// Notes that the machine learned of bytes sent.
    #[inline]
    pub(crate) fn report(&mut self) {
        self.reported = true;
    }

    /// The moment after this turn's sends, if it had any: the one clock read that measuring them costs.
    pub(crate) fn after_sends(&mut self) -> Option<(Instant, Moment)> {
        std::mem::take(&mut self.reported).then(|| self.clock.read())
    }

    /// Counts the time of one turn.
    pub(crate) fn account(&mut self, from: Instant, to: Instant, counts: &mut EdgeCounts) {
        let us = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let span = to.saturating_duration_since(from);
        let turn = us(self.cpu_lap().unwrap_or(span));
        counts.busy_us += us(span);
        counts.longest_turn_us = counts.longest_turn_us.max(turn);
        counts.long_turns += u64::from(turn > LONG_TURN_US);
    }

    /// The CPU time since the turn began, where turns are measured by it; the next one begins here.
    pub(crate) fn cpu_lap(&mut self) -> Option<Duration> {
        if !self.by_cpu {
            return None;
        }
        let now = thread_time();
        Some(now.saturating_sub(std::mem::replace(&mut self.began, now)))
    }

    /// The instant of a deadline; see [`Clock::instant`].
    pub(crate) fn instant(&self, due: Now) -> Option<Instant> {
        self.clock.instant(due)
    }

    /// Moves the clocks. Returns whether they advance, and what they show from here on.
    pub(crate) fn shift(&mut self, shift: Shift) -> (bool, Moment) {
        let advances = self.clock.shift(shift);
        (advances, self.clock.read().1)
    }

    /// The rest of the turn is at `at`.
    pub(crate) fn move_to(&mut self, at: Moment) {
        self.at = at;
    }
}
