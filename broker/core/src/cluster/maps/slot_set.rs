//! A set of slots.

use crate::cluster::limits::SLOTS;
use crate::cluster::types::Slot;
use serde::{Deserialize, Serialize, Serializer};

/// Some slots of a cluster, a bit each.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "&[u8]")]
pub struct SlotSet([u64; WORDS]);

impl Default for SlotSet {
    /// None.
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl SlotSet {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self([u64::MAX; WORDS])
    }

    /// Adds one.
    pub fn insert(&mut self, slot: Slot) {
        let (word, bit) = (slot.index() / BITS, slot.index() % BITS);
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    /// Whether it has this one.
    #[must_use]
    pub fn has(&self, slot: Slot) -> bool {
        let (word, bit) = (slot.index() / BITS, slot.index() % BITS);
        self.0.get(word).is_some_and(|word| word & (1 << bit) != 0)
    }

    /// Adds those of another set.
    pub fn add(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    /// Keeps those that another set has too.
    pub fn keep(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    /// The first slot that is not in it.
    #[must_use]
    pub fn first_missing(&self) -> Option<Slot> {
        (0..SLOTS).map(Slot).find(|slot| !self.has(*slot))
    }
}

impl Serialize for SlotSet {
    /// As bytes, the least significant of each word first.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0.map(u64::to_le_bytes).as_flattened())
    }
}

impl TryFrom<&[u8]> for SlotSet {
    type Error = &'static str;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        let (words, rest) = bytes.as_chunks();
        match (<&[_; WORDS]>::try_from(words), rest) {
            (Ok(words), []) => Ok(Self(words.map(u64::from_le_bytes))),
            (_, _) => Err("a set has a bit for each slot"),
        }
    }
}

const BITS: usize = 64;
const WORDS: usize = SLOTS as usize / BITS;
const _: () = assert!(WORDS * BITS == SLOTS as usize);

#[cfg(test)]
mod tests {

    use super::*;
    use crate::wire;

    const SET_BYTES: usize = SLOTS as usize / 8;

    #[test]
    fn a_set_has_what_was_added_and_what_both_have() {
        let (mut even, mut small) = (SlotSet::default(), SlotSet::default());
        for number in 0..SLOTS {
            if number % 2 == 0 {
                even.insert(Slot(number));
            }
            if number < 100 {
                small.insert(Slot(number));
            }
        }
        assert_eq!(even.first_missing(), Some(Slot(1)));
        let mut both = even.clone();
        both.keep(&small);
        let mut any = even.clone();
        any.add(&small);
        for number in 0..SLOTS {
            let (is_even, is_small) = (number % 2 == 0, number < 100);
            assert_eq!(both.has(Slot(number)), is_even && is_small);
            assert_eq!(any.has(Slot(number)), is_even || is_small);
        }
        assert_eq!(wire::read(&wire::write(&any), SET_BYTES + 2), Some(any));
        assert_eq!(SlotSet::all().first_missing(), None);
    }

    #[test]
    fn bytes_of_another_length_are_no_set() {
        for length in [0, 1, SET_BYTES - 1, SET_BYTES + 1] {
            let bytes = wire::write(&vec![0_u8; length]);
            assert_eq!(wire::read::<SlotSet>(&bytes, bytes.len()), None);
        }
    }
}
