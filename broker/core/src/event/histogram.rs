//! A histogram of durations in plain numbers: one comparison-free index and two additions per observation.

/// How many bounds a histogram has: 2 µs, 4 µs, … 67 s. What took longer is in one more bucket.
pub const BOUNDS: usize = 26;

/// The lowest bound is 2 to this power, in microseconds: a delivery takes about one send(2), some 10 µs.
const LOWEST: u32 = 1;

/// Durations counted by powers of two. One per shard and figure; a scrape adds the shards up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Durations in each bucket (not those below it), the unbounded one last.
    pub counts: [u64; BOUNDS + 1],
    /// The sum of all durations, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Counts `times` durations of `us` microseconds each.
    pub fn observe(&mut self, us: u64, times: u64) {
        if let Some(count) = self.counts.get_mut(bucket(us)) {
            *count += times;
        }
        self.sum_us = self.sum_us.saturating_add(us.saturating_mul(times));
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        for (sum, one) in self.counts.iter_mut().zip(other.counts) {
            *sum += one;
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// Each bucket's upper bound in microseconds (inclusive; `None` for the last) with what it counted.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = (LOWEST..).map(|power| 1_u64 << power).map(Some);
        let bounds = bounds.take(BOUNDS).chain([None]);
        bounds.zip(self.counts)
    }
}

/// The bucket of a duration: the number of bits of `us - 1`, above those of the lowest bound.
fn bucket(us: u64) -> usize {
    let bits = u64::BITS - us.saturating_sub(1).leading_zeros();
    (bits.saturating_sub(LOWEST) as usize).min(BOUNDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        for us in [0, 1, 2, 3, 4, 5, 16, 17, 1_000, 65_536, 65_537, 67_108_864] {
            let mut histogram = Histogram::default();
            histogram.observe(us, 1);
            let first = histogram
                .buckets()
                .find(|(bound, _)| bound.is_none_or(|bound| us <= bound));
            assert_eq!(first.map(|(_, count)| count), Some(1), "{us}");
        }
    }

    #[test]
    fn what_is_longer_than_all_bounds_is_counted_last() {
        let mut histogram = Histogram::default();
        histogram.observe(67_108_865, 2);
        histogram.observe(u64::MAX, 1);
        assert_eq!(histogram.counts[BOUNDS], 3);
        assert_eq!((histogram.count(), histogram.sum_us), (3, u64::MAX));
        assert_eq!(
            histogram.buckets().map(|(bound, _)| bound).last(),
            Some(None)
        );
    }

    #[test]
    fn histograms_add_up() {
        let mut one = Histogram::default();
        one.observe(20, 3);
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!((sum.count(), sum.sum_us, sum.counts[4]), (6, 120, 6));
    }
}
