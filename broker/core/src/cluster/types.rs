//! Basic cluster types: nodes, incarnations, slots, epochs and the contents of etcd's keys.

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

/// Cluster-wide identity of a node: a hash of its name. Used in decisions on which all nodes must agree, since a
/// [`NodeId`] is local to one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub u64);

/// A single run of a node's process.
///
/// Data directories are locked, so a later incarnation on the same machine proves that the earlier one has exited.
/// Directories can be copied, however: only etcd's order, never these numbers, determines the newer of two
/// incarnations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// Random number created with the data directory.
    pub directory: u32,
    /// Incremented by a random step at each start, so that copies of a directory differ even after the same number of
    /// starts.
    pub start: u64,
}

/// Revision of etcd's store. 0 precedes the first change; a key with revision 0 is absent.
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

/// Revision of the last write to a slot's key; a higher epoch is newer. Fences all writes by owners.
pub type Epoch = Revision;

/// Id of an etcd lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// Id of an etcd cluster, part of each reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtcdId(pub u64);

/// Id of a parcel: the pending messages of a slot in transit to its next owner. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ParcelId {
    /// The process that packed the parcel.
    pub giver: Incarnation,
    /// Number of the parcel, unique within the incarnation.
    pub number: u32,
}

/// The owner of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The node that owns the slot.
    pub node: NodeId,
    /// Incarnation of the node.
    pub incarnation: Incarnation,
}

/// Contents of a slot's key: the owner, and the epoch since which it has owned the slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// Epoch of the record; 0 if the slot never had an owner.
    pub epoch: Epoch,
    /// The owner; `None` if the last owner could not serve the slot.
    pub owner: Option<Owner>,
    /// Parcel sent with this change of owner, if any. The parcel of an abandoned transfer is never used, because no
    /// record names it.
    pub parcel: Option<ParcelId>,
    /// Presence epoch of the slot's channels; increases with each change of owner.
    pub presence: u64,
}

/// Registration of a node: a key that exists as long as its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The process that registered.
    pub incarnation: Incarnation,
    /// Lease to which the key is attached.
    pub lease: LeaseId,
    /// Revision at which the key was written.
    pub revision: Revision,
    /// Relation of the registered process to this cluster.
    pub kinship: Kinship,
}

/// Relation of a registered process to this cluster. Only registrations of peers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kinship {
    /// The process has proved that it knows the cluster's secret, and its inner version is equal or adjacent.
    Peer,
    /// The process has no valid proof for this process's secret, cluster id and slot hash key.
    Unproven,
    /// The process has this inner version, which is neither equal nor adjacent.
    OtherVersion(u32),
}

/// State of a node in the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RosterState {
    /// A member that is expected to run.
    Here,
    /// A member that was drained.
    Away,
}

/// Hash of a node's client address, which only one process can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u64);

/// A key of the cluster in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Owner of a slot. Has no lease and is never deleted, because the key's revision orders all changes.
    Slot(Slot),
    /// Registration of a node, under a lease.
    Registration(NodeId),
    /// Membership of a node.
    Roster(NodeId),
    /// Record of a channel in a slot. Not watched.
    Record(Slot, u32),
}

/// The value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// See [`SlotRecord`], whose epoch is the key's revision.
    Slot {
        /// Owner of the slot.
        owner: Option<Owner>,
        /// Parcel sent with the change to this owner, if any.
        parcel: Option<ParcelId>,
        /// Presence epoch; in a transaction, the lowest value to write.
        presence: u64,
    },
    /// See [`Registration`].
    Registration {
        /// The process that registered.
        incarnation: Incarnation,
        /// Lease to which the key is attached.
        lease: LeaseId,
        /// Relation of the registered process to the reader's cluster.
        kinship: Kinship,
    },
    /// Membership of a node, and the address of the process that wrote it.
    Roster(RosterState, Address),
    /// A channel's record.
    Record,
}

/// A key and its value at the revision of its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Revision of the change.
    pub revision: Revision,
    /// The key.
    pub key: Key,
    /// The value; `None` if the key was deleted.
    pub value: Option<Value>,
}

/// All slots, registrations and members of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Revision of the snapshot.
    pub revision: Revision,
    /// Id of the etcd cluster.
    pub etcd: EtcdId,
    /// All existing keys, with the revisions of their last changes.
    pub entries: Vec<Change>,
}

/// The words of the cluster's unit tests.
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

    /// An answer to a question of this moment, by a process that has etcd and serves nothing.
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
