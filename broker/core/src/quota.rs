//! Token buckets for rate limits.
//!
//! A bucket is stored as its *debt*: the number of tokens taken and not yet refilled. An unused bucket is therefore all
//! zeros, and a full one can be dropped. Source: KVS WebRTC service quotas. The burst is specific to this service
//! (codec/PROTOCOL.md, RATE-2).

use crate::time::Now;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// The parameters of a token bucket. A rate of 0 means unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// Refill rate, in tokens per second.
    pub rate: u32,
    /// Capacity of the bucket, in tokens.
    pub burst: u32,
}

impl Rate {
    /// Creates the parameters for `rate`, with a burst that lasts five seconds.
    #[must_use]
    pub fn of(rate: u32) -> Self {
        Self {
            rate,
            burst: rate.saturating_mul(5),
        }
    }
}

/// A token bucket. It does not store its [`Rate`], because millions of buckets share a few rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// The number of missing tokens, in thousandths. In this unit, the refill per millisecond equals the rate in tokens
    /// per second.
    debt: u32,
    /// When `debt` was computed, in milliseconds. Wraps after 49 days. A bucket that was idle for that long may then
    /// seem to have been used more recently, and refills only from that time.
    at: u32,
}

impl Bucket {
    /// Takes a token. Returns `false` and leaves the bucket unchanged if there is none. A rate of 0 means unlimited.
    pub(crate) fn take(&mut self, rate: Rate, now: Now) -> bool {
        self.take_several(1, rate, now)
    }

    /// Takes several tokens at once. A full bucket is always enough, even if its burst is smaller than `tokens`.
    pub(crate) fn take_several(&mut self, tokens: u32, rate: Rate, now: Now) -> bool {
        let debt = self.debt_at(rate, now);
        let allowed = rate.rate == 0 || has_tokens(tokens, debt, rate);
        if allowed && rate.rate != 0 {
            *self = Self {
                debt: debt + tokens * TOKEN,
                at: wrap(now),
            };
        }
        allowed
    }

    #[must_use]
    pub(crate) fn has(&self, rate: Rate, now: Now) -> bool {
        self.has_several(1, rate, now)
    }

    #[must_use]
    pub(crate) fn has_several(&self, tokens: u32, rate: Rate, now: Now) -> bool {
        rate.rate == 0 || has_tokens(tokens, self.debt_at(rate, now), rate)
    }

    /// Returns the number of milliseconds until the bucket is full.
    #[must_use]
    pub(crate) fn full_in(&self, rate: Rate, now: Now) -> u64 {
        u64::from(self.debt_at(rate, now).div_ceil(rate.rate.max(1)))
    }

    fn bits(self) -> u64 {
        u64::from(self.debt) << 32 | u64::from(self.at)
    }

    fn of_bits(bits: u64) -> Self {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        Self {
            debt: half(bits >> 32),
            at: half(bits),
        }
    }

    /// Returns the time of the last update if it is less than a minute ahead of `now`; otherwise, returns `now`.
    fn not_before(&self, now: Now) -> Now {
        let ahead = self.at.wrapping_sub(wrap(now));
        if ahead < 60_000 {
            now.after(u64::from(ahead))
        } else {
            now
        }
    }

    fn debt_at(&self, rate: Rate, now: Now) -> u32 {
        let passed = wrap(now).wrapping_sub(self.at);
        self.debt.saturating_sub(passed.saturating_mul(rate.rate))
    }
}

#[derive(Debug, Default)]
pub(crate) struct SharedBucket(AtomicU64);

impl SharedBucket {
    pub(crate) fn has(&self, rate: Rate, now: Now) -> bool {
        let bucket = Bucket::of_bits(self.0.load(Ordering::Relaxed));
        bucket.has(rate, bucket.not_before(now))
    }

    /// Like [`Bucket::take`], but atomic. Shards read their clocks at different times, so this never moves the bucket's
    /// time backwards.
    pub(crate) fn take(&self, rate: Rate, now: Now) -> bool {
        let order = Ordering::Relaxed;
        let taken = self.0.fetch_update(order, order, |bits| {
            let mut bucket = Bucket::of_bits(bits);
            bucket
                .take(rate, bucket.not_before(now))
                .then(|| bucket.bits())
        });
        taken.is_ok()
    }
}

/// Returns `true` if a bucket with this debt contains at least `tokens` tokens.
fn has_tokens(tokens: u32, debt: u32, rate: Rate) -> bool {
    let full = debt == 0 && rate.burst > 0;
    full || debt.saturating_add(tokens * TOKEN) <= rate.burst.saturating_mul(TOKEN)
}

fn wrap(now: Now) -> u32 {
    u32::try_from(now.0 & u64::from(u32::MAX)).unwrap_or_default()
}

/// A token in thousandths. A burst has at most a million tokens (`[quotas]`), which are 10⁹ thousandths and fit into
/// a `u32`.
const TOKEN: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Rate = Rate { rate: 5, burst: 25 };

    fn taken(bucket: &mut Bucket, rate: Rate, now: u64) -> usize {
        (0..1000)
            .take_while(|_| bucket.take(rate, Now(now)))
            .count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::default();
        assert_eq!(taken(&mut bucket, FIVE, 7), 25);
        assert_eq!(taken(&mut bucket, FIVE, 206), 0, "a token takes 200 ms");
        assert_eq!(taken(&mut bucket, FIVE, 207), 1);
        assert_eq!(taken(&mut bucket, FIVE, 1_207), 5);
        let found = taken(&mut bucket, FIVE, 100_000);
        assert_eq!(found, 25, "and never more than the burst");
    }

    #[test]
    fn what_is_refused_costs_nothing() {
        let mut bucket = Bucket::default();
        taken(&mut bucket, FIVE, 0);
        for now in 0..200 {
            assert!(!bucket.take(FIVE, Now(now)) && !bucket.has(FIVE, Now(now)));
        }
        assert!(bucket.has(FIVE, Now(200)) && bucket.take(FIVE, Now(200)));
    }

    #[test]
    fn several_tokens_at_once_are_a_part_of_the_rate() {
        let mut bucket = Bucket::default();
        let mut take = |rate, now| bucket.take_several(2, rate, Now(now));
        assert_eq!((0..100).filter(|_| take(FIVE, 0)).count(), 12);
        assert!(!take(FIVE, 199) && take(FIVE, 200), "one was left");
        assert!(!take(FIVE, 599) && take(FIVE, 600));
        // Two tokens can be taken even if the burst is one, and the rate still applies to both.
        let slow = Rate { rate: 1, burst: 1 };
        assert!(take(slow, 100_000) && !take(slow, 101_999) && take(slow, 102_000));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut bucket = Bucket::default();
        let off = Rate { rate: 0, burst: 0 };
        assert_eq!(taken(&mut bucket, off, 0), 1000);
        assert_eq!(bucket, Bucket::default());
    }

    #[test]
    fn a_bucket_says_when_it_can_be_forgotten() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.full_in(FIVE, Now(0)), 0);
        taken(&mut bucket, FIVE, 0);
        assert_eq!(bucket.full_in(FIVE, Now(0)), 5_000);
        assert_eq!(bucket.full_in(FIVE, Now(4_999)), 1);
        assert_eq!(bucket.full_in(FIVE, Now(5_000)), 0);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let most = Rate {
            rate: 1_000_000,
            burst: 1_000_000,
        };
        let mut bucket = Bucket::default();
        assert!((0..1_000_000).all(|_| bucket.take(most, Now(u64::MAX - 1))));
        assert!(!bucket.take(most, Now(u64::MAX - 1)));
        assert!(bucket.take(most, Now(u64::MAX)));
    }

    #[test]
    fn clocks_that_wrap_do_no_harm() {
        let mut bucket = Bucket::default();
        let near = u64::from(u32::MAX) - 100;
        assert_eq!(taken(&mut bucket, FIVE, near), 25);
        assert_eq!(taken(&mut bucket, FIVE, near + 400), 2);
    }
}
