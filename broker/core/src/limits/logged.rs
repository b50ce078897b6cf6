//! Lines in the log: a shard notes a number of a kind within a second, and counts the others.

/// Refused requests that one shard notes in the log within a second. The others are counted:
/// `heliograph_log_suppressed_total`.
pub const REFUSALS_LOGGED_PER_SECOND: u32 = 50;

/// The same of one network (/24 of IPv4, /48 of IPv6): a flood from one does not hide a device elsewhere.
pub const REFUSALS_LOGGED_PER_PREFIX: u32 = 10;

/// Ends of WebSocket connections that one shard notes in the log within a second; the others are counted with the
/// refusals.
pub const ENDS_LOGGED_PER_SECOND: u32 = 200;

/// The same of channels of one account: one that connects in a loop hides no other's.
pub const ENDS_LOGGED_PER_ACCOUNT: u32 = 50;

/// Messages that were not accepted and that one shard notes in the log within a second; the others are counted with the
/// refusals. A sample is enough to see which client sends them and why: the metrics have their number.
pub const UNACCEPTED_LOGGED_PER_SECOND: u32 = 50;

/// The same of channels of one account: one client that sends them in a loop hides no other account's.
pub const UNACCEPTED_LOGGED_PER_ACCOUNT: u32 = 10;

/// Failures of the registry's store that one shard notes in the log within a second; the others are counted with the
/// refusals. Each change that is asked for meets the same failure.
pub const STORE_TROUBLES_LOGGED_PER_SECOND: u32 = 5;

/// Lines of one shard within a second about nodes that do not answer; each counts the requests since the one before.
pub const NODE_TROUBLES_LOGGED_PER_SECOND: u32 = 1;
