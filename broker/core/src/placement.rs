//! Determines which node and which shard own a channel.

use crate::cluster::slot_maps::SlotMap;
use crate::id::{Identity, NodeId, ShardId, Slot};
use crate::time::Now;
use ahash::RandomState;
use std::hash::Hash;
use std::sync::Arc;

/// The owner of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// The channel belongs to this shard of this process.
    Here(ShardId),
    /// The channel belongs to another node.
    There(NodeId),
    /// No node is known to serve the slot of the channel.
    Nobody,
}

/// Finds the owner of a channel. Created at startup and copied to every shard.
#[derive(Clone, Debug)]
pub struct Placement {
    hasher: RandomState,
    shards: u16,
    cluster: Option<Arc<SlotMap>>,
}

impl Placement {
    /// Creates a placement over `shards` shards. It is keyed with the secret `seeds`, so that clients cannot choose
    /// names that all map to the same shard.
    ///
    /// # Panics
    /// Panics if `shards` is 0, which the configuration rejects.
    #[must_use]
    pub fn new(seeds: [u64; 4], shards: u16) -> Self {
        assert!(shards > 0, "a process has at least one shard");
        let [a, b, c, d] = seeds;
        Self {
            hasher: RandomState::with_seeds(a, b, c, d),
            shards,
            cluster: None,
        }
    }

    /// Sets the slot map of this node's cluster.
    #[must_use]
    pub fn in_cluster(self, map: Arc<SlotMap>) -> Self {
        Self {
            cluster: Some(map),
            ..self
        }
    }

    /// Returns the cluster's slot map; `None` for a single process.
    #[must_use]
    pub fn cluster(&self) -> Option<&SlotMap> {
        self.cluster.as_deref()
    }

    /// Returns a shared handle to the slot map.
    #[must_use]
    pub fn map(&self) -> Option<Arc<SlotMap>> {
        self.cluster.clone()
    }

    /// Returns a channel's owner at `now`. A name and its ARN have the same owner, because the creation time is
    /// ignored.
    #[must_use]
    pub fn home(&self, identity: &Identity, now: Now) -> Home {
        match &self.cluster {
            None => Home::Here(self.shard(identity)),
            Some(map) => match map.owner(identity, now) {
                Some(node) if node == map.own() => Home::Here(self.shard(identity)),
                Some(node) => Home::There(node),
                None => Home::Nobody,
            },
        }
    }

    /// Returns a channel's slot. Returns `None` outside a cluster, and until the cluster's key is known.
    #[must_use]
    pub fn slot(&self, identity: &Identity) -> Option<Slot> {
        self.cluster.as_ref()?.slot(identity)
    }

    /// Returns the shard that owns a channel of this node. In a cluster, the shard is derived from the slot, so that
    /// other nodes can compute it too.
    #[must_use]
    pub fn shard(&self, identity: &Identity) -> ShardId {
        if let Some(slot) = self.slot(identity) {
            return slot.shard(self.shards);
        }
        let place = self.hasher.hash_one(identity.key()) % u64::from(self.shards);
        ShardId(u16::try_from(place).unwrap_or(0))
    }

    /// Returns a caller's hash, which is the same on all shards of this process and which clients cannot predict.
    #[must_use]
    pub fn caller(&self, identity: impl Hash) -> u64 {
        self.hasher.hash_one(identity)
    }

    /// Returns the number of shards.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::identifiers::ChannelArn;

    #[test]
    fn a_name_and_its_arn_share_one_home() {
        let placement = Placement::new([1, 2, 3, 4], 7);
        let arn = ChannelArn::parse(
            "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam.1/1700000000000",
            true,
        )
        .unwrap();
        let named = Identity::new("us-west-2", "123456789012", "cam.1");
        let found = placement.home(&Identity::of(&arn), Now(0));
        assert_eq!(found, Home::Here(placement.shard(&named)));
    }

    #[test]
    fn channels_spread_over_all_shards() {
        let placement = Placement::new([1, 2, 3, 4], 4);
        let mut seen = [0u32; 4];
        for number in 0..4000 {
            seen[placement
                .shard(&Identity::new("r", "1", &format!("channel{number}")))
                .index()] += 1;
        }
        let fine = seen.iter().all(|&count| (800..1200).contains(&count));
        assert!(fine, "{seen:?}");
    }

    #[test]
    fn in_a_cluster_the_owner_of_the_slot_has_the_channel() {
        let alone = Placement::new([1, 2, 3, 4], 4);
        let map = SlotMap::new(&[0; 16], NodeId(0), vec!["n1".into(), "n2".into()]);
        let channel = |number| Identity::new("r", "1", &format!("channel{number}"));
        let [own, other, nobodys] = [channel(1), channel(2), channel(3)];
        map.assign(map.slot(&own).unwrap(), Some(NodeId(0)));
        map.assign(map.slot(&other).unwrap(), Some(NodeId(1)));
        let clustered = alone.clone().in_cluster(Arc::new(map));
        let shard = clustered.slot(&own).unwrap().shard(4);
        assert_eq!(clustered.home(&own, Now(0)), Home::Here(shard));
        assert_eq!(clustered.shard(&own), shard);
        assert_eq!(clustered.home(&other, Now(0)), Home::There(NodeId(1)));
        assert_eq!(clustered.home(&nobodys, Now(0)), Home::Nobody);
        let found = alone.home(&nobodys, Now(0));
        assert_eq!(found, Home::Here(alone.shard(&nobodys)));
    }
}
