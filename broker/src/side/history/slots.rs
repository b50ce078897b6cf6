//! A file of fixed-size slots, each with a checksum. Slots are written in place and are not synced.
//!
//! ```text
//!  0    head: the name of the format and its version
//!  4096 regions, each of slots of one size:  checksum 4 | version 1 | region 1 | length 2 | number 8 | body | zeros
//! ```
//! All numbers are little-endian. The checksum is a prefix of the SHA-256 of the rest of the slot. Readers skip slots
//! that were left incomplete when the process was killed or power was lost. The page size is a multiple of every slot
//! size, so a slot of up to 512 bytes never crosses a sector boundary, where a disk may tear a write.

use crate::side::shared_state::Shared;
use aws_lc_rs::digest::{SHA256, digest};
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    /// The number of the region, which is included in the checksum of each slot.
    pub(crate) id: u8,
    pub(crate) offset: usize,
    pub(crate) slots: usize,
    pub(crate) bytes: usize,
}

impl Region {
    pub(crate) const fn end(&self) -> usize {
        self.offset + self.slots * self.bytes
    }

    pub(crate) const fn body_max(&self) -> usize {
        self.bytes - HEAD
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot<'b> {
    pub(crate) place: usize,
    /// The sequence number, which is greater than the number of any slot previously written to this region.
    pub(crate) number: u64,
    pub(crate) body: &'b [u8],
}

/// A file of slots, or its equivalent in memory. A process has one instance per file, which one thread writes and other
/// threads read.
#[derive(Debug)]
pub(crate) struct Slots {
    of: Medium,
    has_head: AtomicBool,
}

#[derive(Debug)]
enum Medium {
    File(File),
    Memory(Shared<Vec<u8>>),
}

impl Slots {
    /// Creates slots in memory. Pages that are never touched take no memory.
    pub(crate) fn in_memory(bytes: usize) -> Self {
        Self {
            of: Medium::Memory(Shared::new(vec![0; bytes])),
            has_head: AtomicBool::new(true),
        }
    }

    /// Opens or creates the file. Content written by another version is replaced. If the file system supports it,
    /// `reserved` bytes are preallocated, so that later writes find space. Fails if the file can be neither opened nor
    /// created. A full disk is not an error: writes will succeed once there is space.
    pub(crate) fn open(path: &Path, reserved: Option<usize>) -> io::Result<Self> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let options = options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(path)?;
        let mut head = [0; MAGIC.len()];
        let has_head = file.read_exact_at(&mut head, 0).is_ok() && head == *MAGIC;
        if !has_head {
            if file.metadata()?.len() > 0 && head != [0; MAGIC.len()] {
                let path = path.display();
                tracing::warn!("{path}: not a history of this version: starting an empty one");
            }
            file.set_len(0)?;
        }
        if let Some(bytes) = reserved {
            // Preallocation is optional. Without it, a later write may find the disk full.
            let _ = fallocate(&file, FallocateFlags::empty(), 0, bytes as u64);
        }
        Ok(Self {
            of: Medium::File(file),
            has_head: AtomicBool::new(has_head),
        })
    }

    /// Writes a body into a slot. Fails if the disk is full or reports an error.
    pub(crate) fn write(
        &self,
        region: &Region,
        place: usize,
        number: u64,
        body: &[u8],
    ) -> io::Result<()> {
        debug_assert!(place < region.slots && body.len() <= region.body_max());
        if !self.has_head.load(Ordering::Relaxed) {
            self.put(0, MAGIC)?;
            self.has_head.store(true, Ordering::Relaxed);
        }
        let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
        let mut slot = vec![0; 4];
        slot.extend([VERSION, region.id]);
        slot.extend(length.to_le_bytes());
        slot.extend(number.to_le_bytes());
        slot.extend_from_slice(body);
        slot.resize(region.bytes, 0);
        let sum = checksum(&slot);
        slot.splice(..4, sum);
        self.put(region.offset + place * region.bytes, &slot)
    }

    /// Overwrites a slot with zeros. Fails in the same cases as [`Self::write`].
    pub(crate) fn erase(&self, region: &Region, place: usize) -> io::Result<()> {
        let zeros = vec![0; region.bytes];
        self.put(region.offset + place * region.bytes, &zeros)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        match &self.of {
            Medium::File(file) => file.sync_data(),
            Medium::Memory(_) => Ok(()),
        }
    }

    /// Calls `visit` with every intact slot of a region, in file order.
    pub(crate) fn each(&self, region: &Region, mut visit: impl FnMut(Slot<'_>)) {
        let per_read = READ_BYTES / region.bytes;
        let mut bytes = vec![0; per_read * region.bytes];
        for first in (0..region.slots).step_by(per_read) {
            let count = per_read.min(region.slots - first) * region.bytes;
            let read = self.get(region.offset + first * region.bytes, &mut bytes[..count]);
            for (at, slot) in bytes[..read].chunks_exact(region.bytes).enumerate() {
                if let Some((number, body)) = whole(region, slot) {
                    let place = first + at;
                    visit(Slot {
                        place,
                        number,
                        body,
                    });
                }
            }
            if read < count {
                return;
            }
        }
    }

    /// Resizes slots in memory. Used to test a full disk.
    #[cfg(test)]
    pub(crate) fn resize(&self, bytes: usize) {
        if let Medium::Memory(all) = &self.of {
            all.lock().resize(bytes, 0);
        }
    }

    fn put(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        match &self.of {
            Medium::File(file) => file.write_all_at(bytes, offset as u64),
            Medium::Memory(all) => {
                let mut all = all.lock();
                let place = all.get_mut(offset..offset + bytes.len());
                place
                    .ok_or(io::ErrorKind::StorageFull)?
                    .copy_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Reads the bytes at `offset` into `to`. Returns how many bytes were read, which at the end of the file may be
    /// fewer than requested.
    fn get(&self, offset: usize, to: &mut [u8]) -> usize {
        match &self.of {
            Medium::File(file) => {
                let mut read = 0;
                while let Some(left) = to.get_mut(read..).filter(|left| !left.is_empty()) {
                    match file.read_at(left, (offset + read) as u64) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Ok(0) | Err(_) => return read,
                        Ok(more) => read += more,
                    }
                }
                read
            }
            Medium::Memory(all) => {
                let all = all.lock();
                let there = all.get(offset..).unwrap_or_default();
                let count = there.len().min(to.len());
                to[..count].copy_from_slice(&there[..count]);
                count
            }
        }
    }
}

/// Returns the sequence number and the body of a slot, if the slot is intact.
fn whole<'b>(region: &Region, slot: &'b [u8]) -> Option<(u64, &'b [u8])> {
    let (head, rest) = slot.split_first_chunk::<HEAD>()?;
    let [c0, c1, c2, c3, VERSION, id, l0, l1, number @ ..] = *head else {
        return None;
    };
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let body = rest.get(..length)?;
    let is_whole = id == region.id && [c0, c1, c2, c3] == checksum(slot);
    is_whole.then(|| (u64::from_le_bytes(number), body))
}

fn checksum(slot: &[u8]) -> [u8; 4] {
    let sum = digest(&SHA256, slot.get(4..).unwrap_or_default());
    sum.as_ref().first_chunk().copied().unwrap_or_default()
}

/// Magic bytes of the file, including the version.
const MAGIC: &[u8; 16] = b"heliograph hist1";
const VERSION: u8 = 1;
const HEAD: usize = 16;
pub(crate) const REGIONS: usize = 4096;
const READ_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    const REGION: Region = Region {
        id: 3,
        offset: REGIONS,
        slots: 4,
        bytes: 64,
    };

    fn file(name: &str) -> PathBuf {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("heliograph-slots-{name}-{id}"));
        let _ = fs::remove_file(&path);
        path
    }

    fn read(slots: &Slots) -> Vec<(usize, u64, Vec<u8>)> {
        let mut all = Vec::new();
        slots.each(&REGION, |slot| {
            all.push((slot.place, slot.number, slot.body.to_vec()));
        });
        all
    }

    #[test]
    fn a_file_that_ends_or_changes_at_any_byte_of_its_last_slot_loses_that_slot_alone() {
        let path = file("torn");
        let slots = Slots::open(&path, None).unwrap();
        for (place, number) in (0..3).zip(1_u8..) {
            let body = [number; 40];
            slots.write(&REGION, place, number.into(), &body).unwrap();
        }
        let whole = fs::read(&path).unwrap();
        let kept = read(&slots);
        assert_eq!((kept.len(), whole.len()), (3, REGIONS + 3 * 64));
        for at in REGIONS + 2 * 64..whole.len() {
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(read(&Slots::open(&path, None).unwrap()), kept[..2], "{at}");
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            fs::write(&path, &changed).unwrap();
            assert_eq!(read(&Slots::open(&path, None).unwrap()), kept[..2], "{at}");
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_slot_is_replaced_and_erased_and_memory_does_the_same() {
        let path = file("replaced");
        for slots in [
            Slots::open(&path, Some(REGION.end())).unwrap(),
            Slots::in_memory(REGION.end()),
        ] {
            assert_eq!(read(&slots), []);
            slots.write(&REGION, 1, 7, b"seven").unwrap();
            slots.write(&REGION, 3, 8, b"").unwrap();
            slots.write(&REGION, 1, 9, b"nine").unwrap();
            let nine = (1, 9, b"nine".to_vec());
            assert_eq!(read(&slots), [nine.clone(), (3, 8, Vec::new())]);
            slots.erase(&REGION, 3).unwrap();
            assert_eq!(read(&slots), [nine]);
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), REGION.end() as u64);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_of_another_version_is_begun_again() {
        let path = file("version");
        fs::write(&path, b"heliograph hist9 and more").unwrap();
        let slots = Slots::open(&path, None).unwrap();
        assert_eq!(read(&slots), []);
        slots.write(&REGION, 0, 1, b"one").unwrap();
        drop(slots);
        assert_eq!(read(&Slots::open(&path, None).unwrap()).len(), 1);
        // A slot of another region is skipped even if it is at the same offset.
        let slots = Slots::open(&path, None).unwrap();
        let other = Region { id: 4, ..REGION };
        slots.write(&other, 0, 2, b"two").unwrap();
        assert_eq!(read(&slots), []);
        fs::remove_file(path).unwrap();
    }
}
