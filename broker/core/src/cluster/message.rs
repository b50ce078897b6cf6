//! The inputs and outputs of a node's state machine: calls to etcd, questions and answers exchanged with other nodes,
//! and orders for the shards.

use crate::cluster::limits::SLOTS;
use crate::cluster::types::{
    Change, Epoch, EtcdId, Incarnation, Key, LeaseId, NodeId, Owner, ParcelId, Revision, Slot,
    SlotRecord, Snapshot, Value,
};
use crate::{time::Now, wire::at_most};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Identifies a call to etcd. Unique within the process, and repeated in the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Number of a watch, unique within the process. Events from an earlier watch do not count as progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId(pub u32);

/// A key and the revision that a transaction expects it to have; 0 if the key must be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedRevision {
    /// The key.
    pub key: Key,
    /// The revision at which the key was last changed.
    pub at: Revision,
}

pub(crate) const fn at(key: Key, at: Revision) -> ExpectedRevision {
    ExpectedRevision { key, at }
}

/// A transaction. If all comparisons hold, etcd performs all puts atomically.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Conditions, all of which must hold.
    pub compares: Vec<ExpectedRevision>,
    /// Keys and values to write. A registration is written with its lease.
    pub puts: Vec<(Key, Value)>,
    /// Whether etcd returns all slots, registrations and members, regardless of the outcome.
    pub reads: bool,
}

/// A call to etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Grants a lease with the configured TTL.
    Grant,
    /// Renews a lease.
    KeepAlive(LeaseId),
    /// Revokes a lease, which deletes its keys.
    Revoke(LeaseId),
    /// Reads all slots, registrations and members, linearizably.
    Read,
    /// Runs a transaction.
    Transaction(Transaction),
    /// Watches slots, registrations and members. Replaces the previous watch.
    Watch {
        /// Number of the watch.
        watch: WatchId,
        /// The first revision whose changes are delivered.
        from: Revision,
    },
    /// Requests the revision up to which the watch has delivered all changes.
    Progress(WatchId),
}

/// A reply from etcd to a call. A watch has no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The granted lease, and how long it lasts without a keepalive, in milliseconds. It lasts at least as long as
    /// requested.
    Granted(LeaseId, u64),
    /// The lease has been renewed and has not expired.
    KeptAlive,
    /// The lease does not exist.
    LeaseGone,
    /// The result of a read.
    Snapshot(Snapshot),
    /// The outcome of a transaction. The outcome is durable once it has been reported.
    Outcome {
        /// Whether the transaction was committed.
        committed: bool,
        /// The revision of the store after the transaction.
        revision: Revision,
        /// Id of the etcd cluster.
        etcd: EtcdId,
        /// The snapshot, if the transaction asked for one.
        snapshot: Option<Snapshot>,
    },
    /// The revision up to which the watch has delivered all changes.
    Progress(Revision),
    /// The call had no effect, because etcd's quota is exceeded or because the call was not sent.
    Refused,
}

/// A slot that a node serves, and the epoch under which the node owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Held {
    /// The slot.
    pub slot: Slot,
    /// The epoch under which the node owns the slot.
    pub epoch: Epoch,
}

/// A question that every node sends to every other node once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// When the question was sent, by the clock of the asking node. Repeated in the answer.
    pub asked: Now,
    /// The asking process. Repeated in the answer.
    pub asker: Incarnation,
    /// Revision up to which the asking node knows all slot changes. The answer contains the later ones.
    pub complete: Revision,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Copy of [`Question::asked`].
    pub asked: Now,
    /// Copy of [`Question::asker`]. A different process with the same node name ignores the answer.
    pub asker: Incarnation,
    /// The process that answers.
    pub incarnation: Incarnation,
    /// Whether etcd answered the process within the last [`crate::cluster::limits::HAS_ETCD_MS`].
    pub has_etcd: bool,
    /// Whether the process is shutting down and accepts no transfers.
    pub stopping: bool,
    /// The slots that the process serves, in ascending order.
    #[serde(deserialize_with = "at_most::<_, _, _, { SLOTS as usize }>")]
    pub serves: Arc<[Held]>,
    /// Slot changes that the asking node may not know yet, at most one per slot.
    #[serde(deserialize_with = "at_most::<_, _, _, { SLOTS as usize }>")]
    pub changes: Vec<(Slot, SlotRecord)>,
    /// The highest etcd revision known to the answering process.
    pub newest: Revision,
}

/// The process that last answered under a node name, as reported by another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The process.
    pub incarnation: Incarnation,
    /// Age of the question that the process answered, in milliseconds.
    pub ago_ms: u64,
}

/// The pending messages of a slot, offered to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Id of the parcel.
    pub id: ParcelId,
    /// The slot to which the pending messages belong.
    pub slot: Slot,
    /// The epoch under which the sender owns the slot.
    pub epoch: Epoch,
    /// When the parcel is sent: before a transfer, or after the receiver has become the owner.
    pub sent: ParcelSent,
}

/// When a parcel is sent, relative to the change of ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParcelSent {
    /// The parcel is sent before the transfer. The receiver keeps it until etcd shows a change of ownership that names
    /// the parcel.
    Ahead,
    /// The parcel is sent after the receiver has become the owner by other means, for example by a claim. The receiver
    /// either delivers it at once or refuses it.
    Late,
}

/// An input of a node. The caller must poll all outputs before the next input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeInput {
    /// A timer tick, at least every [`crate::cluster::limits::TICK_MS`].
    Tick {
        /// Whether any shard hangs, that is, has not responded to the watchdog.
        stuck: bool,
    },
    /// etcd's reply to a call.
    Reply(CallId, Reply),
    /// Changes that the watch has delivered, in order.
    Changed(WatchId, Vec<Change>),
    /// A watch ended because its connection was lost or its revision was compacted.
    WatchEnded(WatchId),
    /// A question from another node.
    Question(NodeId, Question),
    /// An answer from another node.
    Answer(NodeId, Answer),
    /// A node's reply to [`NodeOutput::Seek`]. States which process last answered that node under this node's name.
    Found {
        /// The replying node. If the reply comes from another process with this node's name, this is the number of this
        /// node itself.
        from: NodeId,
        /// When the query was sent.
        asked: Now,
        /// The process that last answered the reporting node, if any.
        heard: Option<Heard>,
    },
    /// A node's host refused the connection, so no process is listening there.
    Refused(NodeId),
    /// A node is shutting down.
    Goodbye(NodeId, Incarnation),
    /// A slot's records have been loaded, or could not be read.
    Loaded {
        /// The slot, and the epoch for which it was loaded.
        held: Held,
        /// Whether all records were loaded.
        whole: bool,
    },
    /// Another node offers the pending messages of a slot.
    Parcel(NodeId, Parcel),
    /// Another node accepted or refused a parcel.
    ParcelAnswer {
        /// The node that answered.
        from: NodeId,
        /// Id of the parcel.
        id: ParcelId,
        /// Whether the node accepted the parcel.
        taken: bool,
    },
    /// A shard has changed the channel record with this slot and number. The record must be written under the slot's
    /// epoch.
    Write(Slot, u32),
    /// The operator is shutting this node down (SIGTERM).
    Drain,
    /// The operator requests an even distribution of slots.
    Rebalance,
}

/// An action for the driver, which executes all outputs in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeOutput {
    /// A call to etcd.
    Etcd(CallId, Call),
    /// A question to another node.
    Ask(NodeId, Question),
    /// Asks a node (the process at its roster address) which process last answered it under this node's name.
    ///
    /// The query may be addressed to this node itself. In that case, the process at this node's roster address answers
    /// it, if there is one.
    Seek(NodeId, Now),
    /// An answer to another node.
    Tell(NodeId, Answer),
    /// A notice to another node that this node is shutting down.
    Farewell(NodeId),
    /// A parcel for another node.
    Send(NodeId, Parcel),
    /// The response to a parcel.
    Receipt {
        /// The node that offered the parcel.
        to: NodeId,
        /// Id of the parcel.
        id: ParcelId,
        /// Whether the parcel was accepted.
        taken: bool,
    },
    /// Log that this process has gained a slot.
    Gained(Held, Gain),
    /// Read the records of a slot.
    Load(Held),
    /// Drop a parcel.
    Discard(ParcelId),
    /// An order for the shards.
    Order(SlotOrder),
    /// Reject the write of a record with 503, because this node does not serve the slot or etcd does not answer.
    WriteRefused(Slot, u32),
    /// Exit the process.
    Exit(Ending),
}

/// An order for all shards of the node. The driver forwards the order unchanged. The component that stores slot records
/// and parcels adds their contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotOrder {
    /// Deliver the messages in the given parcel, if any, and then admit clients to the slot. Drop all other parcels for
    /// the slot. The last field is the presence epoch from the slot's record.
    Serve(Held, Option<ParcelId>, u64),
    /// Add a parcel's messages to a slot that is already served.
    Merge(Held, ParcelId),
    /// Stop admitting clients to a slot, close its connections, and pack its pending messages into the parcel.
    Pause(Held, ParcelId),
    /// Serve the slot again after [`Self::Pause`].
    Resume(Held, Packed),
    /// Close a slot's connections and drop its channels.
    Release(Held, ReleaseCause),
    /// Close all connections over the next 2 s, because the node is alone. Keep the records.
    CloseAll,
}

/// How to treat packed messages if the slot stays on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// Queue the messages again, because no other node can use the parcel.
    Kept,
    /// Count the messages as withdrawn, because another node may use the parcel.
    Withdrawn,
}

/// How this process gained a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gain {
    /// The process claimed the slot.
    Claimed(Taking),
    /// The process received the slot in a transfer from this former owner, if known.
    Received(Option<NodeId>),
}

/// The former owner of a claimed slot, and the reason why the slot was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taking {
    /// The former owner, if any.
    pub from: Option<NodeId>,
    /// The reason why this node may claim the slot.
    pub reason: ClaimReason,
}

/// The reason why a slot may be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClaimReason {
    /// The slot has never had an owner.
    NeverOwned,
    /// The owner was an earlier process of this node with the same data directory.
    Restarted,
    /// The owner's registration is absent, and the owner has not reported that it serves the slot.
    Silent,
    /// The owner's node now runs with a different data directory.
    Replaced,
    /// The owner's node restarted but did not reclaim the slot in time.
    NotReclaimed,
    /// The owner was unable to serve the slot and has given it up.
    GivenUp,
    /// This process already owns the slot. It assigns a new epoch in order to settle a transfer whose outcome is
    /// unknown.
    Kept,
}

/// The reason why a slot is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseCause {
    /// The slot has been transferred, along with the parcel that contains its pending messages.
    Transferred,
    /// Another owner has a newer epoch. The parcel, if there is one, carries the pending messages to that owner.
    Superseded(Option<ParcelId>),
    /// This process was unable to load the slot.
    NotLoaded,
    /// The process is shutting down.
    Ends,
}

/// The reason why the process exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The drain is complete.
    Drained {
        /// The number of slots that no other node was able to take over.
        left: u16,
    },
    /// The node has been removed from the roster (exit code 1).
    Removed,
    /// Another process is using this node's name (exit code 2).
    NameTaken,
    /// Other nodes are registered, but none of them has a proof that matches this process's secret, cluster id and slot
    /// hash key (exit code 2).
    Unproven,
    /// A registered node's inter-node protocol version is neither equal nor adjacent to this program's (exit code 2).
    OtherVersion {
        /// Inter-node protocol version of the registered node.
        inner: u32,
    },
    /// The operator has raised the minimum inter-node protocol version above [`crate::cluster::limits::INNER_VERSION`]
    /// (exit code 2).
    Outdated {
        /// Lowest accepted inter-node protocol version.
        lowest: u32,
    },
}

impl Ending {
    /// Returns `true` if a drain ended before all slots had been transferred.
    #[must_use]
    pub fn leaves_slots(self) -> bool {
        matches!(self, Self::Drained { left: 1.. })
    }
}

/// A node to which slots can be transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The future owner of the slot.
    pub owner: Owner,
    /// The revision of the target's registration. The transaction compares it with the current one.
    pub registered: Revision,
}
