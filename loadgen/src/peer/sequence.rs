//! One sender's messages as one recipient sees them: which arrived, which twice, which late, which never.

use std::ops::Range;

/// The record of one direction of a pair. One per recipient and sender; no heap while nothing is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// The first number that is above all that arrived.
    next: u64,
    /// Numbers below `next` that have not arrived, ascending; at most [`GAPS_MAX`] ranges.
    gaps: Vec<Range<u64>>,
    /// Missing numbers that are no longer remembered one by one.
    written_off: u64,
}

/// The kind of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Above all that came before.
    InOrder,
    /// One that a later one overtook.
    Late,
    /// One that was there already.
    Again,
}

/// Most gaps remembered in one direction of a pair (24 bytes each). Beyond them the oldest counts as lost for good, and
/// what arrives of it as duplicated.
const GAPS_MAX: usize = 256;

impl Sequence {
    /// The first number that is above all that arrived.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Records that the message of this number arrived intact.
    pub fn arrive(&mut self, number: u64) -> Arrival {
        if number >= self.next {
            if number > self.next {
                self.remember(self.next..number);
            }
            self.next = number + 1;
            return Arrival::InOrder;
        }
        let Some(index) = self.gaps.iter().position(|gap| gap.contains(&number)) else {
            return Arrival::Again;
        };
        let gap = self.gaps.remove(index);
        if number + 1 < gap.end {
            self.gaps.insert(index, number + 1..gap.end);
        }
        if gap.start < number {
            self.gaps.insert(index, gap.start..number);
        }
        Arrival::Late
    }

    /// The number of the first `sent` messages that have not arrived.
    #[must_use]
    pub fn missing(&self, sent: u64) -> u64 {
        let in_gaps: u64 = self.gaps.iter().map(|gap| gap.end - gap.start).sum();
        self.written_off + in_gaps + sent.saturating_sub(self.next)
    }

    fn remember(&mut self, gap: Range<u64>) {
        if self.gaps.len() >= GAPS_MAX {
            let oldest = self.gaps.remove(0);
            self.written_off += oldest.end - oldest.start;
        }
        self.gaps.push(gap);
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn run(numbers: &[u64]) -> (Vec<Arrival>, Sequence) {
        let mut sequence = Sequence::default();
        let arrivals = numbers.iter().map(|&n| sequence.arrive(n)).collect();
        (arrivals, sequence)
    }

    #[test]
    fn arrivals_are_classified() {
        use Arrival::{Again, InOrder, Late};
        for (numbers, arrivals, missing_of_five) in [
            (&[0, 1, 2, 3, 4][..], &[InOrder; 5][..], 0),
            (&[0, 1], &[InOrder, InOrder], 3),
            (&[0, 2, 4], &[InOrder, InOrder, InOrder], 2),
            (&[4, 2, 0, 1, 3], &[InOrder, Late, Late, Late, Late], 0),
            (&[0, 0, 1, 0], &[InOrder, Again, InOrder, Again], 3),
            (&[1, 0, 0, 1], &[InOrder, Late, Again, Again], 3),
            (&[], &[], 5),
        ] {
            let (got, sequence) = run(numbers);
            assert_eq!(got, arrivals, "{numbers:?}");
            assert_eq!(sequence.missing(5), missing_of_five, "{numbers:?}");
        }
    }

    #[test]
    fn memory_is_bounded_and_nothing_missing_is_forgotten() {
        let (_, sequence) = run(&(0..2_000).map(|n| 2 * n + 1).collect::<Vec<_>>());
        assert_eq!(sequence.gaps.len(), GAPS_MAX);
        assert_eq!(sequence.missing(4_000), 2_000);
    }
}
