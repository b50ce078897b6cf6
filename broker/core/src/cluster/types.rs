//! The basic types of a cluster: nodes, incarnations, slots, epochs and the contents of etcd keys.

use crate::cluster::limits::{NODES_MAX, SLOTS};
pub use crate::id::{NodeId, Slot};
use serde::{Deserialize, Serialize};

impl TryFrom<u16> for Slot {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        let slot = Some(Self(number)).filter(|_| number < SLOTS);
        slot.ok_or("a slot that no cluster has")
    }
}

/// Identifies a node by a hash of its name, which is the same on all nodes. Used for decisions on which all nodes must
/// agree, because a [`NodeId`] is local to one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub u64);

/// A single run of a node's process.
///
/// A data directory is locked while it is in use, so a later incarnation on the same machine proves that the earlier
/// one has exited. However, directories can be copied. Only the order in etcd therefore determines which of two
/// incarnations is newer, never these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// Random number created with the data directory.
    pub directory: u32,
    /// Incremented by a random step at each start, so that copies of a directory differ even after the same number of
    /// starts.
    pub start: u64,
}

/// Returns a node's entry in a table indexed by node number, and adds the entry if needed. Returns `None` if the number
/// is not below [`NODES_MAX`]. The driver's list never contains such a number.
pub(crate) fn grown<T: Clone + Default>(table: &mut Vec<T>, node: NodeId) -> Option<&mut T> {
    if node.index() >= NODES_MAX {
        return None;
    }
    if table.len() <= node.index() {
        table.resize(node.index() + 1, T::default());
    }
    table.get_mut(node.index())
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

/// The revision at which a slot's key was last written. A higher epoch is newer. Used to fence all writes by owners.
pub type Epoch = Revision;

/// The id of an etcd lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// The id of an etcd cluster, which each of its replies contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtcdId(pub u64);

/// The id of a parcel, which carries a slot's pending messages to its next owner. Ids are never reused.
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

/// The contents of a slot's key: the owner, and the epoch under which it owns the slot.
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
    /// How the registered process relates to this cluster.
    pub kinship: Kinship,
}

/// How a registered process relates to this cluster. Only peers' registrations count; others are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kinship {
    /// The process has proved that it knows the cluster's secret, and its inter-node protocol version is equal or
    /// adjacent.
    Peer,
    /// The process has no proof that matches this process's secret, cluster id and slot hash key.
    Unproven,
    /// The process has this inter-node protocol version, which is neither equal nor adjacent to this program's.
    OtherVersion(u32),
}

/// The state of a node in the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RosterState {
    /// A member that is expected to be running.
    Here,
    /// A member that has been drained.
    Away,
}

/// A hash of a node's client-facing address. Only one process can use that address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u64);

/// A key of the cluster in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The owner of a slot. The key has no lease and is never deleted, because its revision orders all changes.
    Slot(Slot),
    /// The registration of a node, under a lease.
    Registration(NodeId),
    /// A node's entry in the roster.
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
        /// The parcel that was sent with this change of owner, if any.
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
        /// How the registered process relates to the reader's cluster.
        kinship: Kinship,
    },
    /// A node's roster state, and the address of the process that wrote it.
    Roster(RosterState, Address),
    /// The record of a channel.
    Record,
}

/// A key with its value, and the revision at which the key was last changed.
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
