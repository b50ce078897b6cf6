//! The descriptors in an epoll set, each with the operations armed on it and its last known readiness.
//!
//! A descriptor is registered when the first operation is armed on it, and stays registered until it is released. The
//! kernel returns a slot's generation with every event. Events from before a release are therefore ignored, even if the
//! slot or the descriptor number has been reused.

use crate::completion::Key;
use std::collections::HashMap;
use std::os::fd::RawFd;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadState {
    Nothing,
    Accept,
    Once,
    Many,
    Bell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    Nothing,
    Send,
    Connect,
}

pub(crate) struct Slot {
    pub(crate) read_key: Key,
    pub(crate) write_key: Key,
    pub(crate) fd: RawFd,
    generation: u32,
    pub(crate) read: ReadState,
    pub(crate) write: Writing,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// Whether EOF, urgent data or an error was signaled. If so, another read is needed even if the last one did not
    /// fill its buffer.
    pub(crate) goes_on: bool,
    pub(crate) listed: bool,
}

/// Limits the memory for an idle connection, which has a slot and a map entry.
const _: () = assert!(size_of::<Slot>() <= 32);

impl Slot {
    pub(crate) fn can_be_served(&self) -> bool {
        (self.read != ReadState::Nothing && self.readable)
            || (self.write != Writing::Nothing && self.writable)
    }

    fn is_at_rest(&self) -> bool {
        self.read == ReadState::Nothing && self.write == Writing::Nothing
    }
}

/// A slot and its generation, as stored in the kernel's user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: u32,
    generation: u32,
}

impl Place {
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The inverse of [`Self::pack`].
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    pub(crate) const fn unpack(data: u64) -> Self {
        Self {
            slot: data as u32,
            generation: (data >> 32) as u32,
        }
    }
}

#[derive(Default)]
pub(crate) struct DescriptorSet {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_number: HashMap<RawFd, u32>,
}

impl DescriptorSet {
    pub(crate) fn find(&self, fd: RawFd) -> Option<u32> {
        self.by_number.get(&fd).copied()
    }

    pub(crate) fn claim(&mut self, fd: RawFd) -> Place {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(blank(0));
            u32::try_from(self.slots.len() - 1).expect("descriptors have 31 bits")
        });
        self.by_number.insert(fd, slot);
        let claimed = self.at(slot);
        claimed.fd = fd;
        Place {
            slot,
            generation: claimed.generation,
        }
    }

    /// Frees a descriptor's slot, if it has one. References to the slot become stale.
    pub(crate) fn forget(&mut self, fd: RawFd) -> Option<u32> {
        let slot = self.by_number.remove(&fd)?;
        let freed = self.at(slot);
        debug_assert!(freed.is_at_rest(), "something is armed on descriptor {fd}");
        *freed = blank(freed.generation.wrapping_add(1));
        self.free.push(slot);
        Some(slot)
    }

    pub(crate) fn get(&mut self, place: Place) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(place.slot as usize)?;
        (slot.generation == place.generation).then_some(slot)
    }

    pub(crate) fn at(&mut self, slot: u32) -> &mut Slot {
        &mut self.slots[slot as usize]
    }

    pub(crate) fn place(&mut self, slot: u32) -> Place {
        let generation = self.at(slot).generation;
        Place { slot, generation }
    }
}

fn blank(generation: u32) -> Slot {
    Slot {
        read_key: Key::new(0),
        write_key: Key::new(0),
        fd: -1,
        generation,
        read: ReadState::Nothing,
        write: Writing::Nothing,
        readable: false,
        writable: false,
        goes_on: false,
        listed: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refers_to_a_slot_ends_with_its_descriptor() {
        let mut all = DescriptorSet::default();
        let (old, other) = (all.claim(7), all.claim(8));
        assert_eq!(Place::unpack(old.pack()), old);
        assert_eq!((all.find(7), all.find(9)), (Some(old.slot), None));
        all.get(old).unwrap().readable = true;
        assert_eq!(all.forget(7), Some(old.slot));
        assert_eq!((all.find(7), all.forget(7)), (None, None));
        // Reuses the number and the slot of the released descriptor.
        let young = all.claim(7);
        assert_eq!(young.slot, old.slot);
        assert!(all.get(old).is_none() && !all.get(young).unwrap().readable);
        assert_eq!(all.place(other.slot), other);
    }
}
