//! The state of a file, by which a look sees that it has changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file as a look finds it: `None` when there is none.
pub(crate) type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

/// The change time as well as the modification time: permissions that are given later make a file readable.
pub(crate) fn stamp(file: &Path) -> Stamp {
    let metadata = fs::metadata(file).ok()?;
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ))
}
