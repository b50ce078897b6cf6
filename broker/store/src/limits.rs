//! Size limits, with the reason for each.

use std::time::Duration;

/// Size of the engine's page cache, in bytes. Commits touch few pages, and loading reads each page once; other pages
/// are in the kernel's page cache. Pages of a larger transaction are written before its commit, to locations that
/// nothing refers to yet.
pub const CACHE_BYTES: usize = 512 * 1024;

/// Maximum length of a key, in bytes. The ARN of a channel takes at most about 350 bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Maximum length of a value, in bytes. Fifty tags, with keys of 128 and values of 256 characters of four bytes each,
/// take 76,800 bytes.
pub const VALUE_BYTES_MAX: usize = 128 * 1024;

/// Maximum number of changes queued for the commit thread, by all shards together. When the queue is full, a change is
/// refused, and its caller reports that the service is busy. The batch in progress may contain the same number again.
///
/// A commit takes a few milliseconds, so a thousand changes correspond to seconds on a healthy disk. With values of the
/// maximum size, they take 128 MiB; with the usual 300 bytes, 300 KiB.
pub const QUEUE_CHANGES_MAX: usize = 1024;

/// Maximum number of changes in one transaction: as many as can be queued, so that one sync completes all of them.
pub const BATCH_CHANGES_MAX: usize = QUEUE_CHANGES_MAX;

/// Number of bytes of keys and values above which a batch accepts no further changes. Limits the memory used by a
/// commit.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Interval at which the commit thread checks for free space while the disk is full.
pub const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Number of bytes that must be writable for a disk to count as having space: more than any usual commit needs. A batch
/// of [`BATCH_BYTES_MAX`] may still find too little.
pub const PROBE_BYTES: usize = 1024 * 1024;

/// Maximum number of bytes that checking a file may write to its overlay: the engine's records of free pages, if the
/// engine writes them.
pub const OVERLAY_BYTES_MAX: u64 = 64 * 1024 * 1024;

const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX < BATCH_BYTES_MAX);
