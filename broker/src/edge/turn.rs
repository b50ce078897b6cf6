//! The time, the work and the duration of the current turn of the drive loop.

use crate::edge::{counters::EdgeCounts, limits::LONG_TURN_US};
use broker_core::limits::STALL_MS;
use broker_core::time::{Moment, Now, Wall};
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The current turn, and the clocks of the shard.
pub(crate) struct Turn {
    clock: Clock,
    /// The time of this turn, in the form that the ring uses. `at` is the same time, in the form that the machine uses.
    now: Instant,
    at: Moment,
    /// Whether turns are measured by the CPU time of their thread.
    by_cpu: bool,
    /// CPU time of the thread at the start of this turn. Used only if turns are measured in CPU time.
    began: Duration,
    /// Number of this turn. In each turn, every peer gets a new share of the receive buffers.
    number: u32,
    /// The machine's total work at the start of this turn. The edge's own work since then is in `worked`.
    begun: u64,
    worked: u64,
    /// Whether sent bytes have been reported to the machine in this turn.
    reported: bool,
}

impl Turn {
    /// Creates the state before the first turn.
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

    /// Returns the time of this turn, for the ring.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Returns the time of this turn, for the machine.
    #[inline]
    pub(crate) fn at(&self) -> Moment {
        self.at
    }

    /// Returns the number of this turn. The numbers wrap around.
    #[inline]
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Reads the clocks for the next turn. Returns when the previous turn started.
    pub(crate) fn read(&mut self) -> Instant {
        let before = self.now;
        (self.now, self.at) = self.clock.read();
        before
    }

    /// Returns the time since which the shard has not been running, if the previous turn started a long time ago.
    /// `before` is the start of the previous turn.
    pub(crate) fn stood_still(&self, before: Instant) -> Option<Now> {
        let span = self.now.saturating_duration_since(before).as_millis();
        let span = u64::try_from(span).unwrap_or(u64::MAX);
        (span > STALL_MS).then(|| Now(self.at.now.0.saturating_sub(span)))
    }

    /// Starts a turn. `work` is the machine's total work so far.
    pub(crate) fn begin(&mut self, work: u64) {
        self.number = self.number.wrapping_add(1);
        (self.begun, self.worked) = (work, 0);
    }

    /// Counts work of the edge, in units of [`broker_core::work_units`].
    #[inline]
    pub(crate) fn add_work(&mut self, units: u64) {
        self.worked += units;
    }

    /// Returns the work done so far in this turn, in units. `work` is the machine's total work.
    #[inline]
    pub(crate) fn work(&self, work: u64) -> u64 {
        work - self.begun + self.worked
    }

    /// Records that sent bytes have been reported to the machine.
    #[inline]
    pub(crate) fn report(&mut self) {
        self.reported = true;
    }

    /// Returns the time after this turn's sends, or `None` if nothing was sent. Reads the clock only if something was
    /// sent.
    pub(crate) fn after_sends(&mut self) -> Option<(Instant, Moment)> {
        std::mem::take(&mut self.reported).then(|| self.clock.read())
    }

    /// Adds the duration of a turn to the counters.
    pub(crate) fn account(&mut self, from: Instant, to: Instant, counts: &mut EdgeCounts) {
        let us = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let span = to.saturating_duration_since(from);
        let turn = us(self.cpu_lap().unwrap_or(span));
        counts.busy_us += us(span);
        counts.longest_turn_us = counts.longest_turn_us.max(turn);
        counts.long_turns += u64::from(turn > LONG_TURN_US);
    }

    /// Returns the CPU time used since the turn began, and starts the next measurement. Returns `None` if turns are not
    /// measured in CPU time.
    pub(crate) fn cpu_lap(&mut self) -> Option<Duration> {
        if !self.by_cpu {
            return None;
        }
        let now = thread_time();
        Some(now.saturating_sub(std::mem::replace(&mut self.began, now)))
    }

    /// Returns the instant of a deadline. See [`Clock::instant`].
    pub(crate) fn instant(&self, due: Now) -> Option<Instant> {
        self.clock.instant(due)
    }

    /// Shifts the clocks. Returns whether this moves them forward, and their new time.
    pub(crate) fn shift(&mut self, shift: Shift) -> (bool, Moment) {
        let advances = self.clock.shift(shift);
        (advances, self.clock.read().1)
    }

    /// Continues the turn as if the time were `at`.
    pub(crate) fn move_to(&mut self, at: Moment) {
        self.at = at;
    }
}

// The clocks, which are read once per turn.

/// The offset of a shard's clocks from the system's clocks. Zero except in tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// Number of milliseconds by which both clocks are ahead of the system's.
    pub advanced_ms: u64,
    /// Additional offset of the calendar clock alone, in milliseconds. May be negative.
    pub skew_ms: i64,
}

/// The two clocks that a shard uses. All shards count from the same origin, so deadlines remain valid when a session
/// moves to another shard.
#[derive(Debug)]
struct Clock {
    start: Instant,
    /// The calendar time at `wall_read`. Later times are extrapolated from it.
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

    /// Reads the monotonic clock. Also reads the calendar clock if its last reading is at least a second old.
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
        // Keeps the low 32 bits. Spans across a wrap-around are measured by wrapping subtraction.
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

    /// Sets the offset from the system's clocks. Returns whether this advances the shard's clocks.
    pub(crate) fn shift(&mut self, shift: Shift) -> bool {
        let before = std::mem::replace(&mut self.shift, shift);
        shift.advanced_ms > before.advanced_ms
    }

    /// Converts a deadline to an instant. Returns `None` for the maximum value, which means "never", or if the system
    /// cannot represent the instant.
    pub(crate) fn instant(&self, deadline: Now) -> Option<Instant> {
        let span = Duration::from_millis(deadline.0.saturating_sub(self.shift.advanced_ms));
        self.start
            .checked_add(span)
            .filter(|_| deadline.0 != u64::MAX)
    }
}

/// Returns the CPU time that the calling thread has used in user and kernel mode. Unlike the other clocks, this
/// requires a system call.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Returns the current time of the shards' clocks, without the offsets used in tests.
pub(crate) fn shards_now() -> Now {
    Now(ms(Instant::now().saturating_duration_since(start())))
}

/// Returns the time origin of the process: the time at which this function was first called.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// Returns the system's calendar time. A time before 1970 is reported as 1970. A clock that shows such a time is wrong
/// anyway, and signature checks will fail.
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
