//! Bounds of what shards do to open connections by themselves: recalling them, and asking them again after other
//! credentials came.

/// Between two connections of a shard that are closed so that they fetch ICE servers again, in milliseconds: 100 a
/// second. Each comes back with up to five TLS handshakes, so a quarter of a core.
pub const RECALL_STEP_MS: u64 = 10;

/// Open connections that a shard asks again in one turn: each decides its policies once, about a microsecond, and as
/// much again for a session that is looked up. The others are asked in the turns that follow.
pub const RECHECKS_PER_TURN: usize = 1_000;

/// Time within which those that are refused are closed, in milliseconds: 5 s, less what a busy shard is late.
pub const RECHECK_CLOSE_MS: u64 = 4_500;

/// Time before that in which others may come, where more than half of all connections are refused, in milliseconds.
pub const RECHECK_WAIT_MS: u64 = 10_000;

/// Between two looks whether all shards have asked theirs, in milliseconds.
pub const RECHECK_LOOK_MS: u64 = 20;

/// Time within which a connection may come that was let in by the credentials of before, in milliseconds: one is on its
/// way between two shards for no longer than the time for its head.
pub const RECHECK_LATE_MS: u64 = 60_000;
