//! Network I/O for a single thread: a safe interface to an io_uring instance or an epoll set.
//!
//! A [`Ring`] belongs to the thread that created it. It accepts and opens connections, receives into buffers from a
//! shared [pool](Lent), and sends buffers, which it owns until the send has completed. It waits for completions, for
//! one timeout, and for "bells", which are eventfds that other threads write to. It does not interpret the bytes. See
//! broker/decisions/0001-own-ring.md for the rationale, and broker/decisions/0053-two-engines.md for why there are two
//! engines.
//!
//! In reading order:
//! * [`Engine`], [`RingSettings`], [`Ring`] (`ring.rs`): the public interface. It consists of the event loop
//!   ([`Ring::next`], [`Ring::enter`]), the operations (from [`Ring::accept`] on), and their cancellation.
//! * [`Key`] and [`Completion`] (`completion.rs`): the results of operations, and the buffers of sends in flight.
//! * [`Lent`] (`pool.rs`): a received buffer, which the caller can read until it gives the buffer back.
//! * The io_uring engine (`uring.rs`), its operations (`operations.rs`), and the retries of entries that the kernel
//!   refuses (`patience.rs`).
//! * [`unacknowledged`], [`round_trip_us`] (`operations.rs`): how many bytes the peer's host has not acknowledged, and
//!   the round-trip time.
//! * [`probe`] (`probe.rs`): checks whether this machine supports io_uring, and explains the remedy if not.
//! * [`lockable_bytes`], [`unregister_buffers`] (`memlock.rs`): the locked memory that io_urings are charged for.
//!
//! ```text
//!           accept/receive/send(key) ──► armed ─────────────┐
//!  caller                                                   ├─ enter(want, limit) ── kernel
//!           next() ◄── Completion { key, … } ◄── completions ┘
//!             │ Received::Bytes(lent)
//!             ├─ bytes(&mut lent) ── read and change in place
//!             └─ give_back(lent)  ── it may be filled again
//! ```
//!
//! The caller must follow five rules. Breaking them can cause hangs, but not undefined behavior:
//! 1. Completions appear only during [`Ring::enter`]. An event on the registered eventfd only means that the caller
//!    should call `enter`.
//! 2. A descriptor must stay open until every operation armed on it has had its final completion (`more == false`).
//!    Closing a socket under an armed multishot receive sends no FIN, so call `shutdown` first.
//! 3. [`Received::NoBuffers`] ends a receive. Give buffers back or [add some](Ring::add_buffers), then arm it again.
//! 4. The ring decides whether a descriptor blocks, and sets the mode that its engine needs when an operation is armed.
//! 5. A descriptor must be [released](Ring::release) before it is closed or moves to another ring.

mod completion;
mod descriptors;
mod epoll;
mod memlock;
mod operations;
mod patience;
mod pool;
mod probe;
mod ring;
mod uring;

pub use completion::{Completion, Key, Received};
pub use memlock::{
    MEMLOCK_BYTES_MIN, lockable_bytes, memlock_remedy, raise_memlock, unregister_buffers,
};
pub use operations::{adapts_buffers, round_trip_us, unacknowledged};
pub use pool::Lent;
pub use probe::{Unsupported, probe};
pub use ring::{Engine, Ring, RingSettings};
