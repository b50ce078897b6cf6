//! A set of slots.

use crate::cluster::limits::SLOTS;
use crate::cluster::types::Slot;

/// Some slots of a cluster, a bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    /// As bytes, the least significant of each word first.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// From such bytes; `None` unless they are as many as a set has.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        if words.len() != WORDS || !rest.is_empty() {
            return None;
        }
        let mut set = Self::default();
        for (word, bytes) in set.0.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        Some(set)
    }
}

const BITS: usize = 64;
const WORDS: usize = SLOTS as usize / BITS;
const _: () = assert!(WORDS * BITS == SLOTS as usize);

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(SlotSet::from_bytes(&any.to_bytes()), Some(any));
        assert_eq!(SlotSet::all().first_missing(), None);
    }

    #[test]
    fn bytes_of_another_length_are_no_set() {
        let bytes = SlotSet::all().to_bytes();
        for length in [0, 1, bytes.len() - 1] {
            assert_eq!(SlotSet::from_bytes(&bytes[..length]), None);
        }
        assert_eq!(SlotSet::from_bytes(&[&bytes[..], &[0]].concat()), None);
    }
}
