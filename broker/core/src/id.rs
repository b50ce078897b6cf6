//! Identifiers of the broker: plain numbers that cannot be mixed up.

use codec::identifiers::ChannelArn;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

/// The slots a table may have: a key has 24 bits for the slot's number.
pub const SLOTS_MAX: usize = 1 << 24;

/// One shard of the process, counted from 0. Stable while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard's place in a list of all shards.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A node's number in the list of names that this node keeps, below `NODES_MAX` of the cluster. One per name; other
/// nodes may number them otherwise: in a message between nodes it is the place of a name in that message's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u16);

impl NodeId {
    /// The node's place in a list of all nodes.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One of the parts that channels are divided into, below `SLOTS` of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct Slot(pub u16);

impl Slot {
    /// The slot's place in a list of all slots.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The shard that has its channels, on a node of the cluster with this many. Nodes of one inner version agree.
    #[must_use]
    pub fn shard(self, shards: u16) -> ShardId {
        // Spread, whatever the pattern of the slots that a node has: the odd number is 2^16 by the golden ratio.
        let spread = u32::from(self.0.wrapping_mul(0x9e37));
        ShardId(u16::try_from((spread * u32::from(shards)) >> 16).unwrap_or(0))
    }
}

/// The place of one session or channel in its shard's timer wheel; none while nothing of it was ever due.
///
/// Not to be copied: an owner has one place, so the wheel has no more entries than there are owners.
#[derive(Debug, Default)]
pub struct TimerId(Option<NonZeroU32>);

impl TimerId {
    /// The id of a place; place 0 is none.
    #[must_use]
    pub fn at(place: u32) -> Self {
        Self(NonZeroU32::new(place))
    }

    /// The place, if there is one.
    #[must_use]
    pub fn place(&self) -> Option<u32> {
        self.0.map(NonZeroU32::get)
    }
}

/// A key of 24 bits slot and 24 bits generation, for tables of any such key.
pub trait Key: Copy {
    /// See [`SessionKey::new`].
    fn new(slot: u32, generation: u32) -> Self;
    /// The slot's number.
    fn slot(self) -> usize;
    /// The slot's generation.
    fn generation(self) -> u32;
}

macro_rules! generational_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            slot: u32,
            generation: u32,
        }

        impl $name {
            /// A key for `slot` (below [`SLOTS_MAX`]) in its `generation` (24 bits; the rest is cut off).
            ///
            /// # Panics
            /// When `slot` is out of range: a table never grows that far.
            #[must_use]
            pub fn new(slot: u32, generation: u32) -> Self {
                assert!((slot as usize) < SLOTS_MAX);
                Self { slot, generation: generation & 0x00ff_ffff }
            }

            /// The slot's number.
            #[must_use]
            pub fn slot(self) -> usize {
                self.slot as usize
            }

            /// The slot's generation: a key kept after its slot was freed finds nothing.
            #[must_use]
            pub fn generation(self) -> u32 {
                self.generation
            }

            /// The key in 48 bits, slot low: what travels through a ring as user data.
            #[must_use]
            pub fn pack(self) -> u64 {
                u64::from(self.generation) << 24 | u64::from(self.slot)
            }

            /// The reverse of [`Self::pack`]; higher bits are ignored.
            #[must_use]
            pub fn unpack(bits: u64) -> Self {
                let low = |bits: u64| u32::try_from(bits & 0x00ff_ffff).expect("24 bits fit");
                Self { slot: low(bits), generation: low(bits >> 24) }
            }
        }

        impl Key for $name {
            fn new(slot: u32, generation: u32) -> Self {
                Self::new(slot, generation)
            }

            fn slot(self) -> usize {
                Self::slot(self)
            }

            fn generation(self) -> u32 {
                Self::generation(self)
            }
        }
    };
}

generational_key! {
    /// One connection's session on its shard. The edge keeps the connection under the same key.
    SessionKey
}
generational_key! {
    /// One channel on its home shard.
    ChannelKey
}

/// The identity of a channel: region, account and name, without the creation time.
///
/// As text `region:account:name`; none of the three can hold a colon, so names of one account sort bytewise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(Box<str>);

impl Identity {
    /// The identity that an ARN names, whatever its creation time.
    #[must_use]
    pub fn of(arn: &ChannelArn) -> Self {
        Self::new(arn.region(), arn.account(), arn.name())
    }

    /// The identity of `name` in an account and region.
    #[must_use]
    pub fn new(region: &str, account: &str, name: &str) -> Self {
        // Every call makes some: one allocation, and no formatting.
        Self([region, ":", account, ":", name].concat().into_boxed_str())
    }

    /// A place among identities, for ranges: a prefix of an identity, or one kept as text.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The region: what precedes the first colon.
    #[must_use]
    pub fn region(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The account: the text between the colons.
    #[must_use]
    pub fn account(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }

    /// The prefix that all channels of its account in its region share: `region:account:`.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.0.strip_suffix(self.name()).unwrap_or(&self.0)
    }

    /// The channel's name: what follows the last colon.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit(':').next().unwrap_or_default()
    }
}

/// A call that waits for a letter: which connection on which shard, and which of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallRef {
    /// The shard that holds the caller's connection.
    pub shard: ShardId,
    /// The caller's session there.
    pub session: SessionKey,
    /// The call's number within its session: an answer to an earlier call is dropped.
    pub serial: u32,
    /// The caller's account, whose share of places the call takes.
    pub account: Account,
    /// Whether it waits for the store, and takes a place among those of changes.
    pub change: bool,
}

/// An account: the number that its 12 digits are, so that no text is compared or kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(pub u64);

impl Account {
    /// The account of a channel.
    #[must_use]
    pub fn of(arn: &ChannelArn) -> Self {
        Self::of_digits(arn.account())
    }

    /// The account of these digits; [`Display`](fmt::Display) shows them, twelve at least.
    #[must_use]
    pub fn of_digits(digits: &str) -> Self {
        let digit = |sum: u64, byte: u8| sum.wrapping_mul(10).wrapping_add(u64::from(byte & 15));
        Self(digits.bytes().fold(0, digit))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

/// A caller among those that share a channel, as a hash under a key of its shard: no text is kept. Two bytes are what a
/// connection has left; two of 65,535 callers have the same, and share one part until the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallerId(NonZeroU16);

impl CallerId {
    /// The caller of this hash.
    #[must_use]
    pub fn of_hash(hash: u64) -> Self {
        let part = u16::try_from(hash % u64::from(u16::MAX)).unwrap_or_default();
        Self(NonZeroU16::MIN.saturating_add(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_any_pattern_spread_over_all_shards() {
        for (step, shards) in [(1, 4), (2, 16), (3, 3), (16, 16), (64, 5)] {
            let mut seen = vec![0_u32; usize::from(shards)];
            for slot in (0..4096).step_by(step) {
                seen[Slot(slot).shard(shards).index()] += 1;
            }
            let fair = u32::try_from(4096 / step).unwrap() / u32::from(shards);
            let fair = fair / 2..=fair * 3 / 2 + 1;
            assert!(
                seen.iter().all(|count| fair.contains(count)),
                "{step} {seen:?}"
            );
        }
    }

    #[test]
    fn an_account_is_its_digits() {
        let arn = |account: &str| {
            let name = codec::identifiers::ChannelName::parse("cam").unwrap();
            ChannelArn::build("aws", "us-west-2", account, name, 1).unwrap()
        };
        assert_eq!(Account::of(&arn("123456789012")), Account(123_456_789_012));
        assert_eq!(Account::of(&arn("000000000007")), Account(7));
    }
}
