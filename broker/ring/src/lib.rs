//! Network I/O of one thread: a safe interface to an io_uring instance or an epoll set.
//!
//! A [`Ring`] belongs to the thread that created it. It accepts and opens connections, receives into buffers of a
//! shared [pool](Lent), sends buffers that it owns until the send has completed, and waits for completions, one timeout
//! and bells rung by other threads. The contents of the bytes are not interpreted. Rationale:
//! broker/decisions/0001-own-ring.md; reasons for the two engines: broker/decisions/0053-two-engines.md.
//!
//! In reading order:
//! * [`Engine`], [`RingSettings`], [`Ring`] (`ring.rs`): the interface for callers; the turn ([`Ring::next`],
//!   [`Ring::enter`]), the operations (from [`Ring::accept`] on), and their cancellation.
//! * [`Key`] and [`Completion`] (`completion.rs`): results of operations, and the buffers of sends in flight.
//! * [`Lent`] (`pool.rs`): a received buffer, readable until it is given back.
//! * The io_uring engine (`uring.rs`), its operations (`operations.rs`), and retries of entries that the kernel refuses
//!   (`patience.rs`).
//! * The epoll engine (`epoll.rs`), and its descriptors (`descriptors.rs`).
//! * [`unacknowledged`], [`round_trip_us`] (`operations.rs`): acknowledgements of a peer's host, and their delay.
//! * [`probe`] (`probe.rs`): whether this machine supports io_uring, and the remedy if not.
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
//! The caller must follow five rules; violations can cause hangs, but not undefined behaviour:
//! 1. Completions appear only during [`Ring::enter`]; an event on the registered eventfd only means that an enter is
//!    due.
//! 2. A descriptor stays open until the final completion (`more == false`) of all operations armed on it. `close` under
//!    an armed multishot receive sends no FIN: `shutdown` first.
//! 3. [`Received::NoBuffers`] ends a receive: give buffers back or [add some](Ring::add_buffers), then arm it again.
//! 4. The ring decides whether a descriptor blocks: it sets the mode of its engine when an operation is armed.
//! 5. A descriptor is [released](Ring::release) before it is closed or moves to another ring.

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
