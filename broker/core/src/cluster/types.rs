//! The basic types of a cluster: nodes, incarnations, slots, epochs and the contents of keys in etcd.

use crate::cluster::limits::SLOTS;
pub use crate::id::{NodeId, Slot};
use serde::{Deserialize, Serialize};

impl TryFrom<u16> for Slot {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        let slot = Some(Self(number)).filter(|_| number < SLOTS);
        slot.ok_or("a slot that no cluster has")
    }
}

/// The identity of a node: a hash of the node's name, and therefore the same on all nodes. Used in decisions on which
/// all nodes must agree, because a [`NodeId`] is local to one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub u64);

/// A single run of a node's process.
///
/// Data directories are locked, so a later incarnation on the same machine proves that the earlier one has exited.
/// However, directories can be copied. Which of two incarnations is newer is therefore determined only by the order in
/// etcd, never by these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// Random number created with the data directory.
    pub directory: u32,
    /// Incremented by a random step at each start, so that copies of a directory differ even after the same number of
    /// starts.
    pub start: u64,
}

/// A revision of etcd's store. Revision 0 precedes the first change, and a key with revision 0 is absent.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Revision(pub u64);

impl Revision {
    /// Returns the next revision.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The revision at which a slot's key was last written. A higher epoch is newer. Fences all writes by owners.
pub type Epoch = Revision;

/// The id of an etcd lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// The id of an etcd cluster. Each reply contains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtcdId(pub u64);

/// The id of a parcel. A parcel contains the pending messages of a slot on their way to its next owner. Ids are never
/// reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ParcelId {
    /// The process that packed the parcel.
    pub giver: Incarnation,
    /// The number of the parcel, unique within the incarnation.
    pub number: u32,
}

/// The owner of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The node that owns the slot.
    pub node: NodeId,
    /// The incarnation of the node.
    pub incarnation: Incarnation,
}

/// The contents of a slot's key: the owner, and the epoch since which it has owned the slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// The epoch of the record; 0 if the slot has never had an owner.
    pub epoch: Epoch,
    /// The owner; `None` if the last owner was unable to serve the slot.
    pub owner: Option<Owner>,
    /// The parcel that was sent with this change of owner, if any. The parcel of an abandoned transfer is never used,
    /// because no record names it.
    pub parcel: Option<ParcelId>,
    /// The presence epoch of the slot's channels. Increases with each change of owner.
    pub presence: u64,
}

/// The registration of a node: a key that exists as long as its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The process that registered.
    pub incarnation: Incarnation,
    /// The lease to which the key is attached.
    pub lease: LeaseId,
    /// The revision at which the key was written.
    pub revision: Revision,
    /// The relation of the registered process to this cluster.
    pub kinship: Kinship,
}

/// The relation of a registered process to this cluster. Only registrations of peers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kinship {
    /// The process has proved that it knows the cluster's secret, and its inner protocol version is equal or adjacent.
    Peer,
    /// The process has no valid proof for the secret, the cluster id and the slot hash key of this process.
    Unproven,
    /// The process has this inner protocol version, which is neither equal nor adjacent to this program's.
    OtherVersion(u32),
}

/// The state of a node in the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RosterState {
    /// A member that is expected to run.
    Here,
    /// A member that has been drained.
    Away,
}

/// A hash of a node's client address. Only one process can use that address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u64);

/// A key of the cluster in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The owner of a slot. The key has no lease and is never deleted, because its revision orders all changes.
    Slot(Slot),
    /// The registration of a node, under a lease.
    Registration(NodeId),
    /// The membership of a node.
    Roster(NodeId),
    /// The record of a channel in a slot. Not watched.
    Record(Slot, u32),
}

/// The value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The value of a slot's key; see [`SlotRecord`]. The epoch is the revision of the key.
    Slot {
        /// The owner of the slot.
        owner: Option<Owner>,
        /// The parcel that was sent with the change to this owner, if any.
        parcel: Option<ParcelId>,
        /// The presence epoch. A transaction may write a higher value instead.
        presence: u64,
    },
    /// The value of a registration; see [`Registration`].
    Registration {
        /// The process that registered.
        incarnation: Incarnation,
        /// The lease to which the key is attached.
        lease: LeaseId,
        /// The relation of the registered process to the reader's cluster.
        kinship: Kinship,
    },
    /// The membership of a node, and the address of the process that wrote it.
    Roster(RosterState, Address),
    /// The record of a channel.
    Record,
}

/// A key and its value, at the revision at which the key was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision of the change.
    pub revision: Revision,
    /// The key.
    pub key: Key,
    /// The value; `None` if the key has been deleted.
    pub value: Option<Value>,
}

/// All slots, registrations and members at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision of the snapshot.
    pub revision: Revision,
    /// The id of the etcd cluster.
    pub etcd: EtcdId,
    /// All keys that exist, with the revisions at which they were last changed.
    pub entries: Vec<Change>,
}

/// Helpers for the unit tests of the cluster.
#[cfg(test)]
pub(crate) mod fixtures {
    use super::*;
    use crate::cluster::message::Answer;

    pub(crate) const fn incarnation(directory: u32, start: u64) -> Incarnation {
        Incarnation { directory, start }
    }

    pub(crate) const fn registration(incarnation: Incarnation, kinship: Kinship) -> Value {
        let lease = LeaseId(1);
        Value::Registration {
            incarnation,
            lease,
            kinship,
        }
    }

    pub(crate) const fn change(revision: u64, key: Key, value: Value) -> Change {
        let (revision, value) = (Revision(revision), Some(value));
        Change {
            revision,
            key,
            value,
        }
    }

    /// Returns an answer to a question sent at `asked`, from a process that reaches etcd and serves nothing.
    pub(crate) fn answer(incarnation: Incarnation, asked: u64) -> Answer {
        Answer {
            asked: crate::time::Now(asked),
            asker: incarnation,
            incarnation,
            has_etcd: true,
            stopping: false,
            serves: [].into(),
            changes: Vec::new(),
            newest: Revision(2),
        }
    }
}
