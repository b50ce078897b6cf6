//! The spans that are parts of a lease: the life that etcd gives a registration without a keepalive. The lease that is
//! *granted* counts: etcd gives a longer one than it is asked for where its own elections take long.
//!
//! ```text
//!  question ├──────────── hearing: its answer lets an owner serve ───────────┤
//!           ├──────────── silence = lease: nobody may take before ───────────┼──────────┤
//!  keepalive├──────────── lease: etcd keeps the registration ────────────────┼──────────┤ absence ├─ may be taken
//! ```
//! An owner that nobody answers stops by its own clock before others may take: a fifth of a lease before they may claim
//! at the earliest, and another fifth for the absence.

/// The spans of one node. Copies of it are replaced together when etcd grants another lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    lease_ms: u64,
}

impl Spans {
    /// The spans of a lease of this many milliseconds.
    #[must_use]
    pub const fn of_lease(lease_ms: u64) -> Self {
        Self { lease_ms }
    }

    /// Life of a registration without a keepalive; a slot of which no word came for as long counts as silent.
    #[must_use]
    pub const fn lease_ms(self) -> u64 {
        self.lease_ms
    }

    /// The value of an answer, from the moment its question was sent.
    #[must_use]
    pub const fn hearing_ms(self) -> u64 {
        self.lease_ms - self.part_ms()
    }

    /// Time that a registration must be absent from a current view before the slots of its node may be taken.
    #[must_use]
    pub const fn absence_ms(self) -> u64 {
        self.part_ms()
    }

    /// By how much an answer loses its value before a registration ends, and time that a registration must be absent.
    const fn part_ms(self) -> u64 {
        self.lease_ms / 5
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn an_owner_stops_before_others_may_take() {
        for (lease_ms, hearing_ms, absence_ms) in [
            (5_000, 4_000, 1_000),
            (6_000, 4_800, 1_200),
            (10_000, 8_000, 2_000),
            (60_000, 48_000, 12_000),
        ] {
            let spans = Spans::of_lease(lease_ms);
            assert_eq!(spans.hearing_ms(), hearing_ms);
            assert_eq!(spans.absence_ms(), absence_ms);
        }
    }
}
