//! The clocks and the random number generator of this machine.

use broker_core::time::Now;
use rustix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time that leases and timeouts use. The clock is monotonic, and continues while the machine is suspended.
#[must_use]
pub fn now() -> Now {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Now(seconds * 1_000 + nanoseconds / 1_000_000)
}

/// Returns the wall-clock time, in milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let calendar = SystemTime::now().duration_since(UNIX_EPOCH);
    calendar.map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(0))
}

/// Returns random bytes for keys and ids, or `None` if the system's generator fails.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes)
}
