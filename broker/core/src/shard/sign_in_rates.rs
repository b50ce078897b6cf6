//! The rates of sign-ins that are not signed, by address.

use crate::limits::{SIGN_IN_ADDRESSES_MAX, SIGN_INS_BURST, SIGN_INS_PER_SECOND};
use crate::quota::{Bucket, Rate};
use crate::{address_shares::Origin, time::Now};
use std::collections::BTreeMap;

/// The rates of addresses. One per shard.
#[derive(Debug, Default)]
pub(crate) struct AddressRates {
    buckets: BTreeMap<Origin, Bucket>,
    /// Of all addresses that find no place.
    others: Bucket,
    /// When addresses that are at rest were forgotten last.
    swept: Now,
}

impl AddressRates {
    /// Counts one more sign-in of an address; false when its rate is used up.
    pub(crate) fn take(&mut self, origin: Origin, now: Now) -> bool {
        let is_full = self.buckets.len() == SIGN_IN_ADDRESSES_MAX;
        if is_full && now.0 >= self.swept.0 + SWEEP_EVERY_MS {
            self.swept = now;
            self.buckets
                .retain(|_, bucket| bucket.full_in(RATE, now) > 0);
        }
        let has_place = self.buckets.len() < SIGN_IN_ADDRESSES_MAX;
        let bucket = if has_place || self.buckets.contains_key(&origin) {
            self.buckets.entry(origin).or_default()
        } else {
            &mut self.others
        };
        bucket.take(RATE, now)
    }
}

/// The rate of one address.
const RATE: Rate = Rate {
    rate: SIGN_INS_PER_SECOND,
    burst: SIGN_INS_BURST,
};

/// A walk over all addresses takes some hundred microseconds.
const SWEEP_EVERY_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_rate_and_the_rest_share_one() {
        let mut rates = AddressRates::default();
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
