//! Interface between the driver and the surrounding process: orders for its shards, parcels, news, and its exit. Also
//! the registry store of one shard.

use crate::{limits::CHANGES_MAX, names::Name};
use broker_core::cluster::link::LinkTable;
use broker_core::cluster::message::{Ending, Held, Parcel, SlotOrder};
use broker_core::cluster::types::{NodeId, ParcelId, Slot};
use broker_core::id::{ChannelKey, Identity, ShardId};
use broker_core::registry::{Change, Store, StoreError, Submitted, Ticket, encode, key};
use broker_core::{record::Record, time::Now};
use std::net::SocketAddr;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// The process that surrounds the driver. The methods are called in order on the driver's thread, and must not block.
pub trait HostService: Send + 'static {
    /// Passes an order from the core to the shards.
    fn order(&mut self, order: SlotOrder);

    /// Starts loading the records of a slot; records from an earlier load must be dropped.
    fn load(&mut self, held: Held);

    /// Delivers any number of records, possibly none, of a slot being loaded. They take effect when
    /// [`SlotOrder::Serve`] arrives for `held`.
    fn records(&mut self, held: Held, records: Vec<Record>);

    /// Stores the messages of a parcel offered by another node until an order refers to the parcel or [`Self::discard`]
    /// is called. Returns `false` if there is no capacity, in which case the other node keeps the slot.
    fn keep(&mut self, parcel: ParcelId, messages: Vec<u8>) -> bool;

    /// Drops a parcel.
    fn discard(&mut self, parcel: ParcelId);

    /// Requests that the messages of a parcel for the node `to` be passed to [`crate::Commands::parcel`] once the
    /// shards have packed them.
    fn send(&mut self, to: Name, parcel: Parcel);

    /// Reports the outcome of a record change. Called exactly once for each accepted change.
    fn written(&mut self, ticket: Ticket, result: Result<(), StoreError>);

    /// Returns the number of messages waiting for peers on all shards, for operators. May be several seconds old.
    fn waiting(&self) -> u64;

    /// Returns the SHA-256 of the node's credentials files, for operators; `None` if there are none.
    fn credentials(&self) -> Option<[u8; 32]>;

    /// Returns the node's links with other nodes, for operators. May be several seconds old.
    fn links(&self) -> LinkTable;

    /// Receives a change in what the node knows about its cluster, after any orders caused by the same change.
    fn learn(&mut self, news: News);

    /// Receives a query from another node's process, to be answered by [`crate::Commands::reply`] with the same number,
    /// or not at all.
    fn inquired(&mut self, from: Name, number: u64, inquiry: Vec<u8>);

    /// Receives the reply from another node's process to the query with this number.
    fn replied(&mut self, from: Name, number: u64, reply: Vec<u8>);

    /// Starts a graceful shutdown requested by an operator; [`crate::Handle::drain`] must follow.
    fn drain(&mut self);

    /// Ends the process; this is the last call. `others` lists the nodes that caused it to end, each with its address,
    /// if known.
    fn exit(&mut self, ending: Ending, others: Vec<String>);
}

/// A change in what a node knows about its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Key of the hash that maps channels to slots. Sent once.
    SlotKey([u8; 16]),
    /// Addresses at which a node can be reached: each port of its host, from the roster and from resolving its name.
    /// The name that belongs to a number never changes.
    Node {
        /// Number of the node.
        node: NodeId,
        /// Name of the node.
        name: Name,
        /// Addresses of the node's host, with the port of the first shard; empty while its name cannot be resolved.
        hosts: Box<[SocketAddr]>,
        /// All ports of the host.
        ports: Box<[u16]>,
    },
    /// Owner of a slot; `NodeId(0)` stands for this node, which may not be serving the slot yet.
    Owner {
        /// The slot.
        slot: Slot,
        /// The node that owns the slot, if any.
        owner: Option<NodeId>,
        /// Whether the previous owner handed the slot over, as indicated by a parcel in the slot's value; otherwise the
        /// owner claimed it.
        is_given: bool,
    },
    /// Number of registered nodes, including this one.
    Registered(u16),
    /// Whether etcd uses at least four fifths of its quota.
    NearlyFull(bool),
    /// Admissions to served slots are valid until this time, on a clock that continues to run while the machine is
    /// suspended.
    ValidUntil(Now),
    /// Whether a channel that is absent from this node's own slots is known not to exist. If not, another node may have
    /// taken over the slots.
    KnowsAbsence(bool),
}

/// A change on its way to the node's thread.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) ticket: Ticket,
    /// The channel, from which the node derives the slot.
    pub(crate) identity: Identity,
    /// Key of the record within the slot.
    pub(crate) key: Box<str>,
    /// New value of the record; `None` removes the record.
    pub(crate) value: Option<Box<[u8]>>,
}

pub(crate) fn queue() -> (mpsc::Sender<Submission>, mpsc::Receiver<Submission>) {
    mpsc::channel(CHANGES_MAX)
}

/// Registry store of one shard, backed by etcd. The outcome of each change is reported by [`Service::written`].
///
/// A change is made if this node serves the channel's slot and etcd responds; otherwise, it is refused within a second.
/// If a change was sent but not answered, its result is reported once its outcome is known.
#[derive(Debug)]
pub struct EtcdStore {
    shard: ShardId,
    queue: mpsc::Sender<Submission>,
}

impl EtcdStore {
    pub(crate) fn new(shard: ShardId, queue: mpsc::Sender<Submission>) -> Self {
        Self { shard, queue }
    }
}

impl Store for EtcdStore {
    fn submit(&mut self, of: ChannelKey, change: Change<'_>) -> Result<Submitted, StoreError> {
        let (arn, value) = match change {
            Change::Put(record) => (&record.arn, Some(encode(record))),
            Change::Remove(arn) => (arn, None),
        };
        let submission = Submission {
            ticket: Ticket {
                shard: self.shard,
                channel: of,
            },
            identity: Identity::of(arn),
            key: key(arn).into(),
            value,
        };
        match self.queue.try_send(submission) {
            Ok(()) => Ok(Submitted::Later),
            Err(TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(TrySendError::Closed(_)) => Err(StoreError::Failed(
                "the node has ended: it takes no changes until it is restarted".into(),
            )),
        }
    }
}
