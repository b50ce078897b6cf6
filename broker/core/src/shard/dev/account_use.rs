//! The use of a server's account by all its shards together, counted for findings: under `--dev` only, beside the
//! quotas that the strict profile enforces by letters ([`crate::shard::directory::accounts`]).

use crate::id::Identity;
use crate::quota::SharedBucket;
use crate::settings::Quotas;
use crate::time::Now;
use codec::control::Operation;
use std::sync::atomic::{AtomicU64, Ordering};

/// The use of one account in one region, one value for all shards. Others' are not counted.
#[derive(Debug)]
pub struct AccountUse {
    /// As identities of its channels begin.
    tenant: Box<str>,
    /// The use of its rates: a bucket for each operation.
    buckets: [SharedBucket; Operation::ALL.len()],
    channels: AtomicU64,
}

impl AccountUse {
    /// An account without channels.
    #[must_use]
    pub fn new(region: &str, account: &str) -> Self {
        Self {
            tenant: Identity::new(region, account, "").tenant().into(),
            buckets: Default::default(),
            channels: AtomicU64::new(0),
        }
    }

    /// Whether this is of that account and region.
    pub(crate) fn is_about(&self, identity: &Identity) -> bool {
        identity.as_str().starts_with(&*self.tenant)
    }

    /// Takes a token for a call; false when there is none.
    pub(crate) fn take(&self, operation: Operation, quotas: &Quotas, now: Now) -> bool {
        let bucket = self.buckets.get(operation.index());
        let (Some(rate), Some(bucket)) = (quotas.account_rate(operation), bucket) else {
            return true;
        };
        bucket.take(rate, now)
    }

    /// A channel is there; how many there are with it.
    pub(crate) fn channel_came(&self) -> u64 {
        self.channels.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A channel is gone.
    pub(crate) fn channel_went(&self) {
        self.channels.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::settings::{Profile, Settings};

    #[test]
    fn shards_take_from_the_same_buckets() {
        let used = AccountUse::new("us-west-2", "123456789012");
        let quotas = Settings::new(Profile::Strict, false).quotas;
        let rate = quotas.account_list;
        let mut taken = 0;
        // The second shard's clock is behind.
        for now in (0..).map(|number| Now(1_000 - 3 * (number % 2))) {
            if !used.take(Operation::ListSignalingChannels, &quotas, now) {
                break;
            }
            taken += 1;
        }
        assert_eq!(taken, rate.burst);
        assert!(used.take(Operation::DescribeSignalingChannel, &quotas, Now(1_000)));
        assert!(used.take(Operation::GetIceServerConfig, &quotas, Now(1_000)));
        let second = Now(1_000 + 1_000 / u64::from(rate.rate));
        assert!(used.take(Operation::ListSignalingChannels, &quotas, second));
    }

    #[test]
    fn channels_of_one_account_and_region_are_meant() {
        let used = AccountUse::new("us-west-2", "123456789012");
        for (region, account, meant) in [
            ("us-west-2", "123456789012", true),
            ("us-west-2", "210987654321", false),
            ("eu-west-1", "123456789012", false),
        ] {
            assert_eq!(used.is_about(&Identity::new(region, account, "c")), meant);
        }
        assert_eq!((used.channel_came(), used.channel_came()), (1, 2));
        used.channel_went();
        assert_eq!(used.channel_came(), 2);
    }
}
