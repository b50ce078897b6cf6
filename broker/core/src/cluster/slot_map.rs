//! From a channel to the node that owns it: the slot that its identity hashes to, and who owns that.

use super::limits::SLOTS;
use super::types::{NodeId, Slot};
use crate::id::Identity;
use std::hash::Hasher;

/// Which node owns which slot, as one node sees it. One per process, shared by its shards; never changed, but replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotMap {
    key: [u64; 2],
    own: NodeId,
    names: Vec<Box<str>>,
    owners: Vec<Option<NodeId>>,
}

impl SlotMap {
    /// A map without owners, in which `own` is this node's place in `names`. `key` is the same on every node.
    #[must_use]
    pub fn new(key: &[u8; 16], own: NodeId, names: Vec<Box<str>>) -> Self {
        Self {
            key: numbers(key),
            own,
            names,
            owners: vec![None; usize::from(SLOTS)],
        }
    }

    /// From here on `slot` is owned by `node`.
    pub fn assign(&mut self, slot: Slot, node: NodeId) {
        if let Some(owner) = self.owners.get_mut(slot.index()) {
            *owner = Some(node);
        }
    }

    /// The node that owns a channel; `None` when nobody does.
    #[must_use]
    pub fn owner(&self, identity: &Identity) -> Option<NodeId> {
        self.owners.get(self.slot(identity).index()).copied()?
    }

    /// This node.
    #[must_use]
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// The name of a node; empty for one that is not in the list.
    #[must_use]
    pub fn name(&self, node: NodeId) -> &str {
        self.names.get(node.index()).map_or("", |name| name)
    }

    /// The slot of a channel.
    #[must_use]
    pub fn slot(&self, identity: &Identity) -> Slot {
        hash(self.key, identity)
    }
}

/// The slot of a channel: SipHash-2-4 of `region:account:name` under the cluster's key, so that nobody outside can aim
/// at one slot.
#[must_use]
pub fn slot_of(key: &[u8; 16], identity: &Identity) -> Slot {
    hash(numbers(key), identity)
}

#[expect(
    deprecated,
    reason = "the hash of hash maps may change between versions of Rust; this one is SipHash-2-4 forever"
)]
fn hash([low, high]: [u64; 2], identity: &Identity) -> Slot {
    let mut hasher = std::hash::SipHasher::new_with_keys(low, high);
    hasher.write(identity.as_str().as_bytes());
    let place = hasher.finish() % u64::from(SLOTS);
    Slot(u16::try_from(place).unwrap_or(0))
}

/// The key as the hash takes it.
fn numbers(key: &[u8; 16]) -> [u64; 2] {
    let (low, high) = key.split_at(8);
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |n, byte| n << 8 | u64::from(*byte))
    };
    [number(low), number(high)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> SlotMap {
        let key = std::array::from_fn(|byte| u8::try_from(byte).unwrap());
        SlotMap::new(&key, NodeId(0), vec!["n1".into(), "n2".into()])
    }

    /// Source: the vectors of the authors of SipHash (`vectors.h` of the reference implementation), key and input
    /// 00 01 02 …; computed here for an input of 15 bytes as in the appendix of the paper, a129ca6149be45e5.
    #[test]
    #[expect(deprecated, reason = "as above")]
    fn the_hash_is_siphash_2_4() {
        let map = map();
        let mut hasher = std::hash::SipHasher::new_with_keys(map.key[0], map.key[1]);
        hasher.write(&(0..15).collect::<Vec<u8>>());
        assert_eq!(hasher.finish(), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn slots_spread_and_stay() {
        let map = map();
        let mut seen = vec![0u32; usize::from(SLOTS)];
        for number in 0..40_960 {
            let identity = Identity::new("r", "1", &format!("channel{number}"));
            seen[map.slot(&identity).index()] += 1;
        }
        assert!(seen.iter().all(|&count| count < 40));
        assert!(seen.iter().filter(|&&count| count == 0).count() < 10);
        // Fixed forever: a version that computed another slot would lose every channel.
        let fixed = Identity::new("us-west-2", "123456789012", "cam.1");
        assert_eq!(map.slot(&fixed), Slot(FIXED));
        let key = std::array::from_fn(|byte| u8::try_from(byte).unwrap());
        assert_eq!(slot_of(&key, &fixed), Slot(FIXED));
    }

    #[test]
    fn a_slot_has_the_owner_it_was_assigned() {
        let mut map = map();
        let identity = Identity::new("r", "1", "cam");
        assert_eq!(map.owner(&identity), None);
        map.assign(map.slot(&identity), NodeId(1));
        assert_eq!(map.owner(&identity), Some(NodeId(1)));
        assert_eq!((map.name(NodeId(1)), map.name(NodeId(7))), ("n2", ""));
        map.assign(Slot(SLOTS), NodeId(1));
    }

    /// Computed by another implementation of the hash.
    const FIXED: u16 = 87;
}
