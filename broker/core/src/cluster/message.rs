//! Inputs and outputs of a node's state machine: calls to etcd, questions and answers between nodes, and orders to the
//! shards.

use crate::cluster::limits::SLOTS;
use crate::cluster::types::{
    Change, Epoch, EtcdId, Incarnation, Key, LeaseId, NodeId, Owner, ParcelId, Revision, Slot,
    SlotRecord, Snapshot, Value,
};
use crate::{time::Now, wire::at_most};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Number of an etcd call, unique within the process and repeated in the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Number of a watch within the process. Events of an earlier watch do not count as progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId(pub u32);

/// A key and its expected revision in a transaction; 0 if the key must be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedRevision {
    /// The key.
    pub key: Key,
    /// Revision of the key's last change.
    pub at: Revision,
}

/// A transaction: if all comparisons hold, etcd performs all puts atomically.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Conditions, all of which must hold.
    pub compares: Vec<ExpectedRevision>,
    /// Keys and values to write. A registration is written under its lease.
    pub puts: Vec<(Key, Value)>,
    /// Whether to return all slots, registrations and members, regardless of the outcome.
    pub reads: bool,
}

/// A call to etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Grants a lease with the configured TTL.
    Grant,
    /// Renews a lease.
    KeepAlive(LeaseId),
    /// Revokes a lease and deletes its keys.
    Revoke(LeaseId),
    /// Reads all slots, registrations and members, linearizably.
    Read,
    /// Runs a transaction.
    Transaction(Transaction),
    /// Watches slots, registrations and members in place of the previous watch.
    Watch {
        /// Number of the watch.
        watch: WatchId,
        /// First revision whose changes are delivered.
        from: Revision,
    },
    /// Requests the revision up to which the watch has delivered all changes.
    Progress(WatchId),
}

/// etcd's reply to a call. Watches have no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The lease and its lifetime without a keepalive, in milliseconds; at least as long as requested.
    Granted(LeaseId, u64),
    /// The lease was renewed and has not expired.
    KeptAlive,
    /// The lease does not exist.
    LeaseGone,
    /// Result of a read.
    Snapshot(Snapshot),
    /// Outcome of a transaction, durable once reported.
    Outcome {
        /// Whether the transaction was committed.
        committed: bool,
        /// Revision of the store after the transaction.
        revision: Revision,
        /// Id of the etcd cluster.
        etcd: EtcdId,
        /// The snapshot, if the transaction requested one.
        snapshot: Option<Snapshot>,
    },
    /// Revision up to which the watch has delivered all changes.
    Progress(Revision),
    /// The call had no effect: etcd's quota is exceeded, or the call was not sent.
    Refused,
}

/// A slot served by a node, and the epoch since which the node has owned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Held {
    /// The slot.
    pub slot: Slot,
    /// Epoch of the slot's owner.
    pub epoch: Epoch,
}

/// A question that each node sends to each other node once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Send time according to the asking node's clock; repeated in the answer.
    pub asked: Now,
    /// The asking process; repeated in the answer.
    pub asker: Incarnation,
    /// Revision up to which the asking node knows all slot changes; the answer contains the later ones.
    pub complete: Revision,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Copy of [`Question::asked`].
    pub asked: Now,
    /// Copy of [`Question::asker`]; another process with the same name ignores the answer.
    pub asker: Incarnation,
    /// The answering process.
    pub incarnation: Incarnation,
    /// Whether etcd answered the process within the last [`crate::cluster::limits::HAS_ETCD_MS`].
    pub has_etcd: bool,
    /// Whether the process is shutting down and accepts no transfers.
    pub stopping: bool,
    /// Slots that the process serves, in ascending order.
    #[serde(deserialize_with = "at_most::<_, _, _, { SLOTS as usize }>")]
    pub serves: Arc<[Held]>,
    /// Slot changes that may be unknown to the asking node; at most one per slot.
    #[serde(deserialize_with = "at_most::<_, _, _, { SLOTS as usize }>")]
    pub changes: Vec<(Slot, SlotRecord)>,
    /// Highest etcd revision known to the answering process.
    pub newest: Revision,
}

/// Process that last answered under a node name, as reported by another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The process.
    pub incarnation: Incarnation,
    /// Time since the answered question was sent, in milliseconds.
    pub ago_ms: u64,
}

/// Pending messages of a slot, offered to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Id of the parcel.
    pub id: ParcelId,
    /// Slot of the pending messages.
    pub slot: Slot,
    /// Epoch under which the sender owns the slot.
    pub epoch: Epoch,
    /// Whether the parcel is sent before a transfer or after the receiver has become the owner.
    pub sent: ParcelSent,
}

/// When a parcel is sent, relative to the change of owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParcelSent {
    /// Before the transfer; kept until etcd shows a change of owner that names the parcel.
    Ahead,
    /// After the receiver became the owner in another way; delivered at once or refused.
    Late,
}

/// Input of a node. The caller must poll all outputs before the next input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeInput {
    /// Timer tick, at least every [`crate::cluster::limits::TICK_MS`].
    Tick {
        /// Whether any shard hangs, that is, does not answer its pulse.
        stuck: bool,
    },
    /// etcd's reply to a call.
    Reply(CallId, Reply),
    /// Changes from the watch, in order.
    Changed(WatchId, Vec<Change>),
    /// A watch ended because its connection was lost or its revision was compacted.
    WatchEnded(WatchId),
    /// A question from another node.
    Question(NodeId, Question),
    /// An answer from another node.
    Answer(NodeId, Answer),
    /// A node's report of the process that last answered it under this node's name; replies to [`NodeOutput::Seek`].
    Found {
        /// The reporting node; this node's own number if a process with this node's name replies.
        from: NodeId,
        /// When the query was sent.
        asked: Now,
        /// Process that last answered the reporting node, if any.
        heard: Option<Heard>,
    },
    /// A node's host refused the connection, so no process is listening.
    Refused(NodeId),
    /// A node is shutting down.
    Goodbye(NodeId, Incarnation),
    /// The records of a slot were loaded, or could not be read.
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
    /// A shard changed a channel's record; write it under the slot's epoch.
    Write(Slot, u32),
    /// The operator is shutting this node down (SIGTERM).
    Drain,
    /// The operator requests an even distribution of slots.
    Rebalance,
}

/// Action for the driver, which executes all outputs in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeOutput {
    /// A call to etcd.
    Etcd(CallId, Call),
    /// A question to another node.
    Ask(NodeId, Question),
    /// A query to a node's roster address: which process last answered it under this node's name?
    ///
    /// The query may address this node itself; the process at its roster address, if any, then answers.
    Seek(NodeId, Now),
    /// An answer to another node.
    Tell(NodeId, Answer),
    /// A notice to another node that this node is shutting down.
    Farewell(NodeId),
    /// A parcel for another node.
    Send(NodeId, Parcel),
    /// Response to a parcel.
    Receipt {
        /// The node that offered the parcel.
        to: NodeId,
        /// Id of the parcel.
        id: ParcelId,
        /// Whether the parcel was accepted.
        taken: bool,
    },
    /// This process gained a slot; for the log.
    Gained(Held, Gain),
    /// Read the records of a slot.
    Load(Held),
    /// Drop a parcel.
    Discard(ParcelId),
    /// An order for the shards.
    Order(SlotOrder),
    /// Refuse a write with 503: this node does not serve the slot, or etcd does not answer.
    WriteRefused(Slot, u32),
    /// Exit the process.
    Exit(Ending),
}

/// An order to all shards of the node. The driver forwards the order unchanged; the component that stores slot records
/// and parcel messages adds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotOrder {
    /// Admit clients to a slot, after the messages of the named parcel; drop other parcels of the slot. The last field
    /// is the presence epoch from the slot's record.
    Serve(Held, Option<ParcelId>, u64),
    /// Add a parcel's messages to a served slot.
    Merge(Held, ParcelId),
    /// Stop admitting clients to a slot, close its connections, and pack its pending messages into the parcel.
    Pause(Held, ParcelId),
    /// Serve the slot again after [`Self::Pause`].
    Resume(Held, Packed),
    /// Close a slot's connections and drop its channels.
    Release(Held, ReleaseCause),
    /// Close all connections over 2 s because the node is alone; keep the records.
    CloseAll,
}

/// Treatment of packed messages if the slot stays on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// Enqueue the messages again: no other node will use the parcel.
    Kept,
    /// Count the messages as withdrawn: another node may use the parcel.
    Withdrawn,
}

/// How this process gained a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gain {
    /// By a claim.
    Claimed(Taking),
    /// By a transfer from this former owner, if known.
    Received(Option<NodeId>),
}

/// Former owner of a claimed slot, and why it was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taking {
    /// The former owner, if any.
    pub from: Option<NodeId>,
    /// Why this node may claim the slot.
    pub reason: ClaimReason,
}

/// Why a slot may be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClaimReason {
    /// The slot never had an owner.
    NeverOwned,
    /// The owner was an earlier process of this node with the same data directory.
    Restarted,
    /// The owner's registration is absent, and the owner has not reported that it serves the slot.
    Silent,
    /// The owner's node runs with a different data directory.
    Replaced,
    /// The owner's node restarted and did not reclaim the slot in time.
    NotReclaimed,
    /// The owner could not serve the slot and gave it up.
    GivenUp,
    /// This process owns the slot and assigns a new epoch to settle a transfer with an unknown outcome.
    Kept,
}

/// Why a slot is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseCause {
    /// The slot was transferred, with its pending messages in the parcel.
    Transferred,
    /// Another owner has a newer epoch. The parcel, if any, carries the pending messages to it.
    Superseded(Option<ParcelId>),
    /// This process could not load the slot.
    NotLoaded,
    /// The process is shutting down.
    Ends,
}

/// Why the process exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The drain is complete.
    Drained {
        /// Number of slots that no other node could take over.
        left: u16,
    },
    /// The node was removed from the roster (exit code 1).
    Removed,
    /// Another process is using this node's name (exit code 2).
    NameTaken,
    /// Other nodes are registered, but none has a valid proof for this process's secret, cluster id and slot hash key
    /// (exit code 2).
    Unproven,
    /// A registered node's inner version is neither equal nor adjacent to this program's (exit code 2).
    OtherVersion {
        /// Inner version of the registered node.
        inner: u32,
    },
    /// The operator raised the minimum inner version above [`crate::cluster::limits::INNER_VERSION`] (exit code 2).
    Outdated {
        /// Lowest accepted inner version.
        lowest: u32,
    },
}

impl Ending {
    /// Whether a drain ended before all slots were transferred.
    #[must_use]
    pub fn leaves_slots(self) -> bool {
        matches!(self, Self::Drained { left: 1.. })
    }
}

/// A target for transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Future owner of the slot.
    pub owner: Owner,
    /// Revision of the target's registration, compared by the transaction.
    pub registered: Revision,
}
