//! Size limits, each with its reason.

use std::time::Duration;

/// Size of the engine's page cache, in bytes. Commits touch few pages, and loading reads each page once; the kernel's
/// page cache contains the others. Pages of a larger transaction are written before its commit.
pub const CACHE_BYTES: usize = 512 * 1024;

/// Maximum length of a key, in bytes. The ARN of a channel takes at most about 350 bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Maximum length of a value, in bytes. Fifty tags with keys of 128 and values of 256 characters, each of four bytes,
/// take 76,800 bytes.
pub const VALUE_BYTES_MAX: usize = 128 * 1024;

/// Maximum number of changes queued for the commit thread, by all shards together. With a full queue, a change is
/// refused, and its caller reports that the service is busy. The batch in progress may contain as many again.
///
/// A commit takes a few milliseconds, so a thousand changes take seconds on a healthy disk. They take 128 MiB with
/// values of the maximum size, and 300 KiB with the usual values of 300 bytes.
pub const QUEUE_CHANGES_MAX: usize = 1024;

/// Maximum number of changes in one transaction: as many as can be queued, so that one sync completes all of them.
pub const BATCH_CHANGES_MAX: usize = QUEUE_CHANGES_MAX;

/// Bytes of keys and values above which a batch accepts no further changes. Bounds the memory of a commit.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Interval of the commit thread's checks for free space while the disk is full.
pub const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Bytes that must be writable for a disk to count as having space: more than a usual commit needs.
pub const PROBE_BYTES: usize = 1024 * 1024;

/// Maximum number of bytes that the check of a file may write to its overlay: the engine's records of free pages.
pub const OVERLAY_BYTES_MAX: u64 = 64 * 1024 * 1024;

const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX < BATCH_BYTES_MAX);
