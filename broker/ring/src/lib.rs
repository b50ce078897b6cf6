//! One core's own io_uring, behind a safe front.
//!
//! A [`Ring`] belongs to the thread that made it (`SINGLE_ISSUER`, `DEFER_TASKRUN`). It accepts, receives into buffers
//! that the kernel picks from a shared [pool](Lent), sends buffers that it owns until the kernel is done with them,
//! connects, and waits: for completions, for one timeout and for bells rung by other threads. Nothing here knows what
//! the bytes mean. Why it exists: broker/decisions/0001-own-ring.md.
//!
//! In reading order:
//! * [`Settings`], [`Ring::new`], [`Ring::next`], [`Ring::enter`] (`ring.rs`): the turn.
//! * what becomes of entries that the kernel does not take (`patience.rs`).
//! * the operations (`operations.rs`): [`Ring::accept`], [`Ring::receive_once`], [`Ring::receive_many`],
//!   [`Ring::send`], [`Ring::connect`], [`Ring::bell`], [`Ring::wake_by`], and how to cancel them; and what a peer's
//!   machine has of what was sent: [`unacknowledged`], [`round_trip_us`].
//! * [`Key`] and [`Completion`] (`completion.rs`): what comes back, and the buffers of sends until then.
//! * [`Lent`] (`pool.rs`): a received buffer, readable until it is given back and not after.
//! * [`probe`] (`probe.rs`): whether this machine allows any of it, and the remedy if not.
//! * [`lockable_bytes`], [`unregister_buffers`] (`memlock.rs`): the locked memory that rings are charged for.
//!
//! ```text
//!           accept/receive/send(key) ──► submission queue ──┐
//!  caller                                                   ├─ enter(want, limit) ── kernel
//!           next() ◄── Completion { key, … } ◄── completions ┘
//!             │ Received::Bytes(lent)
//!             ├─ bytes(&mut lent) ── read and change in place
//!             └─ give_back(lent)  ── the kernel may fill it again
//! ```
//!
//! Four rules that the kernel sets and the caller must keep, or things hang (they cannot become unsafe):
//! 1. Completions appear only during [`Ring::enter`]; an event on the registered eventfd only says that an enter is
//!    due.
//! 2. A descriptor stays open until the final completion (`more == false`) of everything armed on it. `close` under an
//!    armed multishot receive sends no FIN: `shutdown` first.
//! 3. [`Received::NoBuffers`] ends a receive: give buffers back or [add some](Ring::add_buffers), then arm it again.
//! 4. Listeners and eventfds stay blocking descriptors: on others the kernel answers `EAGAIN` where it should wait.

mod completion;
mod memlock;
mod operations;
mod patience;
mod pool;
mod probe;
mod ring;

pub use completion::{Completion, Key, Received};
pub use memlock::{
    MEMLOCK_BYTES_MIN, lockable_bytes, memlock_remedy, raise_memlock, unregister_buffers,
};
pub use operations::{round_trip_us, unacknowledged};
pub use pool::Lent;
pub use probe::{Unsupported, probe};
pub use ring::{Ring, Settings};
