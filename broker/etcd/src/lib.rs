//! Clusters of several nodes on etcd: carries out the decisions of [`broker_core::cluster`] in a real etcd, which also
//! stores the channel records.
//!
//! ```text
//!            Service (shards)                    Peers (other nodes)
//!   orders ▲   │ parcels, changes              ▲ questions, answers, parcels
//!          │   ▼                               ▼
//!        ┌───────────────── driver ───────────────┐   one thread, one runtime; its clock continues while
//!        │ Cluster (decides)   Writer (batches)   │   the machine sleeps
//!        └──┬──────────────────────┬──────────────┘
//!           │ connection 1         │ connection 2     each to one member, after a failure to the next
//!           ▼                      ▼
//!   lease, watch, slots      records: loads, changes
//! ```
//! The modules, in suggested reading order:
//!
//! * [`NodeConfig`], [`Options`], `limits`: configuration of a node, and bounds;
//! * `schema`, `translate`, `names`: keys and values in etcd, and their conversion to the types of the core;
//! * `wire`, `parcels`, [`Peers`], [`TcpPeers`]: messages between nodes;
//! * `rpc`: connections to etcd, calls over them, and what a failure means;
//! * `writer`: batches of record changes, each made exactly once despite lost messages;
//! * `directory`: what a node remembers across restarts;
//! * [`Driver`], [`Handle`], [`HostService`]: the node; [`EtcdStore`]: one shard's store in etcd;
//! * [`import`], [`export`], [`add`]: records from a store on disk into etcd, and back; records added to those in etcd;
//! * [`operator`]: operators' commands.
//!
//! # From etcd to the shards
//!
//! A change observed by the watch passes through four enums on its way to the shards:
//!
//! ```text
//!  watch ──► Event::Watched ──► Input::Changed ──► rules ──► Output::Order ──► SlotOrder ──► each shard
//!  (task)      (driver)             (core)        (core)        (core)       (from the rules to the shard)
//! ```
//! [`HostService::order`] receives the [`SlotOrder`] in the core's output, and the shards receive the same order with
//! the records and messages that the service holds. In the other direction, the service reports which slots a shard
//! serves or has packed, and sends parcels through [`Commands`].
//!
//! [`SlotOrder`]: broker_core::cluster::message::SlotOrder
//!
//! # What a lost answer means
//!
//! An unanswered call may have been carried out, or may be carried out later, since a request can wait in a frozen
//! member. The core reads back its changes to slots and registrations; `writer` describes the handling of records.

mod config;
mod directory;
mod driver;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod import_export;
pub mod limits;
mod names;
pub mod operator;
mod parcels;
mod peers;
mod rpc;
mod schema;
mod service;
mod system;
mod tcp;
mod translate;
mod wire;
mod writer;

pub use config::{InnerAddress, NodeConfig, Options, TlsError, tls};
pub use directory::DirectoryError;
pub use driver::{Commands, Driver, Handle, Inspection, NodeState, StartError};
pub use import_export::{Existing, add, each_record, export, import};
pub use names::Name;
pub use peers::{PeerMail, PeerMailbox, Peers};
pub use service::{EtcdStore, HostService, News};
pub use tcp::shared::PeerCounts;
pub use tcp::{PeerListener, TcpPeers};
