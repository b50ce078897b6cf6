//! Units of work, which limit the duration of a shard's turn.
//!
//! A unit is about ten nanoseconds on a slow core. Each kind of work costs a number of units, and a turn may use
//! [`TURN`] of them. The bench `work` measures the cost of each kind.
//!
//! ```text
//!  receives until RECEIVES  →  letters until LETTERS  →  ticks of TICK each until TICKS  →  sends
//! ```
//! Each stage checks its limit before starting an item, so it exceeds its share by at most one item, that is, the cost
//! of one request.

/// Maximum work in one turn: 4 ms.
pub const TURN: u64 = 400_000;

/// Receives are processed until the turn has used this much; the rest wait for the next turn.
pub const RECEIVES: u64 = TURN * 3 / 8;

/// Letters, which follow receives, are processed until the turn has used this much.
pub const LETTERS: u64 = TURN / 2;

/// Ticks, which come last, run until the turn has used this much. At least one always runs.
pub const TICKS: u64 = TURN * 3 / 4;

/// Maximum work in one tick.
pub const TICK: u64 = TURN / 8;

/// Cost of a WebSocket frame.
pub(crate) const FRAME: u64 = 24;

/// Cost of a request head, or of a body and its response.
pub(crate) const REQUEST: u64 = 300;

/// Number of bytes hashed for a signature per unit.
pub(crate) const HASHED_BYTES_PER_UNIT: u64 = 4;

/// Cost of a pattern-matching step in policies: see [`codec::policy::Policy::decide`].
pub(crate) const POLICY_STEP: u64 = 1;

/// Cost of examining a channel record for a page of a channel list.
pub(crate) const RECORD: u64 = 25;

/// Cost of a letter from another shard, excluding the query it carries.
pub const LETTER: u64 = 300;

/// Cost of accepting a connection, or of refusing it immediately.
pub const ACCEPT: u64 = 400;

/// Cost of a completion of the ring.
pub const COMPLETION: u64 = 40;

/// Cost of a step of a TLS handshake.
pub const HANDSHAKE_STEP: u64 = 10_000;

/// Number of received bytes per unit, which are decrypted, unmasked, parsed and copied.
pub const RECEIVED_BYTES_PER_UNIT: u64 = 8;
