//! Placement: the one place that decides which shard owns a channel.

use crate::id::{Identity, ShardId};
use ahash::RandomState;

/// The rule by which every shard of a process finds a channel's home. Made once at start and copied to each shard.
#[derive(Clone, Debug)]
pub struct Placement {
    hasher: RandomState,
    shards: u16,
}

impl Placement {
    /// A placement over `shards` shards, keyed by `seeds`, so that nobody outside can aim at one shard.
    ///
    /// # Panics
    /// When there is no shard: the configuration refuses that.
    #[must_use]
    pub fn new(seeds: [u64; 4], shards: u16) -> Self {
        assert!(shards > 0, "a process has at least one shard");
        let [a, b, c, d] = seeds;
        Self {
            hasher: RandomState::with_seeds(a, b, c, d),
            shards,
        }
    }

    /// The shard that owns a channel. A look-up by name and one by ARN agree: the creation time has no part in it.
    #[must_use]
    pub fn home(&self, identity: &Identity) -> ShardId {
        let place = self.hasher.hash_one(identity.as_str()) % u64::from(self.shards);
        ShardId(u16::try_from(place).unwrap_or(0))
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::aws::ChannelArn;

    #[test]
    fn a_name_and_its_arn_share_one_home() {
        let placement = Placement::new([1, 2, 3, 4], 7);
        let arn = ChannelArn::parse(
            "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam.1/1700000000000",
            true,
        )
        .unwrap();
        let named = Identity::new("us-west-2", "123456789012", "cam.1");
        assert_eq!(placement.home(&Identity::of(&arn)), placement.home(&named));
    }

    #[test]
    fn channels_spread_over_all_shards() {
        let placement = Placement::new([1, 2, 3, 4], 4);
        let mut seen = [0u32; 4];
        for number in 0..4000 {
            seen[placement
                .home(&Identity::new("r", "1", &format!("channel{number}")))
                .index()] += 1;
        }
        assert!(
            seen.iter().all(|&count| (800..1200).contains(&count)),
            "{seen:?}"
        );
    }
}
