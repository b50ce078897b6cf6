//! Clusters of several nodes on etcd: carries out the decisions of [`broker_core::cluster`] against a real etcd, and
//! stores the records of channels there.
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
//! In reading order:
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
//! [`Service::order`] is given the [`SlotOrder`] from the core's output, and the shards receive the same, with the
//! records and messages that the service holds. The opposite direction uses calls: what a shard serves or has packed is
//! passed to the service, which sends a parcel through [`Commands`].
//!
//! [`SlotOrder`]: broker_core::cluster::message::SlotOrder
//!
//! # What a lost answer means
//!
//! A call without an answer may have been carried out, or may be carried out later, since a request can wait in a
//! frozen member. The core reads back its changes to slots and registrations; `writer` describes what happens to
//! records.

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
