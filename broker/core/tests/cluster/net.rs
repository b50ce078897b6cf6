//! The network: delays, cuts in one direction, and what waits in sockets until a cut is over.

use std::collections::{BTreeMap, BTreeSet};

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
    /// The percentage of packets that are lost. TCP sends them again, and what follows them waits.
    pub(crate) lost_percent: u8,
    /// By way: when its last message arrives, where packets are lost.
    last: BTreeMap<(End, End), u64>,
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
            lost_percent: 0,
            last: BTreeMap::new(),
            sends_again,
        }
    }

    /// The time of a message's arrival that is sent at `now`.
    pub(crate) fn arrival(
        &mut self,
        now: u64,
        (from, to): (End, End),
        rng: &mut fastrand::Rng,
    ) -> u64 {
        let mut at = now + self.delay(from, to, rng);
        if self.lost_percent == 0 {
            return at;
        }
        let mut pause = AGAIN_MS;
        while rng.u8(..100) < self.lost_percent && pause < CONNECTED_AGAIN_MS {
            at += pause;
            pause *= 2;
        }
        let last = self.last.entry((from, to)).or_default();
        *last = at.max(*last);
        *last
    }

    fn delay(&self, from: End, to: End, rng: &mut fastrand::Rng) -> u64 {
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

/// The pause before a lost packet is sent again, where answers take up to 600 ms; it doubles each time.
const AGAIN_MS: u64 = 500;

/// From such a pause on the connection is given up, and the next one is there.
const CONNECTED_AGAIN_MS: u64 = 2_000;
