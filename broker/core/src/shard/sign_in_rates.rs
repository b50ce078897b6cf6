//! Rate limits on unsigned sign-ins, per address, and on refused requests for temporary credentials, per caller.

use crate::limits::{
    GRANTS_REFUSED_BURST, GRANTS_REFUSED_PER_SECOND, REFUSED_CALLERS_MAX, SIGN_IN_ADDRESSES_MAX,
    SIGN_INS_BURST, SIGN_INS_PER_SECOND,
};
use crate::quota::{Bucket, Rate};
use crate::{address_shares::Origin, time::Now};
use std::collections::BTreeMap;

/// A rate limit per key, with a limited number of buckets. Not shared between shards.
#[derive(Debug)]
pub(crate) struct KeyedRates<K> {
    rate: Rate,
    /// Maximum number of buckets.
    most: usize,
    buckets: BTreeMap<K, Bucket>,
    /// The bucket shared by all keys without a bucket of their own.
    others: Bucket,
    /// When full buckets were last removed.
    swept: Now,
}

impl KeyedRates<Origin> {
    /// Creates the rate limits on unsigned sign-ins.
    pub(crate) fn of_sign_ins() -> Self {
        let (rate, burst) = (SIGN_INS_PER_SECOND, SIGN_INS_BURST);
        Self::new(Rate { rate, burst }, SIGN_IN_ADDRESSES_MAX)
    }
}

impl KeyedRates<u64> {
    /// Creates the rate limits on refused requests for temporary credentials. The keys are hashes of callers.
    pub(crate) fn of_refused_grants() -> Self {
        let (rate, burst) = (GRANTS_REFUSED_PER_SECOND, GRANTS_REFUSED_BURST);
        Self::new(Rate { rate, burst }, REFUSED_CALLERS_MAX)
    }
}

impl<K: Ord> KeyedRates<K> {
    fn new(rate: Rate, most: usize) -> Self {
        Self {
            rate,
            most,
            buckets: BTreeMap::new(),
            others: Bucket::default(),
            swept: Now::default(),
        }
    }

    /// Returns whether [`Self::take`] would return `true` for this key.
    pub(crate) fn has(&self, key: &K, now: Now) -> bool {
        let is_full = self.buckets.len() >= self.most;
        let none = Bucket::default();
        let absent = if is_full { &self.others } else { &none };
        let bucket = self.buckets.get(key).unwrap_or(absent);
        bucket.has(self.rate, now)
    }

    /// Takes a token from a key's bucket. Returns `false` if the key has exceeded its rate limit.
    pub(crate) fn take(&mut self, key: K, now: Now) -> bool {
        let rate = self.rate;
        let is_full = self.buckets.len() == self.most;
        if is_full && now.0 >= self.swept.0 + SWEEP_EVERY_MS {
            self.swept = now;
            self.buckets
                .retain(|_, bucket| bucket.full_in(rate, now) > 0);
        }
        let has_place = self.buckets.len() < self.most;
        let bucket = if has_place || self.buckets.contains_key(&key) {
            self.buckets.entry(key).or_default()
        } else {
            &mut self.others
        };
        bucket.take(rate, now)
    }
}

/// Minimum time between two removals of full buckets, in milliseconds. Each removal takes a few hundred microseconds.
const SWEEP_EVERY_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_rate_and_the_rest_share_one() {
        let mut rates = KeyedRates::of_sign_ins();
        let now = Now(10_000);
        let taken = (0..200).filter(|_| rates.take(Origin::V4(1), now)).count();
        assert_eq!(taken, 100);
        assert!(rates.take(Origin::V4(2), now));
        assert!(rates.take(Origin::V4(1), Now(10_050)));
        for address in 0..10_000 {
            rates.take(Origin::V4(address), now);
        }
        assert_eq!(rates.buckets.len(), SIGN_IN_ADDRESSES_MAX);
        assert!(!rates.take(Origin::V4(20_000), now), "others share one");
        assert!(
            rates.take(Origin::V4(20_000), Now(20_000)),
            "the rest is forgotten"
        );
        assert_eq!(rates.buckets.len(), 1);
    }
}
