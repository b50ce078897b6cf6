//! Identifiers of the broker: distinct types around integers.

use codec::identifiers::ChannelArn;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

/// Maximum number of slots in a table: a key has a 24-bit slot number.
pub const SLOTS_MAX: usize = 1 << 24;

/// A shard of the process, counted from 0. The number never changes while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// Index in a list of all shards.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Number of a node in this node's list of names, below the cluster's `NODES_MAX`.
///
/// Nodes may number the names differently: in a message between nodes, the number is an index into that message's list
/// of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u16);

impl NodeId {
    /// Index in a list of all nodes.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A slot: one part of the channel space; below the cluster's `SLOTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct Slot(pub u16);

impl Slot {
    /// Index in a list of all slots.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Returns the shard that holds the slot's channels on a node with `shards` shards. All nodes with the same inner
    /// version compute the same shard.
    #[must_use]
    pub fn shard(self, shards: u16) -> ShardId {
        // Spreads any pattern of slots: the odd number is 2^16 divided by the golden ratio.
        let spread = u32::from(self.0.wrapping_mul(0x9e37));
        ShardId(u16::try_from((spread * u32::from(shards)) >> 16).unwrap_or(0))
    }
}

/// Entry of a session or channel in its shard's timer wheel; empty before the first deadline.
///
/// Not `Clone`: each owner has one entry, so the wheel never has more entries than owners.
#[derive(Debug, Default)]
pub struct TimerId(Option<NonZeroU32>);

impl TimerId {
    /// Creates the id of an entry; 0 means none.
    #[must_use]
    pub fn at(place: u32) -> Self {
        Self(NonZeroU32::new(place))
    }

    /// Returns the number of the entry, if any.
    #[must_use]
    pub fn place(&self) -> Option<u32> {
        self.0.map(NonZeroU32::get)
    }
}

/// A key that consists of a slot number and a generation, 24 bits each, for tables generic over their keys.
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
            /// Creates a key for `slot` (below [`SLOTS_MAX`]) in its `generation` (truncated to 24 bits).
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

            /// Generation of the slot. A key from an earlier generation is not found.
            #[must_use]
            pub fn generation(self) -> u32 {
                self.generation
            }

            /// Packs the key into 48 bits, the slot in the low bits, for the user data of ring operations.
            #[must_use]
            pub fn pack(self) -> u64 {
                u64::from(self.generation) << 24 | u64::from(self.slot)
            }

            /// Inverse of [`Self::pack`]; higher bits of `bits` are ignored.
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
    /// A connection's session on its shard. The edge uses the same key for the connection.
    SessionKey
}
generational_key! {
    /// A channel on its home shard.
    ChannelKey
}

/// Identity of a channel without its creation time: the text of [`ChannelArn::identity`].
///
/// Region, account and name contain neither a colon nor a slash, so the names of an account sort bytewise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(Box<str>);

impl Identity {
    /// Returns the identity of an ARN's channel, ignoring the creation time.
    #[must_use]
    pub fn of(arn: &ChannelArn) -> Self {
        Self(arn.identity().into())
    }

    /// Creates the identity of the channel `name` in an account and region.
    #[must_use]
    pub fn new(region: &str, account: &str, name: &str) -> Self {
        // Called for every API call: one allocation, and no formatting.
        Self([region, ":", account, KIND, name].concat().into_boxed_str())
    }

    /// Creates the identity of `region:account:name`. With only a prefix of a name, the result is a bound for range
    /// queries.
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

    /// Storage key of the channel's record: [`ChannelArn::identity`].
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

    /// Common prefix of all channels of the account in this region: `region:account:`.
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

const KIND: &str = ":channel/";

/// A call that waits for a letter, identified by its shard, session and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallRef {
    /// Shard that serves the caller's connection.
    pub shard: ShardId,
    /// Session of the caller's connection.
    pub session: SessionKey,
    /// Number of the call in its session; used to drop answers to earlier calls.
    pub serial: u32,
    /// Account of the caller. The call counts against its limits.
    pub account: Account,
    /// Whether the call waits for the store and counts against the limit of changes.
    pub change: bool,
}

/// An account: the integer of its 12 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(pub u64);

impl Account {
    /// Returns the account of a channel.
    #[must_use]
    pub fn of(arn: &ChannelArn) -> Self {
        Self::of_digits(arn.account())
    }

    /// Creates the account with these digits; [`Display`](fmt::Display) prints at least twelve.
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

/// A caller among those that share a channel, stored as a hash keyed per shard. A connection has only two bytes for the
/// hash; if two callers have the same of its 65,535 values, they share one allowance until the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallerId(NonZeroU16);

impl CallerId {
    /// Creates the caller with this hash.
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
            let fine = seen.iter().all(|count| fair.contains(count));
            assert!(fine, "{step} {seen:?}");
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
