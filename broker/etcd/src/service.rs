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

/// The process around the driver. The driver calls the methods in order on its thread; they must not block.
pub trait HostService: Send + 'static {
    /// Passes an order from the core to the shards.
    fn order(&mut self, order: SlotOrder);

    /// Starts loading the records of a slot; drops records of an earlier load.
    fn load(&mut self, held: Held);

    /// Delivers some records, possibly none, of a slot that is being loaded. They take effect with [`SlotOrder::Serve`]
    /// for `held`.
    fn records(&mut self, held: Held, records: Vec<Record>);

    /// Stores the messages of another node's parcel until an order names the parcel or [`Self::discard`] is called.
    /// Returns `false` if there is no capacity; the other node then keeps the slot.
    fn keep(&mut self, parcel: ParcelId, messages: Vec<u8>) -> bool;

    /// Drops a parcel.
    fn discard(&mut self, parcel: ParcelId);

    /// Requests that the messages of a parcel for the node `to` be passed to [`crate::Commands::parcel`] once the
    /// shards have packed them.
    fn send(&mut self, to: Name, parcel: Parcel);

    /// Reports the outcome of a record change, exactly once per accepted change.
    fn written(&mut self, ticket: Ticket, result: Result<(), StoreError>);

    /// Number of messages on all shards that wait for peers, for operators. May be several seconds old.
    fn waiting(&self) -> u64;

    /// SHA-256 of the node's credentials files, for operators; `None` if there are none.
    fn credentials(&self) -> Option<[u8; 32]>;

    /// Links with other nodes, for operators. May be several seconds old.
    fn links(&self) -> LinkTable;

    /// Receives a change in what the node knows about its cluster, after the orders that the change causes.
    fn learn(&mut self, news: News);

    /// Receives a query from another node's process, which [`crate::Commands::reply`] may answer with the same number.
    fn inquired(&mut self, from: Name, number: u64, inquiry: Vec<u8>);

    /// Receives the reply of another node's process to the query with this number.
    fn replied(&mut self, from: Name, number: u64, reply: Vec<u8>);

    /// Starts a graceful shutdown for an operator; [`crate::Handle::drain`] must follow.
    fn drain(&mut self);

    /// Ends the process; the last call. `others` lists the nodes that caused the end, with their addresses if known.
    fn exit(&mut self, ending: Ending, others: Vec<String>);
}

/// A change in what a node knows about its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Key of the hash that maps channels to slots. Sent once.
    SlotKey([u8; 16]),
    /// Addresses of a node: each port of its host, from the roster and from resolving its name. A number always refers
    /// to the same name.
    Node {
        /// Number of the node.
        node: NodeId,
        /// Name of the node.
        name: Name,
        /// Addresses of the node's host, with the first shard's port; empty until its name is resolved.
        hosts: Box<[SocketAddr]>,
        /// All ports of the host.
        ports: Box<[u16]>,
    },
    /// Owner of a slot; `NodeId(0)` is this node, which may not serve the slot yet.
    Owner {
        /// The slot.
        slot: Slot,
        /// Owner of the slot, if any.
        owner: Option<NodeId>,
        /// Whether the previous owner transferred the slot, as indicated by the parcel in the slot's value; otherwise,
        /// the owner claimed it.
        is_given: bool,
    },
    /// Number of registered nodes, including this one.
    Registered(u16),
    /// Whether etcd uses four fifths of its quota or more.
    NearlyFull(bool),
    /// Clients of served slots may be admitted until this time, on a clock that continues while the machine is
    /// suspended.
    ValidUntil(Now),
    /// Whether a channel outside this node's slots is known not to exist. Otherwise, another node may have claimed the
    /// slots.
    KnowsAbsence(bool),
}

#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) ticket: Ticket,
    /// Identity of the channel, which determines the slot.
    pub(crate) identity: Identity,
    pub(crate) key: Box<str>,
    /// `None` removes the record.
    pub(crate) value: Option<Box<[u8]>>,
}

pub(crate) fn queue() -> (mpsc::Sender<Submission>, mpsc::Receiver<Submission>) {
    mpsc::channel(CHANGES_MAX)
}

/// Registry store of one shard, in etcd. [`HostService::written`] reports the outcome of each change.
///
/// A change is made if this node serves the channel's slot and etcd responds; otherwise, it is refused within a second.
/// If etcd does not answer a change, its outcome is reported once it is known.
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
