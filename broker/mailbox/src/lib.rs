//! Letters between shards: a bounded queue per reader, and the protocol that wakes a sleeping reader.
//!
//! Any thread posts, one thread reads. In reading order:
//!
//! * `queue`: the [`Mailbox`], which letters may use its last places, and the two doors by which its reader is woken;
//! * `wake`: how a producer knows whether, and by which door, it must wake the reader. Built with `--cfg model` this
//!   file alone is compiled, on loom's atomics: `RUSTFLAGS="--cfg model" cargo test -p mailbox --release` runs all
//!   interleavings.
//!
//! Absent here: blocking, retries, dropping. A letter that finds no room comes back and its owner decides. Which places
//! are kept for which letters: broker/decisions/0005-mailboxes.md.

#[cfg(not(model))]
mod queue;
#[cfg(any(not(model), test))]
mod wake;

#[cfg(not(model))]
pub use queue::Mailbox;
#[cfg(any(not(model), test))]
pub use wake::Sleep;
