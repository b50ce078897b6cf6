//! Messages delivered in one turn, until its sends are over and the clock is read: then their durations are counted.
//!
//! All messages of one read were accepted at the same moment, so a few pairs of moment and number stand for a whole
//! turn. The first of a turn's sends is reported as late as the last. A message that was kept is not measured: the
//! absence of its recipient says nothing about the broker.

use crate::event::Histogram;
use crate::time::Moment;

/// Deliveries of one turn by the moment at which they were accepted.
#[derive(Debug, Default)]
pub(crate) struct DeliveryTimes(Vec<(u32, u64)>);

impl DeliveryTimes {
    /// A message accepted at `accepted_us` was handed over. When there is no room, `at` must do as the moment of it.
    #[inline]
    pub(crate) fn record(&mut self, accepted_us: u32, at: Moment, into: &mut Histogram) {
        match self.0.last_mut() {
            Some((moment, messages)) if *moment == accepted_us => *messages += 1,
            Some(_) | None => {
                if self.0.len() == MOMENTS_MAX {
                    self.record_all(at, into);
                }
                self.0.push((accepted_us, 1));
            }
        }
    }

    /// All sends are over at `at`.
    pub(crate) fn record_all(&mut self, at: Moment, into: &mut Histogram) {
        for (accepted_us, messages) in self.0.drain(..) {
            into.observe(u64::from(at.micros.wrapping_sub(accepted_us)), messages);
        }
    }
}

/// Different moments of acceptance among the deliveries of one turn: each costs 16 bytes of a buffer that stays.
const MOMENTS_MAX: usize = 64;

#[cfg(test)]
mod tests {

    use super::*;

    fn at(micros: u32) -> Moment {
        Moment {
            micros,
            ..Moment::default()
        }
    }

    #[test]
    fn deliveries_are_measured_when_the_sends_are_over_across_the_wrap_of_the_clock() {
        let (mut times, mut into) = (DeliveryTimes::default(), Histogram::default());
        for _ in 0..3 {
            times.record(u32::MAX - 9, at(u32::MAX), &mut into);
        }
        times.record(5, at(5), &mut into);
        assert_eq!(into.count(), 0);
        times.record_all(at(30), &mut into);
        assert_eq!((into.count(), into.sum_us), (4, 3 * 40 + 25));
        times.record_all(at(60), &mut into);
        assert_eq!(into.count(), 4, "each once");
    }

    #[test]
    fn deliveries_without_a_flush_are_bounded() {
        let (mut times, mut into) = (DeliveryTimes::default(), Histogram::default());
        for moment in 0..1000 {
            times.record(moment, at(moment), &mut into);
        }
        assert!(times.0.len() <= MOMENTS_MAX);
        assert_eq!(into.count() + times.0.len() as u64, 1000);
    }
}
