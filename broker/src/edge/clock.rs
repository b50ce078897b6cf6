//! The clocks, read once per turn.

use broker_core::time::{Moment, Now, Wall};
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The distance of a shard's clocks from those of the system. Only a test that moves them makes it other than zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// Both clocks are ahead by this many milliseconds.
    pub advanced_ms: u64,
    /// The calendar alone is ahead by this many milliseconds more, or behind.
    pub skew_ms: i64,
}

/// One shard's view of the two clocks. All shards count from the same moment, so a deadline can travel with its
/// session.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The calendar at `wall_read`; in between it is extrapolated.
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

    /// Reads the monotonic clock, and the calendar when the last look at it is a second old.
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

    /// Both clocks differ from those of the system by this much from here on. Returns whether they advance by that.
    pub(crate) fn shift(&mut self, shift: Shift) -> bool {
        let before = std::mem::replace(&mut self.shift, shift);
        shift.advanced_ms > before.advanced_ms
    }

    /// The instant of a deadline; `None` for the end of time, which means "never", and beyond what the system can
    /// count.
    pub(crate) fn instant(&self, deadline: Now) -> Option<Instant> {
        let span = Duration::from_millis(deadline.0.saturating_sub(self.shift.advanced_ms));
        self.start
            .checked_add(span)
            .filter(|_| deadline.0 != u64::MAX)
    }
}

/// CPU time of the calling thread, in user and kernel mode. A system call, unlike the other clocks.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// The moment that the clocks of shards show, unless a test has moved them.
pub(crate) fn shards_now() -> Now {
    Now(ms(Instant::now().saturating_duration_since(start())))
}

/// The moment from which the process counts: that of the first call.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// The system's calendar. One before 1970 reads as 1970: it is wrong anyway, and signatures will say so.
pub(crate) fn calendar() -> Wall {
    Wall(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms))
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

const WALL_VALID: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {

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
