//! Inputs and outputs of a node's state machine: calls to etcd, questions and answers between nodes, orders to the
//! shards.

use crate::cluster::limits::SLOTS;
use crate::cluster::types::{
    Change, Epoch, EtcdId, Incarnation, Key, LeaseId, NodeId, Owner, ParcelId, Revision, Slot,
    SlotRecord, Snapshot, Value,
};
use crate::{time::Now, wire::at_most};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Number of an etcd call within one process, repeated in its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Number of a watch within one process; events of an earlier watch are not counted as progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId(pub u32);

/// A key and the revision that a transaction expects; 0 if the key must be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedRevision {
    /// The key.
    pub key: Key,
    /// Revision of the key's last change.
    pub at: Revision,
}

/// An atomic transaction: if all compares hold, performs all puts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Conditions, all of which must hold.
    pub compares: Vec<ExpectedRevision>,
    /// Keys and values to put; a registration is put under its lease.
    pub puts: Vec<(Key, Value)>,
    /// Whether to return all slots, registrations and members, whatever the outcome.
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
    /// Watches slots, registrations and members, replacing the previous watch.
    Watch {
        /// Number of the watch.
        watch: WatchId,
        /// Revision from which changes are delivered.
        from: Revision,
    },
    /// Requests the revision up to which the watch has delivered.
    Progress(WatchId),
}

/// Reply of etcd to a call. Watches have no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The lease and its lifetime without a keepalive, in milliseconds; at least as long as requested.
    Granted(LeaseId, u64),
    /// The lease was renewed, with a positive remaining time.
    KeptAlive,
    /// The lease does not exist.
    LeaseGone,
    /// Result of a read.
    Snapshot(Snapshot),
    /// Outcome of a transaction, which is durable once reported.
    Outcome {
        /// Whether it was committed.
        committed: bool,
        /// Revision of the store after the transaction.
        revision: Revision,
        /// Id of the etcd cluster.
        etcd: EtcdId,
        /// Snapshot, if the transaction requested one.
        snapshot: Option<Snapshot>,
    },
    /// Revision up to which the watch has delivered.
    Progress(Revision),
    /// The call had no effect: etcd's quota is exceeded, or the call was not sent.
    Refused,
}

/// A slot that a node serves, and the epoch since which it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Held {
    /// The slot.
    pub slot: Slot,
    /// Epoch of the slot's owner.
    pub epoch: Epoch,
}

/// Question sent by one node to another once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Send time by the asking node's clock; repeated in the answer.
    pub asked: Now,
    /// Asking process; repeated in the answer.
    pub asker: Incarnation,
    /// Revision up to which the asking node knows all slot changes; the answer contains later ones.
    pub complete: Revision,
}

/// Answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Copy of [`Question::asked`].
    pub asked: Now,
    /// Copy of [`Question::asker`]; other processes with the same name ignore the answer.
    pub asker: Incarnation,
    /// Answering process.
    pub incarnation: Incarnation,
    /// Whether etcd answered the process within [`crate::cluster::limits::HAS_ETCD_MS`].
    pub has_etcd: bool,
    /// Whether the process is shutting down and thus no target for transfers.
    pub stopping: bool,
    /// Slots that the process serves, in ascending order.
    #[serde(deserialize_with = "at_most::<_, _, _, { SLOTS as usize }>")]
    pub serves: Arc<[Held]>,
    /// Slot changes that the asking node may not know; at most one per slot.
    #[serde(deserialize_with = "at_most::<_, _, _, { SLOTS as usize }>")]
    pub changes: Vec<(Slot, SlotRecord)>,
    /// Highest known etcd revision.
    pub newest: Revision,
}

/// Process that last answered under a given node name, as reported by another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The process.
    pub incarnation: Incarnation,
    /// Time since the question it answered was sent, in milliseconds.
    pub ago_ms: u64,
}

/// Pending messages of a slot, offered to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Id of the parcel.
    pub id: ParcelId,
    /// Slot of the pending messages.
    pub slot: Slot,
    /// Epoch of the sender's ownership of the slot.
    pub epoch: Epoch,
    /// When the parcel is sent: before a transfer, or after the receiver became the owner.
    pub sent: ParcelSent,
}

/// When a parcel is sent relative to the change of owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParcelSent {
    /// Sent before the transfer: kept until etcd shows a change of owner that contains the parcel's id.
    Ahead,
    /// Sent after the receiver became owner by other means: delivered at once or refused.
    Late,
}

/// Input to a node. After each input, all outputs must be polled before the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeInput {
    /// Timer tick; required at least every [`crate::cluster::limits::TICK_MS`].
    Tick {
        /// Whether a shard hangs, that is, does not answer its pulse.
        stuck: bool,
    },
    /// Reply of etcd to a call.
    Reply(CallId, Reply),
    /// Changes from the watch, in order.
    Changed(WatchId, Vec<Change>),
    /// A watch ended because its connection was lost or its revision was compacted.
    WatchEnded(WatchId),
    /// Question of another node.
    Question(NodeId, Question),
    /// Answer of another node.
    Answer(NodeId, Answer),
    /// A node's report of which process last answered it under this node's name, if any; the reply to [`Output::Seek`].
    Found {
        /// Reporting node; this node's own name if a process with that name replies.
        from: NodeId,
        /// Time of the query.
        asked: Now,
        /// Process that last answered the reporting node.
        heard: Option<Heard>,
    },
    /// A node's host refused the connection, so no process listens there.
    Refused(NodeId),
    /// A node is shutting down.
    Goodbye(NodeId, Incarnation),
    /// The records of a slot were loaded, or could not be read.
    Loaded {
        /// The slot and the epoch for which it was loaded.
        held: Held,
        /// Whether all records were loaded.
        whole: bool,
    },
    /// Another node offers the pending messages of a slot.
    Parcel(NodeId, Parcel),
    /// Another node accepted or refused a parcel.
    ParcelAnswer {
        /// The answering node.
        from: NodeId,
        /// Id of the parcel.
        id: ParcelId,
        /// Whether the node accepted the messages.
        taken: bool,
    },
    /// A shard changes a channel's record in a slot; must be written under the slot's epoch.
    Write(Slot, u32),
    /// The operator shuts this node down (SIGTERM).
    Drain,
    /// The operator requests an even distribution of slots.
    Rebalance,
}

/// Action for the driver, which executes all outputs in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeOutput {
    /// Call to etcd.
    Etcd(CallId, Call),
    /// Question to another node.
    Ask(NodeId, Question),
    /// Query to a node at its roster address: which process last answered it under this node's name?
    ///
    /// May be addressed to this node's own name, in which case the process at that address, if any, is queried.
    Seek(NodeId, Now),
    /// Answer to another node.
    Tell(NodeId, Answer),
    /// Notice to another node that this one is shutting down.
    Farewell(NodeId),
    /// Parcel for another node.
    Send(NodeId, Parcel),
    /// Response to a parcel: whether it was accepted.
    Receipt {
        /// Node that offered the parcel.
        to: NodeId,
        /// Id of the parcel.
        id: ParcelId,
        /// Whether the parcel was accepted.
        taken: bool,
    },
    /// A slot gained by this process; for logging.
    Gained(Held, Gain),
    /// The records of a slot must be read.
    Load(Held),
    /// A parcel must be dropped.
    Discard(ParcelId),
    /// An order to the shards.
    Order(SlotOrder),
    /// A write is refused with 503 because the slot is not served here or etcd does not answer.
    WriteRefused(Slot, u32),
    /// The process must exit.
    Exit(Ending),
}

/// Order to all shards of the node, forwarded unchanged by the driver; the slot records and parcel messages it refers
/// to are added where they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotOrder {
    /// Admit clients to a slot, starting with the messages of a parcel if one is named; other parcels of the slot are
    /// dropped. The last field is the presence epoch in the slot's record.
    Serve(Held, Option<ParcelId>, u64),
    /// Add a parcel's messages to a served slot.
    Merge(Held, ParcelId),
    /// Stop admitting clients to a slot, close its connections and pack its pending messages as the parcel.
    Pause(Held, ParcelId),
    /// Serve the slot again after [`Self::Pause`].
    Resume(Held, Packed),
    /// Close a slot's connections and drop its channels.
    Release(Held, ReleaseCause),
    /// Close all connections over 2 s because the node is alone. Records are kept.
    CloseAll,
}

/// Treatment of packed messages if the slot stays on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// Enqueue the messages again; no other node will use the parcel.
    Kept,
    /// Count the messages as withdrawn; another node may use the parcel.
    Withdrawn,
}

/// How this process became the owner of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gain {
    /// Claimed by this process.
    Claimed(Taking),
    /// Transferred by the given former owner, if known.
    Received(Option<NodeId>),
}

/// Former owner of a claimed slot, and the reason for the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taking {
    /// Former owner, if any.
    pub from: Option<NodeId>,
    /// Reason why this node could claim it.
    pub reason: ClaimReason,
}

/// Reason why a slot may be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClaimReason {
    /// Never owned.
    NeverOwned,
    /// Owned by an earlier process of this node with the same data directory.
    Restarted,
    /// The owner's registration is gone, and the owner has not reported serving the slot.
    Silent,
    /// The owner's node now runs with another data directory.
    Replaced,
    /// The owner's node restarted but did not reclaim the slot in time.
    NotReclaimed,
    /// The owner could not serve the slot and gave it up.
    GivenUp,
    /// Owned by this process, which assigns a new epoch to settle a transfer with an unknown outcome.
    Kept,
}

/// Reason why a slot is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseCause {
    /// Transferred to another node, with its pending messages in the parcel.
    Transferred,
    /// Another owner has a newer epoch. Any pending messages are packed into the parcel and sent.
    Superseded(Option<ParcelId>),
    /// Loading failed on this process.
    NotLoaded,
    /// The process is shutting down.
    Ends,
}

/// Reason why the process exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A drain is complete.
    Drained {
        /// Number of slots that no other node could take over.
        left: u16,
    },
    /// The node was removed from the roster (exit code 1).
    Removed,
    /// Another process uses this node's name (exit code 2).
    NameTaken,
    /// Other nodes are registered, but none has a valid proof for this process's secret, cluster id and slot hash key
    /// (exit code 2).
    Unproven,
    /// A registered node has an inner version that is neither equal nor adjacent to this program's (exit code 2).
    OtherVersion {
        /// Inner version of the registered node.
        inner: u32,
    },
    /// The operator has raised the minimum [`crate::cluster::limits::INNER_VERSION`] above this program's (exit code
    /// 2).
    Outdated {
        /// Minimum accepted version.
        lowest: u32,
    },
}

impl Ending {
    /// Whether a drain ended without giving away all slots.
    #[must_use]
    pub fn leaves_slots(self) -> bool {
        matches!(self, Self::Drained { left: 1.. })
    }
}

/// Target of transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Future owner of the slot.
    pub owner: Owner,
    /// Revision of the target's registration, which the transaction compares.
    pub registered: Revision,
}
