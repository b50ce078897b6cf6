//! Identifiers of the broker: numbers wrapped in distinct types.

use codec::identifiers::ChannelArn;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

/// Maximum number of slots of a table; a key holds a 24-bit slot number.
pub const SLOTS_MAX: usize = 1 << 24;

/// A shard of the process, counted from 0. Stable for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// Index in a list of all shards.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Number of a node in this node's list of names, below `NODES_MAX` of the cluster. Each name has one number, but nodes
/// may number them differently: in a message between nodes it is an index into that message's list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u16);

impl NodeId {
    /// Index in a list of all nodes.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Part of the channel space, below the cluster's `SLOTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct Slot(pub u16);

impl Slot {
    /// Index in a list of all slots.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Shard that holds the slot's channels on a node with this many shards. All nodes of the same inner version agree.
    #[must_use]
    pub fn shard(self, shards: u16) -> ShardId {
        // Spreads any pattern of slots: the odd number is 2^16 divided by the golden ratio.
        let spread = u32::from(self.0.wrapping_mul(0x9e37));
        ShardId(u16::try_from((spread * u32::from(shards)) >> 16).unwrap_or(0))
    }
}

/// A session's or channel's entry in its shard's timer wheel; none before its first deadline.
///
/// Not `Clone`: each owner has a single entry, so the wheel never has more entries than there are owners.
#[derive(Debug, Default)]
pub struct TimerId(Option<NonZeroU32>);

impl TimerId {
    /// Id of an entry; 0 means none.
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

/// A key made of a 24-bit slot and a 24-bit generation, for tables that are generic over their keys.
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
            /// Key for `slot` (below [`SLOTS_MAX`]) in its `generation` (truncated to 24 bits).
            ///
            /// # Panics
            /// If `slot` is out of range; no table grows that large.
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

            /// The slot's generation; a key to a freed slot finds nothing.
            #[must_use]
            pub fn generation(self) -> u32 {
                self.generation
            }

            /// Packs the key into 48 bits, slot in the low bits, for the user data of ring operations.
            #[must_use]
            pub fn pack(self) -> u64 {
                u64::from(self.generation) << 24 | u64::from(self.slot)
            }

            /// Inverse of [`Self::pack`]; higher bits are ignored.
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
    /// A connection's session on its shard. The edge stores the connection under the same key.
    SessionKey
}
generational_key! {
    /// A channel on its home shard.
    ChannelKey
}

/// Identity of a channel, without the creation time: the text of [`ChannelArn::identity`].
///
/// Region, account and name contain neither a colon nor a slash, so names of one account sort bytewise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(Box<str>);

impl Identity {
    /// Identity of an ARN, ignoring its creation time.
    #[must_use]
    pub fn of(arn: &ChannelArn) -> Self {
        Self(arn.identity().into())
    }

    /// The identity of `name` in an account and region.
    #[must_use]
    pub fn new(region: &str, account: &str, name: &str) -> Self {
        // Created by every call: one allocation, and no formatting.
        Self([region, ":", account, KIND, name].concat().into_boxed_str())
    }

    /// Identity of `region:account:name`, or a bound for range queries if the name is a prefix of one.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let (tenant, name) = text.rsplit_once(':').unwrap_or_default();
        Self([tenant, KIND, name].concat().into_boxed_str())
    }

    /// The identity as `region:account:name`.
    #[must_use]
    pub fn text(&self) -> String {
        [self.tenant(), self.name()].concat()
    }

    /// The key of a channel's record: [`ChannelArn::identity`].
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0
    }

    /// The region: the text before the first colon.
    #[must_use]
    pub fn region(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The account: the text between the colons.
    #[must_use]
    pub fn account(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }

    /// Common prefix of all channels of the account in the region: `region:account:`.
    #[must_use]
    pub fn tenant(&self) -> &str {
        let end = self.0.len() - self.name().len() - (KIND.len() - 1);
        self.0.get(..end).unwrap_or_default()
    }

    /// The channel's name: the text after the last slash.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

/// Text between account and name.
const KIND: &str = ":channel/";

/// A call waiting for a letter, identified by its connection, shard and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallRef {
    /// Shard of the caller's connection.
    pub shard: ShardId,
    /// Session of the caller.
    pub session: SessionKey,
    /// Number of the call within its session; an answer to an earlier call is dropped.
    pub serial: u32,
    /// Account of the caller, against whose limits the call counts.
    pub account: Account,
    /// Whether the call waits for the store and counts towards the limit of changes.
    pub change: bool,
}

/// An account, stored as the number formed by its 12 digits to avoid comparing or storing text.
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

/// A caller among those that share a channel, as a hash keyed per shard, so no text is stored. A connection has only
/// two bytes for it; if two of the 65,535 values collide, the two callers use one share together until the process
/// ends.
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
