//! A histogram of durations in plain integers. Recording a duration costs one comparison, one array access and two
//! additions. Each slow bucket also has an exemplar, which is the latest session setup that fell into it.
//!
//! An octave is divided into four buckets of equal width, so quantiles are accurate to within 12 %. Only whole octaves
//! are exported.

/// Number of exported bucket bounds: 2 µs, 4 µs, … 67 s. Longer durations fall into one additional bucket.
pub const BOUNDS: usize = 26;

/// Number of buckets up to the highest bound: four for 1, 2, 3 and 4 µs, then four per octave.
pub const BUCKETS: usize = 4 * (BOUNDS - 1);

/// A distribution of durations in quarter-octave buckets. Each shard has one per metric, and a scrape adds up the
/// distributions of all shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// The number of durations in each bucket (not cumulative). The last bucket is unbounded.
    pub counts: [u64; BUCKETS + 1],
    /// The sum of all durations, in microseconds.
    pub sum_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS + 1],
            sum_us: 0,
        }
    }
}

impl Histogram {
    /// Counts `times` durations of `us` microseconds each.
    pub fn observe(&mut self, us: u64, times: u64) {
        if let Some(count) = self.counts.get_mut(bucket(us)) {
            *count += times;
        }
        self.sum_us = self.sum_us.saturating_add(us.saturating_mul(times));
    }

    /// Returns the number of recorded durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds the durations of another shard.
    pub fn add(&mut self, other: &Self) {
        super::add_all(&mut self.counts, &other.counts);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// Returns the durations recorded since `earlier`, an earlier copy of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (count, before) in since.counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        since.sum_us = self.sum_us.saturating_sub(earlier.sum_us);
        since
    }

    /// Returns the inclusive upper bound in microseconds of each octave, with the number of durations in the octave.
    /// The last octave is unbounded (`None`).
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let count = |octave| match octave {
            0 => self.counts.get(..2),
            1 => self.counts.get(2..4),
            _ => self
                .counts
                .get(4 * (octave - 1)..(4 * octave).min(BUCKETS + 1)),
        };
        (0..=BOUNDS).map(move |octave| {
            let bound = (octave < BOUNDS).then(|| 2 << octave);
            (bound, count(octave).unwrap_or_default().iter().sum())
        })
    }

    /// Returns the quantile `part` in microseconds, accurate to within 12 %, or `None` if the histogram is empty.
    /// Durations above the highest bound count as that bound.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let count = self.count();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a count of more than 2^53 is none"
        )]
        let rank = (part * count as f64).max(1.0);
        let mut below = 0.0;
        for (bucket, count) in self.counts.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "as above")]
            let count = *count as f64;
            below += count;
            if count > 0.0 && below >= rank {
                return Some(middle(bucket));
            }
        }
        None
    }
}

/// Returns the bucket that a duration falls into. Up to 4 µs, buckets are exact. Above that, the octave of `us - 1` and
/// the two bits below its highest bit determine the bucket.
fn bucket(us: u64) -> usize {
    let below = us.saturating_sub(1);
    let power = below.checked_ilog2().unwrap_or(0);
    if power < 2 {
        return usize::try_from(below).unwrap_or(0);
    }
    let quarter = (below >> (power - 2)) & 3;
    let bucket = 4 * (power as usize - 1) + usize::try_from(quarter).unwrap_or(0);
    bucket.min(BUCKETS)
}

/// Returns the geometric mean of a bucket's bounds, in microseconds.
fn middle(bucket: usize) -> f64 {
    let bound = |bucket: usize| {
        let octave = i32::try_from(bucket / 4).unwrap_or(0);
        let quarter = f64::from(u8::try_from(bucket % 4).unwrap_or(0));
        (4.0 + quarter) * 2_f64.powi(octave - 1)
    };
    match bucket {
        0 => 1.0,
        1..4 => f64::from(u8::try_from(bucket).unwrap_or(0)) + 1.0,
        BUCKETS.. => bound(BUCKETS),
        _ => (bound(bucket) * bound(bucket + 1)).sqrt(),
    }
}

// For each bucket, the latest session setup that took more than a second. It contains the connection's number, so that
// a point in a chart leads to a session.

/// Number of buckets that can have an exemplar: all buckets above 1.05 s, including the unbounded one.
pub const EXEMPLARS: usize = BOUNDS - FIRST + 1;

/// The first octave above one second: 1.05 to 2.1 s.
const FIRST: usize = 20;

/// A slow session setup, kept as an example for its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// The number of the viewer's connection on its shard.
    pub connection: u64,
    /// How long the setup took, in milliseconds.
    pub ms: u64,
    /// When the setup was complete, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The latest exemplar of each bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exemplars([Option<Exemplar>; EXEMPLARS]);

impl Exemplars {
    /// Stores a session setup as the exemplar of its bucket, provided that it took more than 1.05 s.
    pub fn note(&mut self, exemplar: Exemplar) {
        let us = exemplar.ms.saturating_mul(1000);
        let place = (FIRST - 1..BOUNDS).position(|octave| us <= 2 << octave);
        let place = place.map_or(Some(EXEMPLARS - 1), |place| place.checked_sub(1));
        if let Some(kept) = place.and_then(|place| self.0.get_mut(place)) {
            *kept = Some(exemplar);
        }
    }

    /// Returns the exemplar for the octave with this index in
    /// [`Histogram::buckets`](crate::event::histogram::Histogram::buckets).
    #[must_use]
    pub fn of_octave(&self, octave: usize) -> Option<Exemplar> {
        let place = octave.checked_sub(FIRST)?;
        self.0.get(place).copied().flatten()
    }
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
        assert_eq!(histogram.counts[BUCKETS], 3);
        assert_eq!((histogram.count(), histogram.sum_us), (3, u64::MAX));
        let found = histogram.buckets().map(|(bound, _)| bound).last();
        assert_eq!(found, Some(None));
    }

    #[test]
    fn histograms_add_up() {
        let mut one = Histogram::default();
        one.observe(20, 3);
        let mut sum = one.clone();
        sum.add(&one);
        let found = (sum.count(), sum.sum_us, sum.counts[bucket(20)]);
        assert_eq!(found, (6, 120, 6));
    }

    #[test]
    fn octaves_have_what_their_quarters_have() {
        let mut histogram = Histogram::default();
        for us in 1..=64 {
            histogram.observe(us, 1);
        }
        let octaves: Vec<_> = histogram.buckets().take(6).collect();
        let wanted = [(2, 2), (4, 2), (8, 4), (16, 8), (32, 16), (64, 32)];
        assert_eq!(octaves, wanted.map(|(bound, count)| (Some(bound), count)));
        assert_eq!(histogram.buckets().map(|(_, count)| count).sum::<u64>(), 64);
    }

    #[test]
    fn quantiles_are_known_within_12_percent() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        for us in (1..200).chain([1_000, 5_121, 40_960, 40_961, 1_000_001, 67_108_864]) {
            let mut histogram = Histogram::default();
            histogram.observe(us, 5);
            for part in [0.0, 0.5, 0.99, 1.0] {
                let read = histogram.quantile(part).unwrap();
                let error = (read / us as f64 - 1.0).abs();
                assert!(error <= 0.12, "{us} reads as {read}");
            }
        }
        let mut histogram = Histogram::default();
        histogram.observe(100, 98);
        histogram.observe(10_000, 2);
        assert!(histogram.quantile(0.5).unwrap() < 112.0);
        assert!(histogram.quantile(0.99).unwrap() > 8_800.0);
    }

    #[test]
    fn a_later_state_has_what_came_since() {
        let mut histogram = Histogram::default();
        histogram.observe(7, 2);
        let before = histogram.clone();
        histogram.observe(900, 1);
        let since = histogram.since(&before);
        assert_eq!((since.count(), since.sum_us), (1, 900));
    }
}

#[cfg(test)]
mod exemplars_tests {
    use super::*;
    use crate::event::Histogram;

    /// Each exemplar is kept in the octave that counts its duration. Setups that took a second or less are not kept.
    #[test]
    fn an_exemplar_is_in_the_bucket_that_counts_it() {
        #[rustfmt::skip] // a list
        let cases = [0, 999, 1_048, 1_049, 2_097, 2_098, 9_000, 67_108, 67_109, 1 << 40];
        for ms in cases {
            let (mut histogram, mut exemplars) = (Histogram::default(), Exemplars::default());
            histogram.observe(ms * 1000, 1);
            let exemplar = Exemplar {
                connection: 7,
                ms,
                at_ms: 1,
            };
            exemplars.note(exemplar);
            let octave = histogram.buckets().position(|(_, count)| count == 1);
            let octave = octave.unwrap();
            let kept: Vec<usize> = (0..=BOUNDS)
                .filter(|octave| exemplars.of_octave(*octave) == Some(exemplar))
                .collect();
            let wanted = if ms > 1_048 { vec![octave] } else { vec![] };
            assert_eq!(kept, wanted, "{ms}");
        }
    }
}
