//! Size limits, each documented with its reason.

use std::time::Duration;

/// Size of the engine's page cache, in bytes. Commits touch few pages, and loading reads each page once. All other
/// pages are in the page cache of the kernel. Pages of a larger transaction are written before it commits.
pub const CACHE_BYTES: usize = 512 * 1024;

/// Maximum length of a key, in bytes. The ARN of a channel takes at most about 350 bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Maximum length of a value, in bytes. Fifty tags take 76,800 bytes if each key has 128 characters, each value has
/// 256, and each character takes four bytes.
pub const VALUE_BYTES_MAX: usize = 128 * 1024;

/// Maximum number of changes that all shards together may have queued for the commit thread. If the queue is full, a
/// change is refused, and its caller reports that the service is busy. The batch in progress may contain just as many
/// changes.
///
/// A commit takes a few milliseconds. On a healthy disk, a thousand changes therefore take a few seconds even if each
/// needs its own commit. They take 128 MiB if all values have the maximum size, and 300 KiB if they have the usual 300
/// bytes.
pub const QUEUE_CHANGES_MAX: usize = 1024;

/// Maximum number of changes in one transaction. Equal to the capacity of the queue, so that one sync completes all of
/// the changes.
pub const BATCH_CHANGES_MAX: usize = QUEUE_CHANGES_MAX;

/// Total size of keys and values, in bytes, above which a batch accepts no further changes. Bounds the memory that a
/// commit takes.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Interval at which the commit thread checks for free space while the disk is full.
pub const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Number of bytes that must be writable for a disk to be considered to have space. More than a usual commit needs.
pub const PROBE_BYTES: usize = 1024 * 1024;

/// Maximum size of the in-memory overlay while a file is checked, in bytes. The engine writes its records of free pages
/// to the overlay.
pub const OVERLAY_BYTES_MAX: u64 = 64 * 1024 * 1024;

const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX < BATCH_BYTES_MAX);
