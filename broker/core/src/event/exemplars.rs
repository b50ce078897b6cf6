//! The last session set-ups that took longer than a second, one for each bucket of the histogram: which connection it
//! was, so that a point of a chart leads to a session.

use crate::event::histogram::BOUNDS;

/// Buckets that have one: those above 1.05 s, and the unbounded one.
pub const EXEMPLARS: usize = BOUNDS - FIRST + 1;

/// The first octave that begins above a second: 1.05 to 2.1 s.
const FIRST: usize = 20;

/// One session set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// The number of the viewer's connection on its shard.
    pub connection: u64,
    /// Its duration, in milliseconds.
    pub ms: u64,
    /// When it was over, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The last of each bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exemplars([Option<Exemplar>; EXEMPLARS]);

impl Exemplars {
    /// Keeps a session set-up, if it took long enough.
    pub fn note(&mut self, exemplar: Exemplar) {
        let us = exemplar.ms.saturating_mul(1000);
        let place = (FIRST - 1..BOUNDS).position(|octave| us <= 2 << octave);
        let place = place.map_or(Some(EXEMPLARS - 1), |place| place.checked_sub(1));
        if let Some(kept) = place.and_then(|place| self.0.get_mut(place)) {
            *kept = Some(exemplar);
        }
    }

    /// The exemplar of an octave of [`Histogram::buckets`](crate::event::Histogram::buckets), by its place.
    #[must_use]
    pub fn of_octave(&self, octave: usize) -> Option<Exemplar> {
        let place = octave.checked_sub(FIRST)?;
        self.0.get(place).copied().flatten()
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::event::Histogram;

    /// Each is kept in the octave that counts it, and none of a second or less.
    #[test]
    fn an_exemplar_is_in_the_bucket_that_counts_it() {
        for ms in [
            0,
            999,
            1_048,
            1_049,
            2_097,
            2_098,
            9_000,
            67_108,
            67_109,
            1 << 40,
        ] {
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
