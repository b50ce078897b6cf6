//! Several nodes on etcd: carries out against a real etcd what [`broker_core::cluster`] decides, and keeps the records
//! of channels there.
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
//! A change that the watch shows passes four enums on its way to the shards:
//!
//! ```text
//!  watch ──► Event::Watched ──► Input::Changed ──► rules ──► Output::Order ──► SlotOrder ──► each shard
//!  (task)      (driver)             (core)        (core)        (core)       (from the rules to the shard)
//! ```
//! [`Service::order`] is given the [`SlotOrder`] that is in the rules' output, and the shards take the same, with the
//! records and messages that the service keeps. From the shards back it is calls: what a shard serves or has packed
//! ends at the service, which sends a parcel by [`Commands`].
//!
//! [`SlotOrder`]: broker_core::cluster::message::SlotOrder
//!
//! # What a lost answer means
//!
//! A call whose answer does not come may have been carried out, or may be later: a request can wait in a frozen member.
//! The core reads back what it changed of slots and registrations; `writer` says what becomes of records.

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
