//! A table with generational keys: a key never finds a value that was inserted into the same slot later.
//!
//! Slots are allocated in fixed-size chunks, so a growing table neither copies its contents nor doubles its memory.

use crate::id::{Key, SLOTS_MAX};
use std::marker::PhantomData;

/// A table of at most `capacity` values with generational keys.
#[derive(Debug)]
pub(crate) struct Table<K, T> {
    chunks: Vec<Box<[Slot<T>]>>,
    free: Vec<u32>,
    live: usize,
    capacity: usize,
    key: PhantomData<K>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<K: Key, T> Table<K, T> {
    /// Creates an empty table that holds at most `capacity` values.
    #[must_use]
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            live: 0,
            capacity: capacity.min(SLOTS_MAX),
            key: PhantomData,
        }
    }

    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Returns whether another value can be inserted.
    #[must_use]
    pub(crate) fn has_room(&self) -> bool {
        self.live < self.capacity
    }

    /// Inserts a value and returns its key.
    ///
    /// # Errors
    /// Returns the value if the table is full.
    pub(crate) fn insert(&mut self, value: T) -> Result<K, T> {
        if !self.has_room() {
            return Err(value);
        }
        let Some(number) = self.free.pop().or_else(|| self.grow()) else {
            return Err(value);
        };
        let Some(slot) = self.slot_mut(number as usize) else {
            return Err(value);
        };
        let key = K::new(number, slot.generation);
        slot.value = Some(value);
        self.live += 1;
        Ok(key)
    }

    /// Inserts a value even if the table is full, for a connection that is handed back to this shard. Fails only if all
    /// [`SLOTS_MAX`] slots are in use.
    pub(crate) fn insert_anyway(&mut self, value: T) -> Result<K, T> {
        let capacity = std::mem::replace(&mut self.capacity, SLOTS_MAX);
        let result = self.insert(value);
        self.capacity = capacity;
        result
    }

    /// Removes a value and invalidates its key.
    pub(crate) fn remove(&mut self, key: K) -> Option<T> {
        let slot = self.slot_mut(key.slot())?;
        if slot.generation != key.generation() {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1) & 0x00ff_ffff;
        self.free
            .push(u32::try_from(key.slot()).unwrap_or_default());
        self.live -= 1;
        Some(value)
    }

    #[must_use]
    pub(crate) fn get(&self, key: K) -> Option<&T> {
        let slot = self
            .chunks
            .get(key.slot() / CHUNK)?
            .get(key.slot() % CHUNK)?;
        slot.value
            .as_ref()
            .filter(|_| slot.generation == key.generation())
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let slot = self.slot_mut(key.slot())?;
        if slot.generation == key.generation() {
            slot.value.as_mut()
        } else {
            None
        }
    }

    /// Returns the number of allocated slots. From this number on, [`Table::at`] returns `None`.
    #[must_use]
    pub(crate) fn slots(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// Returns the key of the value in slot `number`, or `None` if the slot is empty. Used to iterate over the table in
    /// steps.
    #[must_use]
    pub(crate) fn at(&self, number: usize) -> Option<K> {
        let slot = self.chunks.get(number / CHUNK)?.get(number % CHUNK)?;
        slot.value.as_ref()?;
        Some(K::new(u32::try_from(number).ok()?, slot.generation))
    }

    fn slot_mut(&mut self, number: usize) -> Option<&mut Slot<T>> {
        self.chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }

    fn grow(&mut self) -> Option<u32> {
        let first = u32::try_from(self.slots())
            .ok()
            .filter(|first| (*first as usize) + CHUNK <= SLOTS_MAX)?;
        self.chunks.push(
            (0..CHUNK)
                .map(|_| Slot {
                    generation: 0,
                    value: None,
                })
                .collect(),
        );
        let last = first + u32::try_from(CHUNK).ok()?;
        self.free.extend((first..last).rev());
        self.free.pop()
    }
}

const CHUNK: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionKey;

    #[test]
    fn a_retired_key_finds_nothing() {
        let mut table: Table<SessionKey, &str> = Table::new(10);
        let first = table.insert("a").unwrap();
        assert_eq!((table.get(first), table.len()), (Some(&"a"), 1));
        assert_eq!(table.remove(first), Some("a"));
        let second = table.insert("b").unwrap();
        assert_eq!((first.slot(), table.get(first)), (second.slot(), None));
        assert_eq!(table.get_mut(second), Some(&mut "b"));
    }

    #[test]
    fn a_full_table_gives_the_value_back() {
        let mut table: Table<SessionKey, u32> = Table::new(100);
        let keys: Vec<_> = (0..100).map(|n| table.insert(n).unwrap()).collect();
        assert_eq!(table.insert(100), Err(100));
        assert!(table.insert_anyway(100).is_ok());
        assert_eq!(table.remove(keys[3]), Some(3));
        assert!(!table.has_room(), "the extra one still counts");
        let all: Vec<u32> = (0..table.slots())
            .filter_map(|n| table.at(n))
            .filter_map(|key| table.get(key).copied())
            .collect();
        assert_eq!(all.len(), 100);
    }
}
