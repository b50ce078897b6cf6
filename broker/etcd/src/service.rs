//! The interface between the driver and the process that contains it. The driver gives the process orders for its
//! shards, parcels, news, and the request to exit. This file also contains the registry store of one shard.

use crate::names::Name;
use broker_core::cluster::link::LinkTable;
use broker_core::cluster::message::{Ending, Held, Parcel, SlotOrder};
use broker_core::cluster::types::{NodeId, ParcelId, Slot};
use broker_core::id::{ChannelKey, Identity, ShardId};
use broker_core::registry::{Change, Store, StoreError, Submitted, Ticket, encode, key};
use broker_core::{record::Record, time::Now};
use std::net::SocketAddr;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// The process that contains the driver. The driver calls the methods in order, on its own thread. They must not block.
pub trait HostService: Send + 'static {
    /// Receives an order from the core, which must be passed to the shards.
    fn order(&mut self, order: SlotOrder);

    /// Starts loading the records of a slot. Records of an earlier load must be dropped.
    fn load(&mut self, held: Held);

    /// Delivers a batch of records, which may be empty, for a slot that is being loaded. The records take effect when
    /// [`SlotOrder::Serve`] is received for `held`.
    fn records(&mut self, held: Held, records: Vec<Record>);

    /// Stores the messages of another node's parcel until an order refers to the parcel or [`Self::discard`] is called.
    /// Returns `false` if there is no room, in which case the other node keeps the slot.
    fn keep(&mut self, parcel: ParcelId, messages: Vec<u8>) -> bool;

    /// Drops a parcel.
    fn discard(&mut self, parcel: ParcelId);

    /// Requests the pending messages of a slot, which will be transferred to the node `to`. Once the shards have packed
    /// them, they must be passed to [`crate::Commands::parcel`].
    fn send(&mut self, to: Name, parcel: Parcel);

    /// Reports the outcome of a record change. Called exactly once for each accepted change.
    fn written(&mut self, ticket: Ticket, result: Result<(), StoreError>);

    /// Returns how many messages on all shards are still waiting for their recipients, for display to operators. The
    /// number may be several seconds old.
    fn waiting(&self) -> u64;

    /// Returns the SHA-256 of the node's credentials files for display to operators, or `None` if there are no such
    /// files.
    fn credentials(&self) -> Option<[u8; 32]>;

    /// Returns the links with other nodes, for display to operators. The figures may be several seconds old.
    fn links(&self) -> LinkTable;

    /// Receives a change in what the node knows about its cluster. If the change also results in orders, they are
    /// delivered first.
    fn learn(&mut self, news: News);

    /// Receives a query from another node's process. [`crate::Commands::reply`] may answer it, using the same number.
    fn inquired(&mut self, from: Name, number: u64, inquiry: Vec<u8>);

    /// Receives the reply from another node's process to the query with this number.
    fn replied(&mut self, from: Name, number: u64, reply: Vec<u8>);

    /// Starts a graceful shutdown that an operator has ordered. [`crate::Handle::drain`] must follow.
    fn drain(&mut self);

    /// Exits the process. No other method is called afterwards. `others` lists the nodes that caused the exit, with
    /// their addresses if known.
    fn exit(&mut self, ending: Ending, others: Vec<String>);
}

/// A change in what a node knows about its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Key of the hash that maps channels to slots. Sent once.
    SlotKey([u8; 16]),
    /// The addresses and ports of a node. The addresses come from the roster, either directly or by resolving the host
    /// name in it. A node number always refers to the same name.
    Node {
        /// Number of the node.
        node: NodeId,
        /// Name of the node.
        name: Name,
        /// Addresses of the node's host, with the port of its first shard. Empty until its name has been resolved.
        hosts: Box<[SocketAddr]>,
        /// All ports of the host.
        ports: Box<[u16]>,
    },
    /// The owner of a slot has changed. `NodeId(0)` is this node, which may not serve the slot yet.
    Owner {
        /// The slot.
        slot: Slot,
        /// The new owner of the slot, or `None` if there is none.
        owner: Option<NodeId>,
        /// Whether the previous owner transferred the slot, in which case the slot's value in etcd names a parcel. If
        /// `false`, the new owner claimed the slot.
        is_given: bool,
    },
    /// Number of registered nodes, including this one.
    Registered(u16),
    /// Whether etcd's database occupies at least four fifths of its quota.
    NearlyFull(bool),
    /// Until when clients of served slots may be admitted. The clock that measures this time continues while the
    /// machine is suspended.
    ValidUntil(Now),
    /// Whether this node may report a channel outside its slots as nonexistent. If `false`, another node may have
    /// claimed the slots.
    KnowsAbsence(bool),
}

#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) ticket: Ticket,
    /// Identity of the channel, which determines the slot.
    pub(crate) identity: Identity,
    pub(crate) key: Box<str>,
    /// The new value of the record, or `None` to remove the record.
    pub(crate) value: Option<Box<[u8]>>,
}

/// The registry store of one shard, in etcd. [`HostService::written`] reports the outcome of each change.
///
/// A change is made if this node serves the channel's slot and etcd responds. Otherwise, the change is refused within a
/// second. If etcd has received a change but does not answer, the outcome is reported once it is known.
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
