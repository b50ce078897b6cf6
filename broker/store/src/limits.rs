//! Bounds of sizes, with their reasons.

use std::time::Duration;

/// Memory that the engine may use for pages, in bytes. Commits touch few pages, and loading reads each once; what it
/// does not keep is in the kernel's page cache. Pages of a larger transaction are written before its commit, where
/// nothing refers to them yet.
pub const CACHE_BYTES: usize = 512 * 1024;

/// Longest key, in bytes. A channel's ARN has at most some 350.
pub const KEY_BYTES_MAX: usize = 1024;

/// Longest value, in bytes. Fifty tags of 128 and 256 characters of four bytes each are 76,800.
pub const VALUE_BYTES_MAX: usize = 128 * 1024;

/// Changes that wait for the thread, of all shards together. Full means that a change is refused; its owner answers
/// that the service is busy. As many again are in the batch under way.
///
/// A commit takes a few milliseconds, so that a thousand stand for seconds of a healthy disk. At the largest values
/// they hold 128 MiB, at the usual 300 bytes 300 KiB.
pub const QUEUE_CHANGES_MAX: usize = 1024;

/// Most changes of one transaction: all that can wait, so that one sync answers everybody.
pub const BATCH_CHANGES_MAX: usize = QUEUE_CHANGES_MAX;

/// Bytes of keys and values after which a batch takes no further change. Bounds what a commit holds in memory at once.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The interval at which the thread looks for room on a disk that was full.
pub const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Bytes that a disk must take to count as having room: more than any one commit of usual changes needs. A batch of
/// [`BATCH_BYTES_MAX`] may still find none.
pub const PROBE_BYTES: usize = 1024 * 1024;

/// Bytes that checking a file may write to its overlay: the engine's notes on free pages, if it made any at all.
pub const OVERLAY_BYTES_MAX: u64 = 64 * 1024 * 1024;

const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX < BATCH_BYTES_MAX);
