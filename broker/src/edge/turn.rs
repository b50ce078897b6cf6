//! Time, work and duration of the current event loop iteration ("turn").

use crate::edge::{counters::EdgeCounts, limits::LONG_TURN_US};
use broker_core::limits::STALL_MS;
use broker_core::time::{Moment, Now, Wall};
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The current loop iteration, and the shard's clocks.
pub(crate) struct Turn {
    clock: Clock,
    /// The iteration's time, in the form that the ring uses. `at` is the same time in the form that the state machine
    /// uses.
    now: Instant,
    at: Moment,
    /// Whether iterations are measured in thread CPU time.
    by_cpu: bool,
    /// The thread's CPU time at the start of this iteration. Used only if iterations are measured in CPU time.
    began: Duration,
    /// Number of this iteration. Each iteration gives every peer a new share of the receive buffers.
    number: u32,
    /// The state machine's total work at the start of this iteration. `worked` is the edge's own work since then.
    begun: u64,
    worked: u64,
    /// Whether this iteration has reported sent bytes to the state machine.
    reported: bool,
}

impl Turn {
    /// Creates the state before the first iteration.
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

    /// Returns this iteration's time in the form that the ring uses.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Returns this iteration's time in the form that the state machine uses.
    #[inline]
    pub(crate) fn at(&self) -> Moment {
        self.at
    }

    /// Returns this iteration's number. Numbers wrap around.
    #[inline]
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Reads the clocks for the next iteration. Returns the time at which the previous iteration started.
    pub(crate) fn read(&mut self) -> Instant {
        let before = self.now;
        (self.now, self.at) = self.clock.read();
        before
    }

    /// Returns when the shard stopped running, if too much time has passed since the previous iteration started at
    /// `before`.
    pub(crate) fn stood_still(&self, before: Instant) -> Option<Now> {
        let span = self.now.saturating_duration_since(before).as_millis();
        let span = u64::try_from(span).unwrap_or(u64::MAX);
        (span > STALL_MS).then(|| Now(self.at.now.0.saturating_sub(span)))
    }

    /// Starts an iteration. `work` is the state machine's total work so far.
    pub(crate) fn begin(&mut self, work: u64) {
        self.number = self.number.wrapping_add(1);
        (self.begun, self.worked) = (work, 0);
    }

    /// Adds work done by the edge, in units of [`broker_core::work_units`].
    #[inline]
    pub(crate) fn add_work(&mut self, units: u64) {
        self.worked += units;
    }

    /// Returns the work done so far in this iteration, in work units. `work` is the state machine's total work.
    #[inline]
    pub(crate) fn work(&self, work: u64) -> u64 {
        work - self.begun + self.worked
    }

    /// Records that sent bytes have been reported to the state machine.
    #[inline]
    pub(crate) fn report(&mut self) {
        self.reported = true;
    }

    /// Returns the time after this iteration's sends. Returns `None`, without reading the clock, if nothing was sent.
    pub(crate) fn after_sends(&mut self) -> Option<(Instant, Moment)> {
        std::mem::take(&mut self.reported).then(|| self.clock.read())
    }

    /// Adds an iteration's duration to the counters.
    pub(crate) fn account(&mut self, from: Instant, to: Instant, counts: &mut EdgeCounts) {
        let us = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let span = to.saturating_duration_since(from);
        let turn = us(self.cpu_lap().unwrap_or(span));
        counts.busy_us += us(span);
        counts.longest_turn_us = counts.longest_turn_us.max(turn);
        counts.long_turns += u64::from(turn > LONG_TURN_US);
    }

    /// Returns the CPU time used since the iteration started, and starts the next measurement. Returns `None` if
    /// iterations are not measured in CPU time.
    pub(crate) fn cpu_lap(&mut self) -> Option<Duration> {
        if !self.by_cpu {
            return None;
        }
        // Unlike the other clocks, the thread's CPU clock (user and kernel time) can only be read with a system call.
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        let now = Duration::new(time.tv_sec.unsigned_abs(), nanos);
        Some(now.saturating_sub(std::mem::replace(&mut self.began, now)))
    }

    /// Converts a deadline to an instant. See [`Clock::instant`].
    pub(crate) fn instant(&self, due: Now) -> Option<Instant> {
        self.clock.instant(due)
    }

    /// Shifts the clocks. Returns whether they advanced, and their new time.
    pub(crate) fn shift(&mut self, shift: Shift) -> (bool, Moment) {
        let advances = self.clock.shift(shift);
        (advances, self.clock.read().1)
    }

    /// Continues the iteration as if the time were `at`.
    pub(crate) fn move_to(&mut self, at: Moment) {
        self.at = at;
    }
}

// The clocks, read once per loop iteration.

/// How far a shard's clocks are ahead of the system's. Zero except in tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// How far both clocks have been advanced, in milliseconds.
    pub advanced_ms: u64,
    /// Additional offset of the wall clock in milliseconds. May be negative.
    pub skew_ms: i64,
}

/// A shard's monotonic and wall clock. All shards count from the same origin, so deadlines remain valid when a session
/// moves to another shard.
#[derive(Debug)]
struct Clock {
    start: Instant,
    /// The wall-clock time at `wall_read`, from which later times are extrapolated.
    wall: Wall,
    wall_read: Instant,
    shift: Shift,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            start: start(),
            wall: calendar(),
            wall_read: now,
            shift: Shift::default(),
        }
    }

    /// Reads the monotonic clock. Also reads the wall clock if its last reading is at least a second old.
    pub(crate) fn read(&mut self) -> (Instant, Moment) {
        let instant = Instant::now();
        let mut ahead = instant.saturating_duration_since(self.wall_read);
        if ahead >= WALL_VALID {
            (self.wall, self.wall_read, ahead) = (calendar(), instant, Duration::ZERO);
        }
        let since = instant.saturating_duration_since(self.start);
        let Shift {
            advanced_ms,
            skew_ms,
        } = self.shift;
        let wall = self.wall.0.saturating_add(ms(ahead));
        // Keeps the low 32 bits. Wrapping subtraction yields correct spans even across a wrap-around.
        let micros = u32::try_from(since.as_micros() & u128::from(u32::MAX)).unwrap_or(0);
        (
            instant,
            Moment {
                now: Now(ms(since).saturating_add(advanced_ms)),
                wall: Wall(
                    wall.saturating_add(advanced_ms)
                        .saturating_add_signed(skew_ms),
                ),
                micros, // shifts do not affect measured durations
            },
        )
    }

    /// Sets the offset from the system's clocks. Returns whether the shard's clocks advance as a result.
    pub(crate) fn shift(&mut self, shift: Shift) -> bool {
        let before = std::mem::replace(&mut self.shift, shift);
        shift.advanced_ms > before.advanced_ms
    }

    /// Converts a deadline to an instant. Returns `None` for the maximum value, which means "never", and for instants
    /// that the system cannot represent.
    pub(crate) fn instant(&self, deadline: Now) -> Option<Instant> {
        let span = Duration::from_millis(deadline.0.saturating_sub(self.shift.advanced_ms));
        self.start
            .checked_add(span)
            .filter(|_| deadline.0 != u64::MAX)
    }
}

/// Returns the current time of the shards' clocks, without any offsets from tests.
pub(crate) fn shards_now() -> Now {
    Now(ms(Instant::now().saturating_duration_since(start())))
}

/// Returns the process's time origin, which is when this function was first called.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// Returns the system's wall-clock time. A time before 1970 is reported as 1970. A clock that is this wrong makes
/// signature checks fail anyway.
pub(crate) fn calendar() -> Wall {
    Wall(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms))
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

const WALL_VALID: Duration = Duration::from_secs(1);

#[cfg(test)]
mod clock_tests {
    use super::*;

    #[test]
    fn both_clocks_go_forward_and_agree_with_the_system() {
        let mut clock = Clock::new();
        let (first, at) = clock.read();
        let (second, later) = clock.read();
        assert!(second >= first && later.now >= at.now);
        let span = later.micros.wrapping_sub(at.micros);
        // Each time is truncated to whole microseconds.
        assert!(u128::from(span) <= first.elapsed().as_micros() + 1);
        assert!(later.wall.0.abs_diff(calendar().0) < 2_000);
    }

    #[test]
    fn a_shift_moves_both_clocks_and_the_instants_of_deadlines() {
        let mut clock = Clock::new();
        let (_, before) = clock.read();
        let due = Now(before.now.0 + 70_000);
        let instant = clock.instant(due).unwrap();
        clock.shift(Shift {
            advanced_ms: 61_000,
            skew_ms: -600_000,
        });
        let (_, after) = clock.read();
        assert!((61_000..66_000).contains(&after.now.since(before.now)));
        let behind = before.wall.0 - after.wall.0;
        assert!((534_000..=539_000).contains(&behind), "{behind}");
        assert!(after.micros.wrapping_sub(before.micros) < 5_000_000);
        let sooner = instant - clock.instant(due).unwrap();
        assert_eq!(sooner, Duration::from_secs(61));
    }

    #[test]
    fn two_shards_count_from_the_same_moment() {
        let (mut one, mut other) = (Clock::new(), Clock::new());
        assert!(one.read().1.now <= other.read().1.now);
        assert_eq!(one.instant(Now(5)), other.instant(Now(5)));
        assert_eq!(one.instant(Now(u64::MAX)), None);
    }
}
