//! Messages between shards, called letters: a bounded queue per reader, and the protocol that wakes a sleeping reader.
//!
//! Any thread posts letters, and one thread reads them. In reading order:
//!
//! * `queue`: the [`Mailbox`], its reserved capacity, and the two eventfds that wake its reader;
//! * `wake`: how a producer knows whether, and on which eventfd, it must wake the reader. With `--cfg model`, this file
//!   alone is compiled, on loom's atomics: `RUSTFLAGS="--cfg model" cargo test -p mailbox --release` explores all
//!   interleavings.
//!
//! Out of scope: blocking, retries, dropping. A refused letter returns to its sender, which decides what to do. For the
//! capacity reserved for each kind of letter, see broker/decisions/0005-mailboxes.md.

#[cfg(not(model))]
mod queue;
#[cfg(any(not(model), test))]
mod wake;

#[cfg(not(model))]
pub use queue::Mailbox;
#[cfg(any(not(model), test))]
pub use wake::Sleep;
