//! The interface of the driver to the process around it: orders for its shards and for its end, and news.

use crate::names::Name;
use broker_core::cluster::message::{Cause, Ending, Held, Packed, Parcel};
use broker_core::cluster::types::{NodeId, ParcelId, Slot};
use broker_core::record::Record;
use broker_core::registry::{StoreError, Ticket};
use broker_core::time::Now;
use std::net::SocketAddr;

/// The process around the driver. Called on the driver's thread, in order; must not block.
pub trait Service: Send + 'static {
    /// Something is to be done.
    fn order(&mut self, order: Order);

    /// Records of a slot that is loaded: some of them, or none. They count once [`Order::Serve`] comes for `held`.
    fn records(&mut self, held: Held, records: Vec<Record>);

    /// Keep the messages of a parcel that another node offers, until an order names it. False if there is no room: the
    /// node that offers it keeps the slot.
    fn keep(&mut self, parcel: ParcelId, messages: Vec<u8>) -> bool;

    /// The outcome of a change of a record: called once for each that was taken.
    fn written(&mut self, ticket: Ticket, result: Result<(), StoreError>);

    /// The number of messages that wait for peers in all shards, for operators. Some seconds old.
    fn waiting(&self) -> u64;

    /// Takes a change in what the node knows. Comes after the orders that the same change causes.
    fn learn(&mut self, news: News);

    /// The process of another node wants to know something: it is answered by [`crate::InquirySender::reply`] with the
    /// same number, or not at all.
    fn inquired(&mut self, from: Name, number: u64, inquiry: Vec<u8>);

    /// Another node's process replies to the inquiry of this number.
    fn replied(&mut self, from: Name, number: u64, reply: Vec<u8>);
}

/// A change in what a node knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The key of the hash that finds a channel's slot. Once.
    SlotKey([u8; 16]),
    /// The addresses at which a node is reached: each of the ports of its hosts, by the roster and by the look-ups of
    /// its names. A number keeps its name.
    Node {
        /// Its number.
        node: NodeId,
        /// Its name.
        name: Name,
        /// The addresses of its host; none while its name leads nowhere. Their port is that of the first shard.
        hosts: Box<[SocketAddr]>,
        /// All ports.
        ports: Box<[u16]>,
    },
    /// The owner of a slot: `NodeId(0)` is this node, which need not serve it yet.
    Owner(Slot, Option<NodeId>),
    /// The number of registered nodes, this one included.
    Registered(u16),
    /// Whether etcd uses four fifths of its quota or more.
    NearlyFull(bool),
    /// Admissions to slots that are served are valid before this moment of the clock that goes on while the machine
    /// sleeps.
    ValidUntil(Now),
}

/// An order of the driver to the process. Carried out in the order in which they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A load begins: drop what an earlier one brought.
    Load(Held),
    /// Admit to a slot, beginning with the messages of a parcel if one is named; other parcels of the slot are dropped.
    Serve(Held, Option<ParcelId>),
    /// Put a parcel's messages into a slot that is served.
    Merge(Held, ParcelId),
    /// Drop a parcel.
    Discard(ParcelId),
    /// Stop admitting to a slot and pack its pending messages; its sockets are read no further.
    Pause(Held, ParcelId),
    /// Serve on after [`Self::Pause`].
    Resume(Held, Packed),
    /// Hand the messages of a parcel to [`crate::ParcelSender::send`], for this node.
    Send(Name, Parcel),
    /// Close a slot's connections and drop its records.
    Release(Held, Cause),
    /// Close all connections over 2 s: this node is alone. Records are kept.
    Alone,
    /// An operator wants the process to end in order: [`crate::Handle::drain`] follows.
    Drain,
    /// The process ends.
    Exit(Ending),
}
