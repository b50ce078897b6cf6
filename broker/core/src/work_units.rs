//! Work in units, so that a turn of a shard ends in time whatever is in it.
//!
//! A unit is about ten nanoseconds of a slow core. Each kind of work has a price in units, and a turn may take
//! [`TURN`] of them. The bench `work` measures what a unit of each kind takes.
//!
//! ```text
//!  receives until RECEIVES  →  letters until LETTERS  →  ticks of TICK each until TICKS  →  sends
//! ```
//! Each stage looks before it begins a piece, so it exceeds its part by one piece: what one request takes at most.

/// The work of one turn at most: 4 ms.
pub const TURN: u64 = 400_000;

/// Receives are served until the turn has had this much; the rest waits for the next one.
pub const RECEIVES: u64 = TURN * 3 / 8;

/// The same of letters, which come after them.
pub const LETTERS: u64 = TURN / 2;

/// The same of ticks, which come last. One is made in any case.
pub const TICKS: u64 = TURN * 3 / 4;

/// The work of one tick at most.
pub const TICK: u64 = TURN / 8;

/// A WebSocket frame.
pub(crate) const FRAME: u64 = 24;

/// A head, or a body with its answer.
pub(crate) const REQUEST: u64 = 300;

/// Bytes that are hashed to check a signature, for one unit.
pub(crate) const HASHED_BYTES_PER_UNIT: u64 = 4;

/// A step of matching policies: see [`codec::policy::Policy::decide`].
pub(crate) const POLICY_STEP: u64 = 1;

/// A channel's record that is looked at for a page.
pub(crate) const RECORD: u64 = 25;

/// A letter of another shard, beside what its query takes.
pub const LETTER: u64 = 300;

/// A connection that is accepted, or refused at once.
pub const ACCEPT: u64 = 400;

/// A completion of the ring.
pub const COMPLETION: u64 = 40;

/// A step of a TLS handshake.
pub const HANDSHAKE_STEP: u64 = 10_000;

/// Bytes that are received, for one unit: they are decrypted, unmasked, read and copied.
pub const RECEIVED_BYTES_PER_UNIT: u64 = 8;
