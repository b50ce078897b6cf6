//! Basic types of the cluster: nodes, incarnations, slots, epochs, and the contents of etcd's keys.

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

/// Identity of a node on all nodes, whereas its [`NodeId`] is a number of one process: a hash of its name. Decisions
/// that all nodes must make alike use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub u64);

/// One start of a node's process.
///
/// A directory is locked, so a later incarnation on the same machine proves that the earlier one has ended. A directory
/// can be copied, so only etcd's order shows which of two is newer, never the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// Random number from the creation of the data directory.
    pub directory: u32,
    /// Rises with each start on that directory, by a random step: copies of a directory, started as often, differ.
    pub start: u64,
}

/// Revision of etcd's store; 0 is before the first change, and as a key's revision it means that the key is absent.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Revision(pub u64);

impl Revision {
    /// The next revision.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Revision at which a slot's key was last written: higher is newer. Fences every write of an owner.
pub type Epoch = Revision;

/// Lease of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// Id of an etcd cluster, part of each of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtcdId(pub u64);

/// Id of a parcel: the pending messages of one slot in transit to its next owner. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ParcelId {
    /// Process that packed it.
    pub giver: Incarnation,
    /// Number of the parcel in that incarnation.
    pub number: u32,
}

/// Owner of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The node.
    pub node: NodeId,
    /// Process of the node.
    pub incarnation: Incarnation,
}

/// Contents of a slot's key: its owner since which epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// Epoch; 0: never owned.
    pub epoch: Epoch,
    /// Owner; `None`: the last owner could not serve it.
    pub owner: Option<Owner>,
    /// Parcel of this change of owner. The parcel of an abandoned transfer is thereby never used.
    pub parcel: Option<ParcelId>,
    /// Epoch of its channels' presence since this change: greater than before each change.
    pub presence: u64,
}

/// Registration of a node: a key that lives as long as its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Process that registered.
    pub incarnation: Incarnation,
    /// Lease that holds the key.
    pub lease: LeaseId,
    /// Revision at which the key was written.
    pub revision: Revision,
    /// Relation to this process's cluster.
    pub kinship: Kinship,
}

/// Relation of a registered process to this one's cluster. Only a peer's registration counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kinship {
    /// Has proved that it has the cluster's secret, with an inner version equal to or next to this one's.
    Peer,
    /// Has no valid proof for this process's secret, cluster id and slot hash key.
    Unproven,
    /// Has this inner version, which is neither this one's nor a neighbour.
    OtherVersion(u32),
}

/// The state of a node in the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RosterState {
    /// Belongs to the cluster and is expected to run.
    Here,
    /// Belongs to the cluster and was drained.
    Away,
}

/// Hash of a node's address for clients, which only one process can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u64);

/// Key of the cluster in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Owner of a slot. No lease; never deleted, since its revision orders everything.
    Slot(Slot),
    /// Registration of a node, under a lease.
    Registration(NodeId),
    /// Membership of a node.
    Roster(NodeId),
    /// Record of a channel in a slot. Not watched.
    Record(Slot, u32),
}

/// Value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// See [`SlotRecord`], whose epoch is the key's revision.
    Slot {
        /// Owner of the slot.
        owner: Option<Owner>,
        /// Parcel of this change.
        parcel: Option<ParcelId>,
        /// Epoch of presence: in a transaction the smallest that may be written.
        presence: u64,
    },
    /// See [`Registration`].
    Registration {
        /// Process that registered.
        incarnation: Incarnation,
        /// Lease of the key.
        lease: LeaseId,
        /// Relation to the cluster of the process that reads it.
        kinship: Kinship,
    },
    /// Membership of a node, and the address of the process that wrote it.
    Roster(RosterState, Address),
    /// A channel's record.
    Record,
}

/// A key as of the revision that last changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Revision of the change.
    pub revision: Revision,
    /// The key.
    pub key: Key,
    /// Value; `None`: deleted.
    pub value: Option<Value>,
}

/// All slots, registrations and members as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision of the whole.
    pub revision: Revision,
    /// Id of the etcd cluster.
    pub etcd: EtcdId,
    /// Every existing key, with the revision of its last change.
    pub entries: Vec<Change>,
}
