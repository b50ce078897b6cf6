//! A list that is nearly always empty.

use std::ops::{Deref, DerefMut};

/// A list that takes a single machine word while it is empty, whereas a `Vec` takes three. An active channel has
/// several such lists.
#[derive(Debug)]
pub(crate) struct Rare<T>(
    #[expect(
        clippy::box_collection,
        reason = "8 bytes instead of 24 in every channel"
    )]
    Option<Box<Vec<T>>>,
);

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Rare<T> {
    pub(crate) fn push(&mut self, item: T) {
        self.0.get_or_insert_default().push(item);
    }

    /// Removes and returns an item. Panics if the index is out of bounds.
    pub(crate) fn remove(&mut self, place: usize) -> T {
        let list = self.0.as_mut().expect("the place of an item");
        let item = list.remove(place);
        self.shrink();
        item
    }

    /// Removes and returns the first item that `is` selects.
    pub(crate) fn take_first(&mut self, is: impl FnMut(&T) -> bool) -> Option<T> {
        let place = self.iter().position(is)?;
        Some(self.remove(place))
    }

    pub(crate) fn take(&mut self) -> Vec<T> {
        self.0.take().map_or_else(Vec::new, |list| *list)
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        if let Some(list) = &mut self.0 {
            list.retain(keep);
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        self.0.take_if(|list| list.is_empty());
    }
}

impl<T> Deref for Rare<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_ref().map_or(&[], |list| list)
    }
}

impl<T> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_mut().map_or(&mut [], |list| list)
    }
}

#[cfg(test)]
mod rare_tests {
    use super::*;

    #[test]
    fn an_empty_list_is_one_word_and_owns_nothing() {
        let mut list = Rare::default();
        assert_eq!(size_of::<Rare<[u64; 9]>>(), 8);
        (0..5).for_each(|number| list.push(number));
        list.retain(|number| number % 2 == 0);
        assert_eq!(list.to_vec(), [0, 2, 4]);
        assert_eq!(list.remove(1), 2);
        list[1] = 7;
        assert_eq!((list.remove(1), list.remove(0)), (7, 0));
        assert!(list.is_empty() && list.0.is_none());
        (0..3).for_each(|number| list.push(number));
        assert_eq!(list.take(), [0, 1, 2]);
        assert!(list.is_empty() && list.0.is_none() && list.take().is_empty());
        list.retain(|_| false);
    }
}
