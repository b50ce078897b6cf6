//! Bounds of devices that wait with `GET /wake`.

use crate::limits::share;
use std::ops::RangeInclusive;

/// Devices that wait with `GET /wake` in one process: as many connections. Each takes some 100 bytes beside the
/// connection's own. See [`wake_polls_per_shard`].
pub const WAKE_POLLS_MAX: usize = 131_072;

/// Devices that wait on the channels of one shard: its part of [`WAKE_POLLS_MAX`].
///
/// When all are taken, the device of the account with most is answered `ClientLimitExceededException` in favour of an
/// account with fewer. No account with fewer: the next one is.
#[must_use]
pub const fn wake_polls_per_shard(shards: usize) -> usize {
    share(WAKE_POLLS_MAX, shards, 1024, WAKE_POLLS_MAX)
}

/// Seconds that a device may ask to wait. A NAT that forgets idle connections earlier is kept awake by TCP keepalives.
pub const WAKE_WAIT_S: RangeInclusive<u64> = 30..=600;

/// The same, where it does not say.
pub const WAKE_WAIT_S_DEFAULT: u64 = 240;

/// Things whose sign-ins of the hour are counted, for all shards: half a MiB. Others are not counted within that hour.
pub const SIGN_INS_COUNTED_MAX: usize = 65_536;

/// Sign-ins of one thing in an hour; the next one is listed beside refusals, though it is served. Keys last 15 minutes
/// at least, and the C SDK renews them up to 20 % early, which makes six an hour; a device whose clock is ahead asks
/// before each of its calls.
pub const SIGN_INS_PER_HOUR: u64 = 20;

/// Channels of one import while the process runs: the store makes them in one commit. More need a stopped process.
pub const IMPORTED_MAX: usize = 1000;
