//! The network: delays, cuts in one direction, and what waits in sockets until a cut is over.

use std::collections::BTreeSet;

/// One end: a node's number, or [`ETCD`].
pub(crate) type End = usize;

/// etcd's end.
pub(crate) const ETCD: End = usize::MAX;

/// Which ways are cut, and how long messages take.
pub(crate) struct Net {
    cuts: BTreeSet<(End, End)>,
    pub(crate) delay_min: u64,
    pub(crate) delay_max: u64,
    /// A node whose messages take longer, both ways, and by how much.
    pub(crate) slow: Option<(End, u64)>,
    /// Whether messages of a cut way arrive once it is over, as TCP sends them again.
    pub(crate) sends_again: bool,
}

impl Net {
    pub(crate) fn new(delay_min: u64, delay_max: u64, sends_again: bool) -> Self {
        Self {
            cuts: BTreeSet::new(),
            delay_min,
            delay_max,
            slow: None,
            sends_again,
        }
    }

    pub(crate) fn delay(&self, from: End, to: End, rng: &mut fastrand::Rng) -> u64 {
        let slow = self.slow.filter(|(end, _)| [from, to].contains(end));
        // Mostly quick; now and then as slow as may be.
        let max = if rng.u8(..) < 230 {
            self.delay_min + (self.delay_max - self.delay_min) / 8
        } else {
            self.delay_max
        };
        rng.u64(self.delay_min..=max) + slow.map_or(0, |(_, more)| more)
    }

    pub(crate) fn cut(&mut self, from: End, to: End) {
        self.cuts.insert((from, to));
    }

    pub(crate) fn mend(&mut self, from: End, to: End) {
        self.cuts.remove(&(from, to));
    }

    pub(crate) fn mend_all(&mut self) {
        self.cuts.clear();
    }

    pub(crate) fn is_cut(&self, from: End, to: End) -> bool {
        !self.cuts.is_empty() && self.cuts.contains(&(from, to))
    }

    /// Whether questions and answers pass between two ends.
    pub(crate) fn passes(&self, one: End, other: End) -> bool {
        !self.is_cut(one, other) && !self.is_cut(other, one)
    }
}
