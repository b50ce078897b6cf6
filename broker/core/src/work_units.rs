//! Units of work, which limit the length of a shard's turn.
//!
//! A unit is about ten nanoseconds on a slow core. Each kind of work costs a number of units, and a turn may use
//! [`TURN`] units. The benchmark `work` measures the costs.
//!
//! ```text
//!  receives until RECEIVES  →  letters until LETTERS  →  ticks of TICK each until TICKS  →  sends
//! ```
//! Each stage checks its limit before it starts an item, so it exceeds its share by at most one item, which costs as
//! much as one request.

/// Maximum work per turn; corresponds to 4 ms.
pub const TURN: u64 = 400_000;

/// Limit for receives: once a turn has used this much work, the rest wait for the next turn.
pub const RECEIVES: u64 = TURN * 3 / 8;

/// Limit for letters, which follow receives: once a turn has used this much work, the rest wait for the next turn.
pub const LETTERS: u64 = TURN / 2;

/// Limit for ticks, which come last: once a turn has used this much work, the rest wait for the next turn. At least one
/// tick always runs.
pub const TICKS: u64 = TURN * 3 / 4;

/// Maximum work in one tick.
pub const TICK: u64 = TURN / 8;

/// Cost of a WebSocket frame.
pub(crate) const FRAME: u64 = 24;

/// Cost of a request head, or of a body and its response.
pub(crate) const REQUEST: u64 = 300;

/// Bytes hashed for a signature per unit.
pub(crate) const HASHED_BYTES_PER_UNIT: u64 = 4;

/// Cost of a pattern-matching step in a policy; see [`codec::policy::Policy::decide`].
pub(crate) const POLICY_STEP: u64 = 1;

/// Cost of examining a channel record for a page of a channel list.
pub(crate) const RECORD: u64 = 25;

/// Cost of a letter from another shard, without its query.
pub const LETTER: u64 = 300;

/// Cost of accepting a connection or refusing it at once.
pub const ACCEPT: u64 = 400;

/// Cost of a ring completion.
pub const COMPLETION: u64 = 40;

/// Cost of one step of a TLS handshake.
pub const HANDSHAKE_STEP: u64 = 10_000;

/// Received bytes per unit, for decryption, unmasking, parsing and copying.
pub const RECEIVED_BYTES_PER_UNIT: u64 = 8;
