//! Size limits, each with its reason.

use std::time::Duration;

/// Size of the engine's page cache in bytes. A small cache is enough: commits touch few pages, loading reads each page
/// once, and the kernel's page cache contains the rest. A transaction that does not fit writes some of its pages before
/// it commits.
pub const CACHE_BYTES: usize = 512 * 1024;

/// Maximum length of a key in bytes. A channel's ARN takes at most about 350 bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Maximum length of a value in bytes. Fifty tags take 76,800 bytes if each key has 128 characters, each value has 256,
/// and each character takes four bytes.
pub const VALUE_BYTES_MAX: usize = 128 * 1024;

/// Maximum number of changes that all shards together may have queued for the commit thread. Beyond that, a change is
/// refused, and its caller reports that the service is busy. The batch in progress may contain just as many changes.
///
/// A commit takes a few milliseconds, so on a healthy disk a thousand changes take a few seconds even if each needs a
/// commit of its own. They take 128 MiB if all values have the maximum size, and 300 KiB at the usual 300 bytes each.
pub const QUEUE_CHANGES_MAX: usize = 1024;

/// Maximum number of changes in one transaction, equal to the queue's capacity, so that one sync completes all of them.
pub const BATCH_CHANGES_MAX: usize = QUEUE_CHANGES_MAX;

/// Total size in bytes of keys and values above which a batch accepts no more changes. Bounds the memory for a commit.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Interval at which the commit thread checks for free space while the disk is full.
pub const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Number of bytes that must be writable before a disk is considered to have space. More than a usual commit needs.
pub const PROBE_BYTES: usize = 1024 * 1024;

/// Maximum size in bytes of the in-memory overlay while a file is checked. The engine writes its records of free pages
/// to this overlay.
pub const OVERLAY_BYTES_MAX: u64 = 64 * 1024 * 1024;

const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX < BATCH_BYTES_MAX);
