//! The first bytes of the file: which commit counts, and how a file is checked one commit at a time.
//!
//! ```text
//!  0  magic (9) | 9 flags | 10 zeros (2) | 12 page size, pages of a region's head, pages of a region (4 each) | 24 ...
//!  64 commit slot 0 (128): ... | 104 transaction number (8) | 112 checksum (16)
//!  192 commit slot 1
//! ```
//! Source: redb 4.4.0, `header.rs` and the design page in its `docs`. The layout is private to the engine, whose public
//! interface repairs what it opens and has no choice of the commit to verify. Its version is pinned, therefore, and
//! `tests/store/layout.rs` fails when another one is taken.
//!
//! No checksum covers bytes 0 to 63. The constants among them are compared; what follows of the flags is proved by
//! verifying the commit they point to:
//!
//! * The slot that the flag names was synced before the flag was, so it and all below it must verify, or the file is
//!   damaged.
//! * A newer commit in the other slot was cut off before it was confirmed (or the flag flipped). If it is complete, it
//!   counts: its result may not have been reported, but nothing contradicts it. If not, it is as if it had never begun.

use crate::disk::Disk;
use crate::map::database_repairing;
use crate::overlay::Overlay;
use redb::{Database, StorageBackend};
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The contents of the head. Made of a file; lives while that file is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    flags: u8,
    /// Transaction numbers of the slots, unproven.
    transactions: [u64; 2],
}

impl Head {
    /// Reads the head, and compares what never changes.
    pub(crate) fn read(disk: &Disk) -> io::Result<Self> {
        let mut bytes = [0; HEAD_BYTES];
        disk.read(0, &mut bytes)?;
        let constant = |from: usize, expected: &[u8]| bytes[from..].starts_with(expected);
        if !constant(0, MAGIC) || !constant(FLAGS_AT + 1, GEOMETRY) {
            return Err(io::Error::other("it does not begin as a store does"));
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

    /// The slot that counts, as the flag says.
    pub(crate) fn named(self) -> usize {
        usize::from(self.flags & OTHER_SLOT)
    }

    /// The other slot, if what it holds claims to be newer.
    pub(crate) fn newer(self) -> Option<usize> {
        let other = 1 - self.named();
        (self.transactions[other] > self.transactions[self.named()]).then_some(other)
    }

    /// Opens the commit of one slot on a view of the file, which verifies the checksum of each page that belongs to it.
    ///
    /// In the view no other commit can be seen, and nothing that a clean end has left behind is believed.
    pub(crate) fn view(self, disk: &Arc<Disk>, slot: usize) -> Result<Database, redb::Error> {
        let overlay = Overlay::new(Arc::clone(disk))?;
        let flags = (self.flags_for(slot) | MUST_VERIFY) & !NAMED_SLOT_IS_SOUND;
        overlay.write(FLAGS_AT as u64, &[flags])?;
        let checksum_at = slot_at(1 - slot) + CHECKSUM_AT;
        let mut checksum = [0; 16];
        overlay.read(checksum_at as u64, &mut checksum)?;
        overlay.write(checksum_at as u64, &checksum.map(|byte| !byte))?;
        // The first thing it would repair is a commit that does not verify.
        Ok(database_repairing(overlay, |progress| {
            !OTHER_COMMIT_TRIED.contains(&progress)
        })?)
    }

    /// Makes another slot the one that counts.
    pub(crate) fn name(self, disk: &Disk, slot: usize) -> io::Result<()> {
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
/// Two zeros, pages of 4096 bytes, no page for a region's head, pages of a region: what the engine chooses for every
/// file.
const GEOMETRY: &[u8] = &[0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0];
const FLAGS_AT: usize = MAGIC.len();
const OTHER_SLOT: u8 = 1;
const MUST_VERIFY: u8 = 2;
const NAMED_SLOT_IS_SOUND: u8 = 4;
const TRANSACTION_AT: usize = 104;
const CHECKSUM_AT: usize = 112;
const HEAD_BYTES: usize = slot_at(2);

/// The engine's progress when it has found the named commit unsound and is about to try the other one: 0.3. The
/// engine says 0 when it begins, and 0.6 and 0.9 later on.
const OTHER_COMMIT_TRIED: RangeInclusive<f64> = 0.1..=0.45;
