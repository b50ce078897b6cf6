//! Inputs and outputs of a node's part of the cluster: calls to etcd, questions and answers between nodes, orders to
//! the shards.

use crate::cluster::limits::SLOTS;
use crate::cluster::types::{
    Change, Epoch, EtcdId, Incarnation, Key, LeaseId, NodeId, Owner, ParcelId, Revision, Slot,
    SlotRecord, Snapshot, Value,
};
use crate::{time::Now, wire::at_most};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Number of a call to etcd within one process; the reply carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Number of a watch within one process; events of an earlier watch do not count as progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId(pub u32);

/// A key at the revision that the transaction expects; 0 means that the key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedRevision {
    /// The key.
    pub key: Key,
    /// Revision of its last change.
    pub at: Revision,
}

/// Compares, then puts: all of them or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Conditions: unless all hold, nothing is put.
    pub compares: Vec<ExpectedRevision>,
    /// Keys to put, with their values; a registration is put under its lease.
    pub puts: Vec<(Key, Value)>,
    /// Whether the reply has all slots, registrations and members, whatever the outcome.
    pub reads: bool,
}

/// Call to etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Grants a lease with the configured TTL.
    Grant,
    /// Renews a lease.
    KeepAlive(LeaseId),
    /// Revokes a lease with its keys.
    Revoke(LeaseId),
    /// Reads all slots, registrations and members, linearizably.
    Read,
    /// Runs a transaction.
    Transaction(Transaction),
    /// Watches slots, registrations and members, in place of the earlier watch.
    Watch {
        /// Number of the watch.
        watch: WatchId,
        /// First revision whose changes are wanted.
        from: Revision,
    },
    /// Queries the revision up to which the watch has delivered.
    Progress(WatchId),
}

/// Reply of etcd to a call. A watch has no reply of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The lease, and its lifetime without a keepalive in milliseconds: at least the requested one.
    Granted(LeaseId, u64),
    /// The lease was renewed: its remaining time was more than 0.
    KeptAlive,
    /// The lease does not exist.
    LeaseGone,
    /// Result of a read.
    Snapshot(Snapshot),
    /// Outcome of a transaction, which is durable.
    Outcome {
        /// Whether it was committed.
        committed: bool,
        /// Revision of the store after it.
        revision: Revision,
        /// Id of the etcd cluster.
        etcd: EtcdId,
        /// Snapshot, if the transaction reads.
        snapshot: Option<Snapshot>,
    },
    /// Revision up to which the watch has delivered.
    Progress(Revision),
    /// Nothing was changed: the quota is used up, or the call was not sent.
    Refused,
}

/// Slot that a node serves, and since which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Held {
    /// The slot.
    pub slot: Slot,
    /// Epoch of its owner.
    pub epoch: Epoch,
}

/// Question of one node to another, once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Time of the question, by the clock of the node that asks; repeated in the answer.
    pub asked: Now,
    /// Process that asks; repeated in the answer.
    pub asker: Incarnation,
    /// Revision up to which the node that asks knows every slot change: later ones belong in the answer.
    pub complete: Revision,
}

/// Answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// [`Question::asked`] of the question.
    pub asked: Now,
    /// [`Question::asker`] of the question: another process of the same name ignores the answer.
    pub asker: Incarnation,
    /// Process that answers.
    pub incarnation: Incarnation,
    /// Whether etcd answered it within [`crate::cluster::limits::HAS_ETCD_MS`].
    pub has_etcd: bool,
    /// Whether it is stopping: not a target for transfers.
    pub stopping: bool,
    /// Slots that it serves, in order.
    #[serde(deserialize_with = "at_most::<_, _, _, { SLOTS as usize }>")]
    pub serves: Arc<[Held]>,
    /// Slot changes that the node that asked may not know: at most one per slot.
    #[serde(deserialize_with = "at_most::<_, _, _, { SLOTS as usize }>")]
    pub changes: Vec<(Slot, SlotRecord)>,
    /// Highest known revision of etcd.
    pub newest: Revision,
}

/// Process that last answered a node under some name, as reported by that node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The process.
    pub incarnation: Incarnation,
    /// Milliseconds since the question was sent that it answered.
    pub ago_ms: u64,
}

/// Pending messages of a slot, offered to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Id of the parcel.
    pub id: ParcelId,
    /// The slot.
    pub slot: Slot,
    /// Epoch of the giver.
    pub epoch: Epoch,
    /// Whether it is sent before a transfer, or after the receiver took the slot.
    pub sent: ParcelSent,
}

/// Time at which a parcel is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParcelSent {
    /// Before the transfer: kept until etcd shows a change of owner with its id.
    Ahead,
    /// After the receiver became the owner in another way: delivered at once, or refused.
    Late,
}

/// Input to a node. One input, then all outputs, then the next input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeInput {
    /// Time has passed: at least every [`crate::cluster::limits::TICK_MS`].
    Tick {
        /// Whether a shard hangs: it does not answer its pulse.
        stuck: bool,
    },
    /// Reply of etcd to a call.
    Reply(CallId, Reply),
    /// Changes from the watch, in order.
    Changed(WatchId, Vec<Change>),
    /// A watch ended: its connection, or its revision was compacted.
    WatchEnded(WatchId),
    /// Question of another node.
    Question(NodeId, Question),
    /// Answer of another node.
    Answer(NodeId, Answer),
    /// Report of a node which process last answered it under this node's name, if any: replies to [`Output::Seek`].
    Found {
        /// Node that reports; this one's own name if a process of that name replies.
        from: NodeId,
        /// Time of the query.
        asked: Now,
        /// Process that it heard from.
        heard: Option<Heard>,
    },
    /// The host of a node refused the connection: no process listens there.
    Refused(NodeId),
    /// A node is shutting down.
    Goodbye(NodeId, Incarnation),
    /// The records of a slot were loaded, or could not be read.
    Loaded {
        /// The slot, and the epoch that it was loaded for.
        held: Held,
        /// Whether all records are loaded.
        whole: bool,
    },
    /// Another node offers a slot's pending messages.
    Parcel(NodeId, Parcel),
    /// Another node accepted or refused a parcel.
    ParcelAnswer {
        /// Node that answers.
        from: NodeId,
        /// Id of the parcel.
        id: ParcelId,
        /// Whether it accepted the messages.
        taken: bool,
    },
    /// Change of a channel's record in a slot, to be written under the slot's epoch.
    Write(Slot, u32),
    /// The operator stops this node (SIGTERM).
    Drain,
    /// The operator requests an even distribution of slots.
    Rebalance,
}

/// Action for the driver, which carries out all outputs in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeOutput {
    /// Call to etcd.
    Etcd(CallId, Call),
    /// Question to another node.
    Ask(NodeId, Question),
    /// Query to a node, at its address in the roster: which process last answered it under this node's name?
    ///
    /// May be addressed to this node's own name: then whatever process is at that address is queried.
    Seek(NodeId, Now),
    /// Answer to another node.
    Tell(NodeId, Answer),
    /// Announcement to another node that this one is shutting down.
    Farewell(NodeId),
    /// Parcel for another node.
    Send(NodeId, Parcel),
    /// Whether a parcel was accepted.
    Receipt {
        /// Node that offered it.
        to: NodeId,
        /// Id of the parcel.
        id: ParcelId,
        /// Whether it was accepted.
        taken: bool,
    },
    /// Slot gained by this process: for the log.
    Gained(Held, Gain),
    /// Read the records of a slot.
    Load(Held),
    /// Drop a parcel.
    Discard(ParcelId),
    /// An order to the shards.
    Order(SlotOrder),
    /// A write is refused with 503: the slot is not served here, or etcd does not answer.
    WriteRefused(Slot, u32),
    /// The process must end.
    Exit(Ending),
}

/// Order to all shards of the node, passed on unchanged by the driver; the records of a slot and the messages of a
/// parcel that it refers to are added where they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotOrder {
    /// Admit to a slot, starting with the messages of a parcel if one is named; other parcels of the slot are dropped.
    /// The last field is the epoch of presence in its record.
    Serve(Held, Option<ParcelId>, u64),
    /// Add a parcel's messages to a served slot.
    Merge(Held, ParcelId),
    /// Stop admitting to a slot, close its connections, and pack its pending messages as the parcel.
    Pause(Held, ParcelId),
    /// Serve again after [`Self::Pause`].
    Resume(Held, Packed),
    /// Close a slot's connections and drop its channels.
    Release(Held, ReleaseCause),
    /// Close all connections over 2 s, since the node is alone. Records are kept.
    CloseAll,
}

/// Treatment of packed messages when the slot stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// Queue them again: no other node will use the parcel.
    Kept,
    /// Count them as withdrawn: another node may use the parcel.
    Withdrawn,
}

/// Reason why this process owns a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gain {
    /// Claimed by this process.
    Claimed(Taking),
    /// Given by this owner, if known.
    Received(Option<NodeId>),
}

/// Former owner of a claimed slot, and the reason of the claim.
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
    /// Owned by an earlier process of this node, on the same data directory.
    Restarted,
    /// The owner's registration is gone, and the owner has not answered that it serves the slot.
    Silent,
    /// The owner's node runs on another data directory.
    Replaced,
    /// The owner's node was restarted, and did not claim the slot in time.
    NotReclaimed,
    /// The owner could not serve it and gave it up.
    GivenUp,
    /// Owned by this process, which settles a transfer with an unknown outcome by a new epoch.
    Kept,
}

/// Reason why a slot is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseCause {
    /// Transferred, with its pending messages in the parcel.
    Transferred,
    /// Another owner has a newer epoch. Pending messages are packed into the parcel, if any, and sent.
    Superseded(Option<ParcelId>),
    /// Loading failed on this process.
    NotLoaded,
    /// The process ends.
    Ends,
}

/// Reason why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A drain has finished.
    Drained {
        /// Number of slots that no other node could take.
        left: u16,
    },
    /// The node was removed from the roster (exit code 1).
    Removed,
    /// Another process runs under this node's name (exit code 2).
    NameTaken,
    /// Other nodes are registered, none of them with a proof that is valid for this process's secret, cluster id and
    /// slot hash key (exit code 2).
    Unproven,
    /// A registered node has an inner version that is neither this program's nor a neighbour (exit code 2).
    OtherVersion {
        /// Inner version of that node.
        inner: u32,
    },
    /// The operator has raised the lowest [`crate::cluster::limits::INNER_VERSION`] above this program's (exit code 2).
    Outdated {
        /// Lowest accepted version.
        lowest: u32,
    },
}

impl Ending {
    /// Whether a drain has finished without giving all slots away.
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
    /// Revision of its registration, compared by the transaction.
    pub registered: Revision,
}
