//! Lines in the log: a shard notes a number of a kind within a second, and counts the others.

/// The window within which a shard shares out its notes of refused requests, in milliseconds. The others are counted:
/// `heliograph_log_suppressed_total`.
pub const REFUSAL_WINDOW_MS: u64 = 10_000;

/// Groups of refusals (one check of one channel or key) of one network (/24 of IPv4, /48 of IPv6) that have a note
/// within a window. Those of further groups are counted as others.
pub const REFUSAL_GROUPS_PER_NETWORK: usize = 64;

/// The same of all networks, 384 bytes each at most: those of one network of many clients, and 16 more.
pub const REFUSAL_GROUPS_MAX: usize = 80;

/// Further notes of groups that have one, of one network: it sees each try of somebody who tries things out. A storm
/// from one address takes 16 of the 4,096 that are kept in ten seconds, so they reach back 40 minutes.
pub const REFUSALS_REPEATED_PER_NETWORK: u32 = 15;

/// The same of all networks.
pub const REFUSALS_REPEATED_MAX: u32 = 128;

/// Lines about changes that were refused, or that a policy refused, which one shard writes within a second; the others
/// are counted with the refusals.
pub const DENIALS_LOGGED_PER_SECOND: u32 = 50;

/// The same of one network: a flood from one does not hide a device elsewhere.
pub const DENIALS_LOGGED_PER_PREFIX: u32 = 10;

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
