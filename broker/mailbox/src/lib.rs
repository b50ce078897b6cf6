//! Letters between shards: a bounded queue per reader, and the protocol that wakes a sleeping reader.
//!
//! Any thread posts, one thread reads. In reading order:
//!
//! * `queue`: the [`Mailbox`], which letters may use its last places, and the two doors by which its reader is woken;
//! * `wake`: how a producer knows whether, and by which door, it must wake the reader. With `--cfg model` only this
//!   file is compiled, on loom's atomics: `RUSTFLAGS="--cfg model" cargo test -p mailbox --release` runs all
//!   interleavings.
//!
//! Not here: blocking, retries, dropping. A refused letter returns to its owner, which decides. Which places are
//! reserved for which letters: broker/decisions/0005-mailboxes.md.

#[cfg(not(model))]
mod queue;
#[cfg(any(not(model), test))]
mod wake;

#[cfg(not(model))]
pub use queue::Mailbox;
#[cfg(any(not(model), test))]
pub use wake::Sleep;
