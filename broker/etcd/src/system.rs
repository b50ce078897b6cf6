//! The clock and the randomness of this machine.

use broker_core::time::Now;
use rustix::time::{ClockId, clock_gettime};

/// The clock of leases and silence: monotonic, and goes on while the machine sleeps.
pub(crate) fn now() -> Now {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Now(seconds * 1_000 + nanoseconds / 1_000_000)
}

/// Random bytes for keys and ids; nothing if the system has none.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes)
}
