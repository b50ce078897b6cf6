//! Runs a cluster of several nodes that share their state through etcd. This crate carries out the decisions of
//! [`broker_core::cluster`] and stores the channel records in etcd.
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
//! * [`NodeConfig`], [`Options`], `limits`: the configuration of a node, and limits;
//! * `schema`, `translate`, `names`: keys and values in etcd, and their conversion to the types of the core;
//! * `wire`, `parcels`, [`Peers`], [`TcpPeers`]: messages between nodes;
//! * `rpc`: connections to etcd, calls over them, and how failed calls are classified;
//! * `writer`: batches of record changes, each applied exactly once even if messages are lost;
//! * `directory`: what a node remembers across restarts;
//! * [`Driver`], [`Handle`], [`HostService`]: the node; [`EtcdStore`]: the etcd store of one shard;
//! * [`import`], [`export`], [`add`]: moving records from a store on disk into etcd and back, and adding further
//!   records to etcd;
//! * [`operator`]: operator commands.
//!
//! # From etcd to the shards
//!
//! A change observed by the watch passes through four enums on its way to the shards:
//!
//! ```text
//!  watch ──► Event::Watched ──► Input::Changed ──► rules ──► Output::Order ──► SlotOrder ──► each shard
//!  (task)      (driver)             (core)        (core)        (core)       (from the rules to the shard)
//! ```
//! [`HostService::order`] receives the [`SlotOrder`] from the core's output. The shards receive the same order,
//! together with the records and messages that the service holds. In the other direction, the service uses [`Commands`]
//! to report which slots a shard serves or has packed, and to send parcels.
//!
//! [`SlotOrder`]: broker_core::cluster::message::SlotOrder
//!
//! # What a lost answer means
//!
//! If etcd does not answer a call, it may already have carried the call out. If the request is stuck in a frozen etcd
//! member, it may even be carried out much later. The core therefore reads back its changes to slots and registrations.
//! For changes to records, see `writer`.

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
pub use system::now as boottime;
pub use tcp::shared::PeerCounts;
pub use tcp::{PeerListener, TcpPeers};
