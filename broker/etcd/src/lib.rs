//! Clusters of several nodes on etcd: carries out the decisions of [`broker_core::cluster`] against a real etcd, where
//! the records of channels are also stored.
//!
//! ```text
//!            Service (shards)                    Peers (other nodes)
//!   orders ▲   │ parcels, changes              ▲ questions, answers, parcels
//!          │   ▼                               ▼
//!        ┌───────────────── driver ───────────────┐   one thread, one runtime; its clock goes on while the machine
//!        │ Cluster (decides)   Writer (batches)   │   sleeps
//!        └──┬──────────────────────┬──────────────┘
//!           │ connection 1         │ connection 2     each to one member, and to the next when it fails
//!           ▼                      ▼
//!   lease, watch, slots      records: loads, changes
//! ```
//! The modules, in suggested reading order:
//!
//! * [`Config`], [`Options`], `limits`: what a node is given, and bounds;
//! * `schema`, `translate`, `names`: the keys and values in etcd, and from there to the types of the core and back;
//! * `wire`, `parcels`, [`Peers`], [`TcpPeers`]: messages between nodes;
//! * `rpc`: connections to etcd, what is asked over them, and what a failure means;
//! * `writer`: changes of records in batches, each made once whatever is lost;
//! * `directory`: what a node remembers from one start to the next;
//! * [`Driver`], [`Handle`], [`Service`]: the node; [`EtcdStore`]: the registry's end of it for one shard;
//! * [`import`], [`export`], [`add`]: from a store on a disk into etcd, and back; records beside those there;
//! * [`operator`]: what the commands of operators ask of etcd.
//!
//! # From etcd to the shards
//!
//! A change observed by the watch passes through four enums on its way to the shards:
//!
//! ```text
//!  watch ──► Event::Watched ──► Input::Changed ──► rules ──► Output::Order ──► SlotOrder ──► each shard
//!  (task)      (driver)             (core)        (core)        (core)       (from the rules to the shard)
//! ```
//! [`Service::order`] receives the [`SlotOrder`] from the core's output, and the shards receive the same order, with
//! the records and messages held by the service. The opposite direction uses calls: the service is notified of what a
//! shard serves or has packed, and sends parcels through [`Commands`].
//!
//! [`SlotOrder`]: broker_core::cluster::message::SlotOrder
//!
//! # What a lost answer means
//!
//! A call that was not answered may have been carried out, or may be carried out later, since a request can wait in a
//! frozen member. The core reads back its changes to slots and registrations; how records are handled is described in
//! `writer`.

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
