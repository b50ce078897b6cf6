//! The interface of the driver to the process around it: orders for its shards, parcels, news, and its end; and the
//! registry's end of a node, for one shard.

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

/// The process around the driver. Called on the driver's thread, in order; must not block.
pub trait HostService: Send + 'static {
    /// Gives the shards an order of the cluster's rules.
    fn order(&mut self, order: SlotOrder);

    /// A load begins: drop what an earlier one brought.
    fn load(&mut self, held: Held);

    /// Records of a slot that is loaded: some of them, or none. They count once [`SlotOrder::Serve`] comes for `held`.
    fn records(&mut self, held: Held, records: Vec<Record>);

    /// Keep the messages of a parcel that another node offers, until an order names it or [`Self::discard`] does. False
    /// if there is no room: the node that offers it keeps the slot.
    fn keep(&mut self, parcel: ParcelId, messages: Vec<u8>) -> bool;

    /// Drop a parcel.
    fn discard(&mut self, parcel: ParcelId);

    /// Hand the messages of a parcel to [`crate::Commands::parcel`], for this node, when the shards have packed them.
    fn send(&mut self, to: Name, parcel: Parcel);

    /// The outcome of a change of a record: called once for each that was taken.
    fn written(&mut self, ticket: Ticket, result: Result<(), StoreError>);

    /// The number of messages that wait for peers in all shards, for operators. Some seconds old.
    fn waiting(&self) -> u64;

    /// The SHA-256 of the node's credentials files, for operators; `None` where it has none.
    fn credentials(&self) -> Option<[u8; 32]>;

    /// The node's links with other nodes, for operators. Some seconds old.
    fn links(&self) -> LinkTable;

    /// Takes a change in what the node knows. Comes after the orders that the same change causes.
    fn learn(&mut self, news: News);

    /// The process of another node wants to know something: it is answered by [`crate::Commands::reply`] with the
    /// same number, or not at all.
    fn inquired(&mut self, from: Name, number: u64, inquiry: Vec<u8>);

    /// Another node's process replies to the inquiry of this number.
    fn replied(&mut self, from: Name, number: u64, reply: Vec<u8>);

    /// An operator wants the process to end in order: [`crate::Handle::drain`] follows.
    fn drain(&mut self);

    /// The process ends. Nothing follows. `others` are the nodes that it ends for, each with its address, if any.
    fn exit(&mut self, ending: Ending, others: Vec<String>);
}

/// A change in what a node knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The key of the hash that finds a channel's slot. Once.
    SlotKey([u8; 16]),
    /// The addresses at which a node is reached: each of the ports of its hosts, by the roster and by the look-ups of
    /// its names. A number keeps its name.
    Node {
        /// Number of the node.
        node: NodeId,
        /// Name of the node.
        name: Name,
        /// The addresses of its host; none while its name leads nowhere. Their port is that of the first shard.
        hosts: Box<[SocketAddr]>,
        /// All ports.
        ports: Box<[u16]>,
    },
    /// The owner of a slot: `NodeId(0)` is this node, which need not serve it yet.
    Owner {
        /// The slot.
        slot: Slot,
        /// The node that has it.
        owner: Option<NodeId>,
        /// The owner of before gave it, as a parcel that the slot names shows; else it was taken.
        is_given: bool,
    },
    /// The number of registered nodes, this one included.
    Registered(u16),
    /// Whether etcd uses four fifths of its quota or more.
    NearlyFull(bool),
    /// Admissions to slots that are served are valid before this moment of the clock that goes on while the machine
    /// sleeps.
    ValidUntil(Now),
    /// Whether a channel that is not in this node's own slots does not exist: another node may have taken them.
    KnowsAbsence(bool),
}

/// A change on its way to the node's thread.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) ticket: Ticket,
    /// The channel, whose slot the node finds.
    pub(crate) identity: Identity,
    /// The record's key in the slot.
    pub(crate) key: Box<str>,
    /// `None` removes the record.
    pub(crate) value: Option<Box<[u8]>>,
}

pub(crate) fn queue() -> (mpsc::Sender<Submission>, mpsc::Receiver<Submission>) {
    mpsc::channel(CHANGES_MAX)
}

/// One shard's end of the registry on etcd. What becomes of each change is reported by [`Service::written`].
///
/// A change is made if this node serves the channel's slot and etcd answers; otherwise it is refused within a second.
/// One that was sent and has no answer is neither: it is reported when its outcome is known.
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
