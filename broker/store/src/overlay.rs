//! A read-only view of the file: changes stay in memory and end with the view.
//!
//! The engine marks a file as open, and repairs what it can, before it says that something is wrong. A file that is
//! refused must stay as it was found, or the next start would take the repaired one for sound. So a file is checked
//! through this view first.

#![expect(
    clippy::disallowed_types,
    reason = "the engine demands a view that threads may share; only one uses it"
)]

use crate::disk::Disk;
use crate::limits::OVERLAY_BYTES_MAX;
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The view. Exists while a file is checked.
#[derive(Debug)]
pub(crate) struct Overlay {
    disk: Arc<Disk>,
    pages: Mutex<Pages>,
}

/// Pages that differ from the file, and the length. `len` ends the view wherever the file ends.
#[derive(Debug)]
struct Pages {
    changed: BTreeMap<u64, Box<[u8]>>,
    len: u64,
}

impl Overlay {
    pub(crate) fn new(disk: Arc<Disk>) -> io::Result<Self> {
        let len = disk.len()?;
        let changed = BTreeMap::new();
        Ok(Self {
            disk,
            pages: Mutex::new(Pages { changed, len }),
        })
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is in the file; beyond its end there are zeros.
    fn read_file(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inside = self.disk.len()?.saturating_sub(offset);
        let inside = usize::try_from(inside).map_or(out.len(), |inside| inside.min(out.len()));
        let (file, beyond) = out.split_at_mut(inside);
        beyond.fill(0);
        self.disk.read(offset, file)
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.pages().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let pages = self.pages();
        let end = end_of(offset, out.len())?;
        if end > pages.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(offset, out)?;
        let first = offset / PAGE * PAGE;
        for (at, page) in pages.changed.range(first..end) {
            let (from, to) = (offset.max(*at), end.min(at + PAGE));
            out[index(from - offset)..index(to - offset)]
                .copy_from_slice(&page[index(from - at)..index(to - at)]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pages().len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut pages = self.pages();
        let end = end_of(offset, data.len())?;
        let mut at = offset / PAGE * PAGE;
        while at < end {
            if !pages.changed.contains_key(&at) {
                if pages.changed.len() as u64 * PAGE >= OVERLAY_BYTES_MAX {
                    return Err(io::Error::other("checking it needs too much memory"));
                }
                let mut page = vec![0; index(PAGE)];
                self.read_file(at, &mut page)?;
                pages.changed.insert(at, page.into());
            }
            if let Some(page) = pages.changed.get_mut(&at) {
                let (from, to) = (offset.max(at), end.min(at + PAGE));
                page[index(from - at)..index(to - at)]
                    .copy_from_slice(&data[index(from - offset)..index(to - offset)]);
            }
            at += PAGE;
        }
        if !data.is_empty() {
            pages.len = pages.len.max(end);
        }
        Ok(())
    }
}

const PAGE: u64 = 4096;

fn end_of(offset: u64, len: usize) -> io::Result<u64> {
    offset
        .checked_add(len as u64)
        .filter(|end| *end < u64::MAX - PAGE)
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// A distance within one buffer, which therefore fits.
fn index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {

    use super::*;
    use std::fs::File;

    #[test]
    fn a_view_reads_like_a_file_and_leaves_the_file_alone() {
        let path = std::env::temp_dir().join(format!("store-overlay-{}", std::process::id()));
        let mut random = fastrand::Rng::with_seed(1);
        let original: Vec<u8> = (0..10_000).map(|_| random.u8(..)).collect();
        std::fs::write(&path, &original).unwrap();
        let overlay = Overlay::new(Arc::new(Disk::new(File::open(&path).unwrap()))).unwrap();

        let mut model = original.clone();
        for _ in 0..2000 {
            let (at, len) = (random.usize(0..15_000), random.usize(0..9000));
            let offset = at as u64;
            if random.u8(..) < 20 {
                let len = random.usize(0..30_000);
                model.resize(model.len().max(len), 0);
                overlay.set_len(model.len() as u64).unwrap();
            } else if random.bool() {
                let data: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
                overlay.write(offset, &data).unwrap();
                if len > 0 {
                    model.resize(model.len().max(at + len), 0);
                    model[at..at + len].copy_from_slice(&data);
                }
            } else {
                let mut out = vec![0; len];
                let read = overlay.read(offset, &mut out);
                assert_eq!(read.is_ok(), at + len <= model.len());
                if read.is_ok() {
                    assert_eq!(out, model[at..at + len]);
                }
            }
            assert_eq!(overlay.len().unwrap(), model.len() as u64);
        }
        assert_eq!(std::fs::read(&path).unwrap(), original);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_view_is_bounded() {
        let overlay = Overlay::new(Arc::new(Disk::new(File::open("/dev/null").unwrap()))).unwrap();
        let pages = (0..=OVERLAY_BYTES_MAX / PAGE).map(|page| overlay.write(page * PAGE, &[1]));
        assert!(pages.last().unwrap().is_err());
    }
}
