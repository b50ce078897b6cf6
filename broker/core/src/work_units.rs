//! Units of work, so that a turn of a shard ends in time whatever it contains.
//!
//! A unit is about ten nanoseconds of a slow core. Each kind of work has a price in units, and a turn may take [`TURN`]
//! of them. The bench `work` measures the units of each kind.
//!
//! ```text
//!  receives until RECEIVES  →  letters until LETTERS  →  ticks of TICK each until TICKS  →  sends
//! ```
//! Each stage checks before it begins a piece, so it exceeds its part by at most one piece: the cost of one request.

/// Most work of one turn: 4 ms.
pub const TURN: u64 = 400_000;

/// Receives are served until the turn has used this much; the rest waits for the next turn.
pub const RECEIVES: u64 = TURN * 3 / 8;

/// Letters, which follow receives, are served until the turn has used this much.
pub const LETTERS: u64 = TURN / 2;

/// Ticks, which come last, are made until the turn has used this much. One is made in any case.
pub const TICKS: u64 = TURN * 3 / 4;

/// Most work of one tick.
pub const TICK: u64 = TURN / 8;

/// A WebSocket frame.
pub(crate) const FRAME: u64 = 24;

/// A head, or a body with its answer.
pub(crate) const REQUEST: u64 = 300;

/// Bytes hashed for a signature, per unit.
pub(crate) const HASHED_BYTES_PER_UNIT: u64 = 4;

/// A step of pattern matching in policies: see [`codec::policy::Policy::decide`].
pub(crate) const POLICY_STEP: u64 = 1;

/// A channel record examined for a page of a list.
pub(crate) const RECORD: u64 = 25;

/// A letter of another shard, besides its query.
pub const LETTER: u64 = 300;

/// An accepted connection, or one refused at once.
pub const ACCEPT: u64 = 400;

/// A completion of the ring.
pub const COMPLETION: u64 = 40;

/// A step of a TLS handshake.
pub const HANDSHAKE_STEP: u64 = 10_000;

/// Received bytes per unit: decrypted, unmasked, parsed and copied.
pub const RECEIVED_BYTES_PER_UNIT: u64 = 8;
