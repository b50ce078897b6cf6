//! Checks a file before it is opened. Contains a view of the file that keeps modifications in memory, and the file's
//! head, which selects the valid commit.
//!
//! The engine marks a file as open and repairs what it can before it reports an error. A rejected file must not change,
//! because the next start would consider a repaired file intact. A file is therefore first checked through this view.

#![expect(
    clippy::disallowed_types,
    reason = "the engine demands a view that threads may share; only one uses it"
)]

use crate::{disk::CheckedDisk, disk::database_repairing, limits::OVERLAY_BYTES_MAX};
use redb::{Database, StorageBackend};
use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
struct Overlay {
    disk: Arc<CheckedDisk>,
    pages: Mutex<Pages>,
}

/// The pages that differ from the file, and the length of the view, which may differ from the file's length.
#[derive(Debug)]
struct Pages {
    changed: BTreeMap<u64, Box<[u8]>>,
    len: u64,
}

impl Overlay {
    pub(crate) fn new(disk: Arc<CheckedDisk>) -> io::Result<Self> {
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

    /// Reads from the file. Bytes beyond its end are read as zeros.
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

/// Converts an offset within a buffer to `usize`. Every such offset fits.
fn index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

// The file's first bytes, which determine the valid commit. They allow the check to verify a file one commit at a time.
//
// ```text
//  0  magic (9) | 9 flags | 10 zeros (2) | 12 page size, pages of a region's head, pages of a region (4 each) | 24 ...
//  64 commit slot 0 (128): ... | 104 transaction number (8) | 112 checksum (16)
//  192 commit slot 1
// ```
// Source: redb 4.4.0, `header.rs` and the design page in its `docs`. The layout is private to the engine, whose public
// interface repairs a file on opening and cannot select the commit to verify. The engine's version is therefore pinned,
// and `tests/store/layout.rs` fails with any other version.
//
// No checksum covers bytes 0 to 63. The constants among them are compared. The flags are verified by verifying the
// commit that they select:
//
// * The slot that the flag selects was synced before the flag, so the slot and everything below it must verify.
//   Otherwise, the file is damaged.
// * If the other slot contains a newer commit, either that commit was interrupted before it was confirmed, or the flag
//   has flipped. If it is complete, it counts even if its result was never reported, because no report contradicts it.
//   If it is incomplete, it is ignored.

#[derive(Clone, Copy, Debug)]
pub(crate) struct FileHead {
    flags: u8,
    transactions: [u64; 2],
}

impl FileHead {
    pub(crate) fn read(disk: &CheckedDisk) -> io::Result<Self> {
        let mut bytes = [0; HEAD_BYTES];
        disk.read(0, &mut bytes)?;
        let constant = |from: usize, expected: &[u8]| bytes[from..].starts_with(expected);
        if !constant(0, MAGIC) || !constant(FLAGS_AT + 1, GEOMETRY) {
            return Err(io::Error::other("its header is not that of a store"));
        }
        let number = |slot: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[slot_at(slot) + TRANSACTION_AT..][..8]);
            u64::from_le_bytes(number)
        };
        Ok(Self {
            flags: bytes[FLAGS_AT],
            transactions: [number(0), number(1)],
        })
    }

    pub(crate) fn named(self) -> usize {
        usize::from(self.flags & OTHER_SLOT)
    }

    pub(crate) fn newer(self) -> Option<usize> {
        let other = 1 - self.named();
        (self.transactions[other] > self.transactions[self.named()]).then_some(other)
    }

    /// Opens the commit in one slot through a view of the file, and verifies the checksum of every page. The view
    /// contains no other commit, and does not rely on a clean shutdown.
    pub(crate) fn view(
        self,
        disk: &Arc<CheckedDisk>,
        slot: usize,
    ) -> Result<Database, redb::Error> {
        let overlay = Overlay::new(Arc::clone(disk))?;
        let flags = (self.flags_for(slot) | MUST_VERIFY) & !NAMED_SLOT_IS_SOUND;
        overlay.write(FLAGS_AT as u64, &[flags])?;
        let checksum_at = slot_at(1 - slot) + CHECKSUM_AT;
        let mut checksum = [0; 16];
        overlay.read(checksum_at as u64, &mut checksum)?;
        overlay.write(checksum_at as u64, &checksum.map(|byte| !byte))?;
        // Stops the engine at the first step of a repair, which means that the commit does not verify.
        Ok(database_repairing(overlay, |progress| {
            !OTHER_COMMIT_TRIED.contains(&progress)
        })?)
    }

    pub(crate) fn name(self, disk: &CheckedDisk, slot: usize) -> io::Result<()> {
        disk.write(FLAGS_AT as u64, &[self.flags_for(slot)])?;
        disk.sync()
    }

    fn flags_for(self, slot: usize) -> u8 {
        let other = if slot == 1 { OTHER_SLOT } else { 0 };
        self.flags & !OTHER_SLOT | other
    }
}

const fn slot_at(slot: usize) -> usize {
    64 + 128 * slot
}

const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
/// The part of the head that describes the file layout chosen by the engine: two zeros, the page size (4096 bytes), the
/// number of header pages per region (none) and the number of pages per region.
const GEOMETRY: &[u8] = &[0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0];
const FLAGS_AT: usize = MAGIC.len();
const OTHER_SLOT: u8 = 1;
const MUST_VERIFY: u8 = 2;
const NAMED_SLOT_IS_SOUND: u8 = 4;
const TRANSACTION_AT: usize = 104;
const CHECKSUM_AT: usize = 112;
const HEAD_BYTES: usize = slot_at(2);

/// The progress, around 0.3, that the engine reports just before it tries the other commit, because the selected one is
/// corrupt. Before this, it reports 0, and afterwards 0.6 and 0.9.
const OTHER_COMMIT_TRIED: RangeInclusive<f64> = 0.1..=0.45;

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
        let overlay = Overlay::new(Arc::new(CheckedDisk::new(File::open(&path).unwrap()))).unwrap();

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
        let overlay =
            Overlay::new(Arc::new(CheckedDisk::new(File::open("/dev/null").unwrap()))).unwrap();
        let pages = (0..=OVERLAY_BYTES_MAX / PAGE).map(|page| overlay.write(page * PAGE, &[1]));
        assert!(pages.last().unwrap().is_err());
    }
}
