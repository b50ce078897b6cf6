//! Inputs and outputs of a node's part of the cluster: calls of etcd, questions and answers between nodes, orders to
//! the shards.

use crate::cluster::limits::SLOTS;
use crate::cluster::types::{
    Change, Epoch, EtcdId, Incarnation, Key, LeaseId, NodeId, Owner, ParcelId, Revision, Slot,
    SlotRecord, Snapshot, Value,
};
use crate::{time::Now, wire::at_most};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Numbers a call of etcd within one process; a reply carries the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Numbers a watch within one process; what comes of an earlier one is not counted as progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId(pub u32);

/// A key at the revision that the transaction expects; 0 means that there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Key,
    /// The revision of its last change.
    pub at: Revision,
}

/// Compares, then puts: all of them or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Without all of these nothing is put.
    pub compares: Vec<Compare>,
    /// The keys to put, with their values; a registration is put under its lease.
    pub puts: Vec<(Key, Value)>,
    /// Whether the reply shows all slots, registrations and members, whatever came of the compares.
    pub reads: bool,
}

/// A call to etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A lease of the configured TTL.
    Grant,
    /// Another TTL for a lease.
    KeepAlive(LeaseId),
    /// The end of a lease and of the keys under it.
    Revoke(LeaseId),
    /// A linearizable read of all slots, registrations and members.
    Read,
    /// A transaction.
    Transaction(Transaction),
    /// A watch of slots, registrations and members that replaces the earlier one.
    Watch {
        /// Its number.
        watch: WatchId,
        /// The first revision whose changes are wanted.
        from: Revision,
    },
    /// Up to which revision the watch has delivered.
    Progress(WatchId),
}

/// The reply of etcd to a call. A watch has no reply of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The lease, and its life without a keepalive in milliseconds: at least what was asked for.
    Granted(LeaseId, u64),
    /// The lease lives on: its remaining time was more than 0.
    KeptAlive,
    /// There is no such lease.
    LeaseGone,
    /// The result of a read.
    Snapshot(Snapshot),
    /// A transaction's outcome, which is durable.
    Outcome {
        /// Whether it was made.
        committed: bool,
        /// The store's revision after it.
        revision: Revision,
        /// Which etcd cluster answered.
        etcd: EtcdId,
        /// The snapshot that it read, if it reads.
        snapshot: Option<Snapshot>,
    },
    /// Up to which revision the watch has delivered.
    Progress(Revision),
    /// Nothing was changed: the quota is used up, or the call was not sent.
    Refused,
}

/// A slot that a node serves, and since which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Held {
    /// The slot.
    pub slot: Slot,
    /// The epoch of its owner.
    pub epoch: Epoch,
}

/// A question of one node to another, asked once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// When it was asked, by the clock of the node that asks; the answer repeats it.
    pub asked: Now,
    /// The process that asks; the answer repeats it too.
    pub asker: Incarnation,
    /// Up to where the node that asks knows every change of a slot: later ones belong in the answer.
    pub complete: Revision,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's.
    pub asked: Now,
    /// The question's: another process of the same name takes no notice.
    pub asker: Incarnation,
    /// The process that answers.
    pub incarnation: Incarnation,
    /// Whether etcd answered it within [`crate::cluster::limits::HAS_ETCD_MS`].
    pub has_etcd: bool,
    /// Whether it is stopping: no target for transfers.
    pub stopping: bool,
    /// The slots that it serves, in order.
    #[serde(deserialize_with = "at_most::<_, _, _, { SLOTS as usize }>")]
    pub serves: Arc<[Held]>,
    /// Slot changes that it knows and the node that asked may not: at most one for each slot.
    #[serde(deserialize_with = "at_most::<_, _, _, { SLOTS as usize }>")]
    pub changes: Vec<(Slot, SlotRecord)>,
    /// The highest revision of etcd that it knows.
    pub newest: Revision,
}

/// The process that last answered a node under some name, as that node says it.
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
    /// Its number.
    pub id: ParcelId,
    /// The slot.
    pub slot: Slot,
    /// The giver's epoch.
    pub epoch: Epoch,
    /// Sent ahead of a transfer, or after the slot was lost to the receiver.
    pub sent: ParcelSent,
}

/// When a parcel is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParcelSent {
    /// Before the transfer: kept until etcd shows a change of owner with its number.
    Ahead,
    /// After the receiver became the owner in another way: delivered at once, or refused.
    Late,
}

/// An input to a node. One input, then all outputs, then the next input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed: at least every [`crate::cluster::limits::TICK_MS`]. `stuck`: a shard does not answer its pulse.
    Tick {
        /// Whether a shard hangs.
        stuck: bool,
    },
    /// etcd answered a call.
    Reply(CallId, Reply),
    /// Changes that the watch delivers, in order.
    Changed(WatchId, Vec<Change>),
    /// A watch ended: its connection, or what it wanted was compacted.
    WatchEnded(WatchId),
    /// Another node asks.
    Question(NodeId, Question),
    /// Another node answers.
    Answer(NodeId, Answer),
    /// A node says which process last answered it under this node's name, if any: in reply to [`Output::Seek`].
    Found {
        /// The node that says so; this one's own name if a process of that name replies.
        from: NodeId,
        /// When it was asked.
        asked: Now,
        /// The process.
        heard: Option<Heard>,
    },
    /// The host of a node refused the connection: no process listens there.
    Refused(NodeId),
    /// A node ends in order.
    Goodbye(NodeId, Incarnation),
    /// The records of a slot are in memory, or could not be read.
    Loaded {
        /// The slot and the epoch that it was loaded for.
        held: Held,
        /// Whether all of them are there.
        whole: bool,
    },
    /// Another node offers a slot's pending messages.
    Parcel(NodeId, Parcel),
    /// Another node took a parcel, or refused it.
    ParcelAnswer {
        /// The node that answers.
        from: NodeId,
        /// Its number.
        id: ParcelId,
        /// Whether it has the messages.
        taken: bool,
    },
    /// A change of a channel's record in a slot, to be written under the slot's epoch.
    Write(Slot, u32),
    /// The operator ends this node in order (SIGTERM).
    Drain,
    /// The operator asks that slots be spread evenly.
    Rebalance,
}

/// An action for the driver, which carries out all outputs in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A call of etcd.
    Etcd(CallId, Call),
    /// A question to another node.
    Ask(NodeId, Question),
    /// Ask a node, at the address that the roster has, which process last answered it under this node's name.
    ///
    /// It may be this node's own name: then whatever process is at that address is asked.
    Seek(NodeId, Now),
    /// An answer to another node.
    Tell(NodeId, Answer),
    /// The end of this node, announced to another one.
    Farewell(NodeId),
    /// A parcel for another node.
    Send(NodeId, Parcel),
    /// Whether a parcel was taken.
    Receipt {
        /// The node that offered it.
        to: NodeId,
        /// Its number.
        id: ParcelId,
        /// Whether it was taken.
        taken: bool,
    },
    /// This process owns a slot from here on: for the log.
    Gained(Held, Gain),
    /// Read the records of a slot.
    Load(Held),
    /// Drop a parcel.
    Discard(ParcelId),
    /// An order to the shards.
    Order(SlotOrder),
    /// A write is refused with 503: the slot is not served here, or etcd does not answer.
    WriteRefused(Slot, u32),
    /// The process ends.
    Exit(Ending),
}

/// An order to all shards of the node. It goes from here through the driver to each shard as it is; what it names, the
/// records of a slot and the messages of a parcel, is added where it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotOrder {
    /// Admit to a slot, beginning with the messages of a parcel if one is named; other parcels of the slot are dropped.
    /// The epoch of its presence is that of its record.
    Serve(Held, Option<ParcelId>, u64),
    /// Put a parcel's messages into a slot that is served.
    Merge(Held, ParcelId),
    /// Stop admitting to a slot, close its connections, and pack its pending messages as the parcel.
    Pause(Held, ParcelId),
    /// Serve on after [`Self::Pause`].
    Resume(Held, Packed),
    /// Close a slot's connections and drop its channels.
    Release(Held, Cause),
    /// The node is alone: close all connections over 2 s. Records are kept.
    CloseAll,
}

/// The treatment of packed messages when the slot stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// They are pending again: no other node will use the parcel.
    Kept,
    /// Another node may use the parcel: here they are counted as withdrawn.
    Withdrawn,
}

/// The origin of a slot that this process owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gain {
    /// By a claim of its own.
    Claimed(Taking),
    /// Its owner gave it to this node: who that was, if it is known.
    Received(Option<NodeId>),
}

/// From whom a slot is claimed, and why it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taking {
    /// The owner, if it had one.
    pub from: Option<NodeId>,
    /// The condition under which this node could claim it.
    pub reason: Reason,
}

/// Why a slot may be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nobody ever owned it.
    NeverOwned,
    /// An earlier process of this node owned it, on the same data directory.
    Restarted,
    /// Its owner's registration is gone, and the owner did not answer that it serves the slot.
    Silent,
    /// Its owner's node runs on another data directory.
    Replaced,
    /// Its owner's node was started again, and did not claim the slot in time.
    NotReclaimed,
    /// Its owner could not serve it and gave it up.
    GivenUp,
    /// This process owns it, and settles a transfer without a known outcome by a new epoch.
    Kept,
}

/// Why a slot is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was transferred; the parcel has its pending messages.
    Transferred,
    /// A newer epoch has another owner. Pending messages are packed as the parcel, if there is one, and sent.
    Superseded(Option<ParcelId>),
    /// This process could not load it.
    NotLoaded,
    /// The process ends.
    Ends,
}

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A drain is over; the number of slots that were left.
    Drained {
        /// Slots without a node that could take them.
        left: u16,
    },
    /// The node was removed from the roster (exit code 1).
    Removed,
    /// Another process runs under this node's name (exit code 2).
    NameTaken,
    /// Other nodes are registered, none of them with a proof that is valid under this process's secret, for its
    /// cluster's id and slot hash key (exit code 2).
    Unproven,
    /// A registered node has an inner version that is neither this program's nor a neighbour (exit code 2).
    OtherVersion {
        /// That node's.
        inner: u32,
    },
    /// The operator has raised the lowest [`crate::cluster::limits::INNER_VERSION`] above this program's (exit code 2).
    Outdated {
        /// The lowest that is allowed.
        lowest: u32,
    },
}

impl Ending {
    /// Whether a drain is over, and no other node took all slots.
    #[must_use]
    pub fn leaves_slots(self) -> bool {
        matches!(self, Self::Drained { left: 1.. })
    }
}

/// A target of transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The future owner of the slot.
    pub owner: Owner,
    /// The revision of its registration, which the transaction compares.
    pub registered: Revision,
}
