//! The words of the cluster: nodes, incarnations, slots, epochs, and what etcd's keys hold.

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

/// The identity of a node that all nodes have in common, where its [`NodeId`] is a number of one process: a hash of its
/// name. Decisions that all nodes must make alike go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub u64);

/// One start of a node's process.
///
/// A directory is locked, so a later one on the same machine proves that the earlier one has ended. A directory can be
/// copied, so etcd's order alone says which of two is newer, never the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// Drawn at random when the data directory was made.
    pub directory: u32,
    /// Rises with each start on that directory, by a step that is drawn at random: copies of a directory, started as
    /// often, differ.
    pub start: u64,
}

/// A revision of etcd's store; 0 is before the first change, and as a key's revision it means that there is no key.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Revision(pub u64);

impl Revision {
    /// The one that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The revision at which a slot's key was last written: higher is newer. Every write of an owner is fenced by it.
pub type Epoch = Revision;

/// A lease of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// The id of an etcd cluster, as each of its answers carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtcdId(pub u64);

/// The pending messages of one slot on their way to its next owner. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ParcelId {
    /// The process that packed it.
    pub giver: Incarnation,
    /// Counts the parcels of that incarnation.
    pub number: u32,
}

/// The owner of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The node.
    pub node: NodeId,
    /// Its process.
    pub incarnation: Incarnation,
}

/// A slot's key: who owns it since which epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// 0: nobody ever owned it.
    pub epoch: Epoch,
    /// None: the last owner could not serve it.
    pub owner: Option<Owner>,
    /// The parcel that belongs to this change of owner. One of a transfer that was given up is thereby never used.
    pub parcel: Option<ParcelId>,
    /// The epoch of its channels' presence since this change: greater than before each change.
    pub presence: u64,
}

/// A node's registration: a key that lives as long as its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The process that registered.
    pub incarnation: Incarnation,
    /// The lease that holds the key.
    pub lease: LeaseId,
    /// When the key was written.
    pub revision: Revision,
    /// Its relation to this process's cluster.
    pub kinship: Kinship,
}

/// The relation of a registered process to this one's cluster. Only a peer's registration counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kinship {
    /// It has proved that it has the cluster's secret, and its inner version is this one's or a neighbour.
    Peer,
    /// It has no proof that is valid under this process's secret, for this cluster's id and slot hash key.
    Unproven,
    /// It has this inner version, which is neither this one's nor a neighbour.
    OtherVersion(u32),
}

/// The state of a node in the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RosterState {
    /// It belongs to the cluster and is expected to run.
    Here,
    /// It belongs to the cluster and was drained.
    Away,
}

/// A node's address for connections of clients, which only one process can have: a hash of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u64);

/// A key of the cluster in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A slot's owner. No lease; never deleted, since its revision orders everything.
    Slot(Slot),
    /// A node's registration, under a lease.
    Registration(NodeId),
    /// A node's membership.
    Roster(NodeId),
    /// A channel's record in a slot. Not watched.
    Record(Slot, u32),
}

/// The value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// See [`SlotRecord`], whose epoch is the key's revision.
    Slot {
        /// Its owner.
        owner: Option<Owner>,
        /// The parcel of this change.
        parcel: Option<ParcelId>,
        /// The epoch of presence: in a transaction the smallest that may be written.
        presence: u64,
    },
    /// See [`Registration`].
    Registration {
        /// The process.
        incarnation: Incarnation,
        /// The lease that the key is under.
        lease: LeaseId,
        /// Its relation to the cluster of the process that reads it.
        kinship: Kinship,
    },
    /// A node's membership, and the address of the process that wrote it.
    Roster(RosterState, Address),
    /// A channel's record.
    Record,
}

/// A key as of the revision that last changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The change's revision.
    pub revision: Revision,
    /// The key.
    pub key: Key,
    /// None: it was deleted.
    pub value: Option<Value>,
}

/// All slots, registrations and members as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision of the whole.
    pub revision: Revision,
    /// Which etcd cluster answered.
    pub etcd: EtcdId,
    /// Every key that there is, with the revision of its last change.
    pub entries: Vec<Change>,
}
