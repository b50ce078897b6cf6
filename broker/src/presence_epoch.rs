//! The presence epoch of a process: a number that is greater than the epochs of all earlier processes with the same
//! data directory.
//!
//! The epoch is the wall-clock time in milliseconds, or the last epoch plus one if that is greater. It therefore never
//! decreases, even if the clock is set back or the directory is copied. The epoch is written to disk before it is used.
//! If the disk is full, the wall-clock time is used without being written. The next epoch is then greater only if the
//! wall clock is correct.

use crate::failure::Failure;
use crate::files::{self, ReadError};
use std::fs::File;
use std::io;
use std::path::Path;

/// Determines the next epoch for a data directory that this process has locked. Fails with [`Failure::Fatal`] if the
/// file is corrupted or unreadable, or if it cannot be written. A full disk is tolerated while the wall-clock time is
/// greater than the last epoch. The error states a remedy.
pub(crate) fn next(data_dir: &Path, wall_ms: u64) -> Result<u64, Failure> {
    let path = data_dir.join(NAME);
    let last = kept(data_dir)?.unwrap_or_default();
    let epoch = wall_ms.max(last + 1);
    let written = files::write_whole(&path, &text(epoch), 0o600);
    let synced = written.and_then(|()| File::open(data_dir)?.sync_all());
    match synced {
        Err(error) if error.kind() == io::ErrorKind::StorageFull && epoch == wall_ms => {
            tracing::warn!("{}", unkept(&path, &error));
            Ok(epoch)
        }
        synced => synced
            .map(|()| epoch)
            .map_err(|error| unkept(&path, &error)),
    }
}

/// Returns the last epoch that was written to a data directory, or `None` if there is none. Fails with
/// [`Failure::Fatal`] if the file is corrupted or unreadable. The error states a remedy.
pub(crate) fn kept(data_dir: &Path) -> Result<Option<u64>, Failure> {
    let path = data_dir.join(NAME);
    let read = match files::read_text(&path, BYTES_MAX) {
        Err(ReadError::Failed(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        read => read.map_err(|error| unkept(&path, &error.into()))?,
    };
    let last = read.content.trim().parse().ok();
    let last = last.filter(|last| *last < u64::MAX);
    last.map(Some).ok_or_else(|| {
        let path = path.display();
        Failure::Fatal(format!(
            "{path}: damaged: it must have one number: put back a copy of it, or write a number into it that is \
             greater than every epoch that receivers of hooks have seen"
        ))
    })
}

pub(crate) fn text(epoch: u64) -> String {
    format!("{epoch}\n")
}

fn unkept(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    Failure::Fatal(format!(
        "{path}: the epoch of presence can be neither read nor written: {error}"
    ))
}

pub(crate) const NAME: &str = "presence.epoch";

/// Maximum file size in bytes. Enough for a number with a line ending and some whitespace.
const BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn an_epoch_is_greater_than_all_before_whatever_the_clock_says() {
        let folder = testkit::Directory::temporary();
        assert_eq!(next(&folder, 1_000).unwrap(), 1_000);
        assert_eq!(next(&folder, 1_000).unwrap(), 1_001);
        assert_eq!(next(&folder, 5).unwrap(), 1_002, "the clock was set back");
        assert_eq!(next(&folder, 9_000).unwrap(), 9_000);
        let copy = folder.join("copy");
        fs::create_dir_all(&copy).unwrap();
        fs::copy(folder.join(NAME), copy.join(NAME)).unwrap();
        assert_eq!(next(&copy, 7).unwrap(), 9_001, "a copy of the directory");
        for damaged in ["", "nine", "-1", "18446744073709551615"] {
            fs::write(folder.join(NAME), damaged).unwrap();
            let error = next(&folder, 7).unwrap_err().to_string();
            assert!(error.contains("damaged"), "{error}");
        }
    }
}
