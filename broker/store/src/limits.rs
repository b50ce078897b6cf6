//! Bounds of sizes, with their reasons.

use std::time::Duration;

/// Memory of the engine for pages, in bytes. Commits touch few pages, and loading reads each once; other pages are in
/// the kernel's page cache. Pages of a larger transaction are written before its commit, to places that nothing refers
/// to yet.
pub const CACHE_BYTES: usize = 512 * 1024;

/// Longest key, in bytes. A channel's ARN has some 350 at most.
pub const KEY_BYTES_MAX: usize = 1024;

/// Longest value, in bytes. Fifty tags of 128 and 256 characters of four bytes each are 76,800.
pub const VALUE_BYTES_MAX: usize = 128 * 1024;

/// Changes queued for the thread, of all shards together. When full, a change is refused; its owner answers that the
/// service is busy. As many again are in the batch in progress.
///
/// A commit takes a few milliseconds, so a thousand stand for seconds of a healthy disk. At the largest values they
/// take 128 MiB, at the usual 300 bytes 300 KiB.
pub const QUEUE_CHANGES_MAX: usize = 1024;

/// Most changes of one transaction: all that can be queued, so that one sync answers everybody.
pub const BATCH_CHANGES_MAX: usize = QUEUE_CHANGES_MAX;

/// Bytes of keys and values after which a batch takes no further change. Bounds the memory of a commit.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Interval at which the thread checks for room on a disk that was full.
pub const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Bytes that a disk must accept to count as having room: more than any one commit of usual changes needs. A batch of
/// [`BATCH_BYTES_MAX`] may still find none.
pub const PROBE_BYTES: usize = 1024 * 1024;

/// Bytes that checking a file may write to its overlay: the engine's notes on free pages, if it makes any.
pub const OVERLAY_BYTES_MAX: u64 = 64 * 1024 * 1024;

const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX < BATCH_BYTES_MAX);
