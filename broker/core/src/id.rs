//! The broker's identifiers, as distinct types that wrap integers.

use codec::identifiers::ChannelArn;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::rc::Rc;

/// Maximum number of slots in a table. A key contains a 24-bit slot number.
pub const SLOTS_MAX: usize = 1 << 24;

/// A shard of the process, numbered from 0. The number does not change while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// Returns the shard's index in a list of all shards.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A node of the cluster, as an index into this node's list of node names. Always below the cluster's `NODES_MAX`.
///
/// Other nodes may list the names in a different order. Messages between nodes therefore carry their own list of names,
/// and refer to nodes by index into that list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u16);

impl NodeId {
    /// Returns the node's index in a list of all nodes.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The number of a slot. A cluster's channels are divided among slots, whose numbers are below `SLOTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct Slot(pub u16);

impl Slot {
    /// Returns the slot's index in a list of all slots.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Returns the shard that owns the slot's channels on a node with `shards` shards. All nodes that speak the same
    /// version of the inner protocol compute the same shard.
    #[must_use]
    pub fn shard(self, shards: u16) -> ShardId {
        // Spreads any pattern of slots evenly. The odd number is 2^16 divided by the golden ratio.
        let spread = u32::from(self.0.wrapping_mul(0x9e37));
        ShardId(u16::try_from((spread * u32::from(shards)) >> 16).unwrap_or(0))
    }
}

/// The entry of a session or channel in its shard's timer wheel. Empty until the first deadline is set.
///
/// Not `Clone`: each owner has at most one entry, so the wheel cannot have more entries than owners.
#[derive(Debug, Default)]
pub struct TimerId(Option<NonZeroU32>);

impl TimerId {
    /// Creates the id of an entry. 0 means no entry.
    #[must_use]
    pub fn at(place: u32) -> Self {
        Self(NonZeroU32::new(place))
    }

    /// Returns the number of the entry, if there is one.
    #[must_use]
    pub fn place(&self) -> Option<u32> {
        self.0.map(NonZeroU32::get)
    }
}

/// A key made of a slot number and a generation, 24 bits each. For tables that are generic over their keys.
pub trait Key: Copy {
    /// Creates a key; see [`SessionKey::new`].
    fn new(slot: u32, generation: u32) -> Self;
    /// Returns the number of the slot.
    fn slot(self) -> usize;
    /// Returns the generation of the slot.
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
            /// Panics if `slot` is out of range. No table grows that large.
            #[must_use]
            pub fn new(slot: u32, generation: u32) -> Self {
                assert!((slot as usize) < SLOTS_MAX);
                Self { slot, generation: generation & 0x00ff_ffff }
            }

            /// Returns the number of the slot.
            #[must_use]
            pub fn slot(self) -> usize {
                self.slot as usize
            }

            /// Returns the slot's generation when the key was created. A lookup finds nothing if the slot has since
            /// moved on to a later generation.
            #[must_use]
            pub fn generation(self) -> u32 {
                self.generation
            }

            /// Packs the key into 48 bits, with the slot number in the low bits, to serve as the user data of ring
            /// operations.
            #[must_use]
            pub fn pack(self) -> u64 {
                u64::from(self.generation) << 24 | u64::from(self.slot)
            }

            /// Reverses [`Self::pack`]. Higher bits of `bits` are ignored.
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
    /// Identifies a session on the shard that serves it. The edge uses the same key for the session's connection.
    SessionKey
}
generational_key! {
    /// Identifies a channel on the shard that owns it.
    ChannelKey
}

/// A channel's identity: its ARN without the creation time, stored as the text of [`ChannelArn::identity`].
///
/// Regions, accounts and names contain neither colons nor slashes, so the identities of an account sort bytewise by
/// name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(Box<str>);

impl Identity {
    /// Returns the identity of the channel that an ARN names. Ignores the creation time.
    #[must_use]
    pub fn of(arn: &ChannelArn) -> Self {
        Self(arn.identity().into())
    }

    /// Creates the identity of the channel `name` in an account and region.
    #[must_use]
    pub fn new(region: &str, account: &str, name: &str) -> Self {
        // Runs for every API call, so it allocates only once and avoids the formatting machinery.
        Self([region, ":", account, KIND, name].concat().into_boxed_str())
    }

    /// Creates the identity from `region:account:name`. If the name is incomplete, the result can serve as the bound of
    /// a range query.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let (tenant, name) = text.rsplit_once(':').unwrap_or_default();
        Self([tenant, KIND, name].concat().into_boxed_str())
    }

    /// Returns the identity as `region:account:name`.
    #[must_use]
    pub fn text(&self) -> String {
        [self.tenant(), self.name()].concat()
    }

    /// Returns the key under which the channel's record is stored: [`ChannelArn::identity`].
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0
    }

    /// Returns the region (the text before the first colon).
    #[must_use]
    pub fn region(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// Returns the account (the text between the colons).
    #[must_use]
    pub fn account(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }

    /// Returns the prefix shared by all channels of the account in this region: `region:account:`.
    #[must_use]
    pub fn tenant(&self) -> &str {
        let end = self.0.len() - self.name().len() - (KIND.len() - 1);
        self.0.get(..end).unwrap_or_default()
    }

    /// Returns the name of the channel (the text after the last slash).
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

const KIND: &str = ":channel/";

/// The role of a connection in its channel. Connections whose roles are equal compete for one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Master,
    Viewer(Rc<str>),
}

impl Role {
    #[must_use]
    pub(crate) fn client_id(&self) -> Option<&str> {
        match self {
            Self::Master => None,
            Self::Viewer(id) => Some(id),
        }
    }

    #[must_use]
    pub(crate) fn on_wire(&self) -> codec::signal::Role {
        match self {
            Self::Master => codec::signal::Role::Master,
            Self::Viewer(_) => codec::signal::Role::Viewer,
        }
    }
}

/// Identifies a call that is waiting for a message from another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallRef {
    /// The shard that serves the caller's connection.
    pub shard: ShardId,
    /// The session of the caller's connection.
    pub session: SessionKey,
    /// The number of the call within its session, by which answers to earlier calls are recognized and dropped.
    pub serial: u32,
    /// The caller's account. The call counts towards its limits.
    pub account: Account,
    /// Whether the call changes the registry. Such a call waits for the store and counts towards the limit on changes.
    pub change: bool,
}

/// An account, stored as the integer that its 12 digits form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(pub u64);

impl Account {
    /// Returns the account that owns a channel.
    #[must_use]
    pub fn of(arn: &ChannelArn) -> Self {
        Self::of_digits(arn.account())
    }

    /// Creates the account from its digits. [`Display`](fmt::Display) pads the number with zeros to 12 digits.
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

/// A caller of a channel, identified by a hash with a per-shard key. A connection stores only two bytes of the hash, so
/// there are 65,535 values. Two callers with the same value share one allowance until the process exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallerId(NonZeroU16);

impl CallerId {
    /// Creates the id of the caller with this hash.
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
