//! A turn of the drive loop: its moment by the clocks, its work, and its duration.

use crate::edge::{counters::EdgeCounts, limits::LONG_TURN_US};
use broker_core::limits::STALL_MS;
use broker_core::time::{Moment, Now, Wall};
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The current turn, and the shard's clocks.
pub(crate) struct Turn {
    clock: Clock,
    /// The moment of this turn, twice: for the ring and for the machine.
    now: Instant,
    at: Moment,
    /// Whether turns are measured by the CPU time of their thread.
    by_cpu: bool,
    /// CPU time of the thread at the start of this turn, if turns are measured by it.
    began: Duration,
    /// Counts turns, for the share of each peer in one.
    number: u32,
    /// The machine's work at the start of this turn, and that of the edge since.
    begun: u64,
    worked: u64,
    /// Whether sent bytes were reported to the machine in this turn.
    reported: bool,
}

impl Turn {
    /// State before the first turn.
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

    /// Number of this turn. Wraps.
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

    /// Since when the shard did not run, if that was for long: the previous turn began at `before`.
    pub(crate) fn stood_still(&self, before: Instant) -> Option<Now> {
        let span = self.now.saturating_duration_since(before).as_millis();
        let span = u64::try_from(span).unwrap_or(u64::MAX);
        (span > STALL_MS).then(|| Now(self.at.now.0.saturating_sub(span)))
    }

    /// Begins a turn; the machine has done this much work before.
    pub(crate) fn begin(&mut self, work: u64) {
        self.number = self.number.wrapping_add(1);
        (self.begun, self.worked) = (work, 0);
    }

    /// Counts work of the edge, in units of [`broker_core::work_units`].
    #[inline]
    pub(crate) fn add_work(&mut self, units: u64) {
        self.worked += units;
    }

    /// Work of this turn so far, in units; the machine has done `work` since its start.
    #[inline]
    pub(crate) fn work(&self, work: u64) -> u64 {
        work - self.begun + self.worked
    }

    /// Records that sent bytes were reported to the machine.
    #[inline]
    pub(crate) fn report(&mut self) {
        self.reported = true;
    }

    /// Moment after this turn's sends, if there were any: the only clock read for measuring them.
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

    /// CPU time since the turn began, if turns are measured by it; the next one begins here.
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

    /// Moves the clocks. Returns whether they advance, and their moment.
    pub(crate) fn shift(&mut self, shift: Shift) -> (bool, Moment) {
        let advances = self.clock.shift(shift);
        (advances, self.clock.read().1)
    }

    /// Continues the turn at `at`.
    pub(crate) fn move_to(&mut self, at: Moment) {
        self.at = at;
    }
}

// The clocks, read once per turn.

/// Distance of a shard's clocks from those of the system. Zero unless a test moves them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// Both clocks are ahead by this many milliseconds.
    pub advanced_ms: u64,
    /// The calendar alone is ahead by this many milliseconds more, or behind.
    pub skew_ms: i64,
}

/// One shard's view of the two clocks. All shards count from the same moment, so deadlines can travel with their
/// session.
#[derive(Debug)]
struct Clock {
    start: Instant,
    /// The calendar at `wall_read`; extrapolated in between.
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

    /// Reads the monotonic clock, and the calendar if the last read is a second old.
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
        // The low 32 bits: spans across the wrap are measured by wrapping subtraction.
        let micros = u32::try_from(since.as_micros() & u128::from(u32::MAX)).unwrap_or(0);
        (
            instant,
            Moment {
                now: Now(ms(since).saturating_add(advanced_ms)),
                wall: Wall(
                    wall.saturating_add(advanced_ms)
                        .saturating_add_signed(skew_ms),
                ),
                micros, // durations are measured, not moved
            },
        )
    }

    /// Sets the distance from the system's clocks. Returns whether that advances them.
    pub(crate) fn shift(&mut self, shift: Shift) -> bool {
        let before = std::mem::replace(&mut self.shift, shift);
        shift.advanced_ms > before.advanced_ms
    }

    /// Instant of a deadline; `None` for the end of time, which means "never", and beyond what the system can
    /// represent.
    pub(crate) fn instant(&self, deadline: Now) -> Option<Instant> {
        let span = Duration::from_millis(deadline.0.saturating_sub(self.shift.advanced_ms));
        self.start
            .checked_add(span)
            .filter(|_| deadline.0 != u64::MAX)
    }
}

/// CPU time of the calling thread, in user and kernel mode. A system call, unlike the other clocks.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Current moment of shards' clocks, unless a test has moved them.
pub(crate) fn shards_now() -> Now {
    Now(ms(Instant::now().saturating_duration_since(start())))
}

/// Moment from which the process counts: that of the first call.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// Calendar of the system. A time before 1970 reads as 1970: it is wrong anyway, and signatures will show it.
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
        // Each is cut to whole microseconds.
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
