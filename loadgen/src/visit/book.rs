//! The record of one direction of a session: a bit for each message, so that a million books fit in memory.

/// One direction of a session: message 0 is the offer or the answer, from 1 on the candidates. 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// A bit for each number that arrived intact.
    heard: u32,
    /// The number of messages composed.
    sent: u8,
}

/// The kind of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Behind all that came before.
    InOrder,
    /// One that a later one overtook.
    Late,
    /// One that was there already.
    Again,
    /// One that was never composed.
    Unknown,
}

/// Most candidates of one side of a session: what a book has bits for.
pub const CANDIDATES_MAX: u32 = 31;

impl Book {
    /// The number of the next message composed; `None` when the book is full.
    pub fn compose(&mut self) -> Option<u32> {
        let number = u32::from(self.sent);
        (number <= CANDIDATES_MAX).then(|| {
            self.sent += 1;
            number
        })
    }

    /// Records that the message of this number arrived intact.
    pub fn arrive(&mut self, number: u64) -> Arrival {
        let Ok(number @ 0..=CANDIDATES_MAX) = u32::try_from(number) else {
            return Arrival::Unknown;
        };
        if number >= u32::from(self.sent) {
            return Arrival::Unknown;
        }
        let bit = 1 << number;
        if self.heard & bit != 0 {
            return Arrival::Again;
        }
        let late = self.heard > bit;
        self.heard |= bit;
        if late {
            Arrival::Late
        } else {
            Arrival::InOrder
        }
    }

    /// The number of messages composed.
    #[must_use]
    pub fn sent(self) -> u64 {
        u64::from(self.sent)
    }

    /// The number of those that have not arrived.
    #[must_use]
    pub fn missing(self) -> u64 {
        self.sent() - u64::from(self.heard.count_ones())
    }
}

const _: () = assert!(
    size_of::<Book>() <= 8,
    "a million sessions pay for each byte"
);

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn arrivals_are_classified() {
        use Arrival::{Again, InOrder, Late, Unknown};
        for (numbers, arrivals, missing) in [
            (&[0, 1, 2, 3][..], &[InOrder; 4][..], 0),
            (&[0, 2, 1], &[InOrder, InOrder, Late], 1),
            (&[3, 0, 3], &[InOrder, Late, Again], 2),
            (&[0, 0], &[InOrder, Again], 3),
            (&[4, 32, u64::MAX], &[Unknown; 3], 4),
            (&[], &[], 4),
        ] {
            let mut book = Book::default();
            (0..4).for_each(|number| assert_eq!(book.compose(), Some(number)));
            let got: Vec<_> = numbers.iter().map(|&number| book.arrive(number)).collect();
            assert_eq!(
                (&got[..], book.missing()),
                (arrivals, missing),
                "{numbers:?}"
            );
        }
    }

    #[test]
    fn a_book_is_full_at_its_last_bit() {
        let mut book = Book::default();
        (0..=CANDIDATES_MAX).for_each(|number| assert_eq!(book.compose(), Some(number)));
        assert_eq!(book.compose(), None);
        assert_eq!(book.arrive(31), Arrival::InOrder);
        assert_eq!((book.sent(), book.missing()), (32, 31));
    }
}
