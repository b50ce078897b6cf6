//! Identifiers of the broker: numbers with distinct types.

use codec::identifiers::ChannelArn;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

/// Most slots of a table: a key has 24 bits for the slot's number.
pub const SLOTS_MAX: usize = 1 << 24;

/// One shard of the process, counted from 0. Stable while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// Index in a list of all shards.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Number of a node in this node's list of names, below `NODES_MAX` of the cluster. One per name; other nodes may use
/// other numbers: in a message between nodes it is the index of a name in that message's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u16);

impl NodeId {
    /// Index in a list of all nodes.
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
    /// Index in a list of all slots.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Shard of its channels, on a node of the cluster with this many shards. Nodes of one inner version agree.
    #[must_use]
    pub fn shard(self, shards: u16) -> ShardId {
        // Spreads any pattern of slots: the odd number is 2^16 divided by the golden ratio.
        let spread = u32::from(self.0.wrapping_mul(0x9e37));
        ShardId(u16::try_from((spread * u32::from(shards)) >> 16).unwrap_or(0))
    }
}

/// Entry of one session or channel in its shard's timer wheel; none before its first deadline.
///
/// Not `Clone`: an owner has one entry, so the wheel has no more entries than there are owners.
#[derive(Debug, Default)]
pub struct TimerId(Option<NonZeroU32>);

impl TimerId {
    /// Id of an entry; 0 is none.
    #[must_use]
    pub fn at(place: u32) -> Self {
        Self(NonZeroU32::new(place))
    }

    /// Number of the entry, if there is one.
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
            /// Key for `slot` (below [`SLOTS_MAX`]) in its `generation` (24 bits; the rest is cut off).
            ///
            /// # Panics
            /// If `slot` is out of range: a table never grows that far.
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

            /// The slot's generation: a key to a freed slot finds nothing.
            #[must_use]
            pub fn generation(self) -> u32 {
                self.generation
            }

            /// The key in 48 bits, slot low: user data of ring operations.
            #[must_use]
            pub fn pack(self) -> u64 {
                u64::from(self.generation) << 24 | u64::from(self.slot)
            }

            /// Reverses [`Self::pack`]; higher bits are ignored.
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

/// Identity of a channel: region, account and name, without the creation time.
///
/// As text `region:account:name`; none of the three can contain a colon, so names of one account sort bytewise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(Box<str>);

impl Identity {
    /// Identity of an ARN, whatever its creation time.
    #[must_use]
    pub fn of(arn: &ChannelArn) -> Self {
        Self::new(arn.region(), arn.account(), arn.name())
    }

    /// The identity of `name` in an account and region.
    #[must_use]
    pub fn new(region: &str, account: &str, name: &str) -> Self {
        // Created by every call: one allocation, and no formatting.
        Self([region, ":", account, ":", name].concat().into_boxed_str())
    }

    /// Bound for ranges of identities: a prefix of an identity, or a stored one.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The region: text before the first colon.
    #[must_use]
    pub fn region(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The account: the text between the colons.
    #[must_use]
    pub fn account(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }

    /// Prefix of all channels of the account in the region: `region:account:`.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.0.strip_suffix(self.name()).unwrap_or(&self.0)
    }

    /// The channel's name: text after the last colon.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit(':').next().unwrap_or_default()
    }
}

/// A call that waits for a letter: its connection, its shard, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallRef {
    /// Shard of the caller's connection.
    pub shard: ShardId,
    /// Session of the caller.
    pub session: SessionKey,
    /// The call's number within its session: an answer to an earlier call is dropped.
    pub serial: u32,
    /// Account of the caller, whose share of places the call takes.
    pub account: Account,
    /// Whether it waits for the store, and takes a place among changes.
    pub change: bool,
}

/// An account: the number of its 12 digits, so that no text is compared or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(pub u64);

impl Account {
    /// The account of a channel.
    #[must_use]
    pub fn of(arn: &ChannelArn) -> Self {
        Self::of_digits(arn.account())
    }

    /// Account with these digits; [`Display`](fmt::Display) shows at least twelve.
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

/// Caller among those that share a channel, as a hash under a key of its shard: no text is stored. A connection has two
/// bytes left for it; two of 65,535 callers collide, and share one part until the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallerId(NonZeroU16);

impl CallerId {
    /// Caller with this hash.
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
