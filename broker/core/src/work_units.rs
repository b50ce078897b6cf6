//! Units of work, which bound how long one iteration of a shard's event loop (a turn) takes.
//!
//! A unit is about ten nanoseconds on a slow core. Each kind of work costs a number of units, and a turn may spend
//! [`TURN`] units. The `work` benchmark measures the costs.
//!
//! ```text
//!  receives until RECEIVES  →  letters until LETTERS  →  ticks of TICK each until TICKS  →  sends
//! ```
//! Each stage checks its limit before it starts another item, so it exceeds its share by at most one item. An item may
//! cost as much as a request.

/// Maximum work per turn, equivalent to 4 ms.
pub const TURN: u64 = 400_000;

/// Limit for receives. Once a turn has done this much work, further receives wait for the next turn.
pub const RECEIVES: u64 = TURN * 3 / 8;

/// Limit for messages from other shards (letters), which come after the receives. Once a turn has done this much work,
/// further messages wait for the next turn.
pub const LETTERS: u64 = TURN / 2;

/// Limit for ticks, which come last. Once a turn has done this much work, further ticks wait for the next turn. At
/// least one tick always runs.
pub const TICKS: u64 = TURN * 3 / 4;

/// Maximum work in one tick.
pub const TICK: u64 = TURN / 8;

/// Cost of a WebSocket frame.
pub(crate) const FRAME: u64 = 24;

/// Cost of a request head, and of a body together with its response.
pub(crate) const REQUEST: u64 = 300;

/// Number of bytes that can be hashed for a signature in one unit of work.
pub(crate) const HASHED_BYTES_PER_UNIT: u64 = 4;

/// Cost of one step in matching a policy pattern; see [`codec::policy::Policy::decide`].
pub(crate) const POLICY_STEP: u64 = 1;

/// Cost of examining a channel record for a page of ListSignalingChannels.
pub(crate) const RECORD: u64 = 25;

/// Cost of a message from another shard, excluding any query in it.
pub const LETTER: u64 = 300;

/// Cost of accepting a connection or refusing it immediately.
pub const ACCEPT: u64 = 400;

/// Cost of a ring completion.
pub const COMPLETION: u64 = 40;

/// Cost of one step of a TLS handshake.
pub const HANDSHAKE_STEP: u64 = 10_000;

/// Number of bytes that can be received in one unit of work. Includes decryption, unmasking, parsing and copying.
pub const RECEIVED_BYTES_PER_UNIT: u64 = 8;
