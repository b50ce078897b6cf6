//! A signaling service for WebRTC that implements the wire protocol of Amazon Kinesis Video Streams.
//!
//! `ARCHITECTURE.md` is an overview; `decisions/` records decisions and their reasons. The crate [`broker_core`]
//! contains sessions, channels and shards, without I/O; this crate drives them. In reading order:
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | file and flags to one immutable [`Settings`](broker_core::settings::Settings) |
//! | `failure` `limits` | how a process ends before its time; bounds of all but the edge |
//! | `files` `etcd_options` | whole files, read within a bound; how etcd is reached |
//! | `data_dir` | the directory that the process has for itself |
//! | `session_key` `presence_epoch` | two files in it: the keys of temporary credentials, and the epoch of presence |
//! | [`registry`] | channel records on a disk |
//! | [`edge`] | descriptors, TLS, the drive loop |
//! | [`memory`] | what the process may hold at most |
//! | [`tls_files`] [`dev_certificate`] | what TLS listeners present; the development certificate |
//! | [`devices`] | certificates of devices, and the authorities that vouch for them |
//! | [`hooks`] | events of channels for receivers, and calls for masters that sleep |
//! | [`providers`] | keys of OpenID providers, fetched from them |
//! | [`server`] [`side`] | start, reload and end of the process; its admin listener and log |
//! | [`channels`] `channel_documents` | channels from and to documents of the AWS CLI |
//! | `backup_stream` | a backup as bytes, as `POST /backup` sends it |
//! | [`commands`] `admin_client` | the other subcommands; their requests to a running broker |
//! | `terminal` `qr` | texts as a terminal may show them; a QR code as text or drawing |
//! | [`version`] | which build this is |
//! | [`etcd`] | several nodes |

mod admin_client;
mod backup_stream;
mod channel_documents;
pub mod channels;
pub mod commands;
pub mod config;
mod data_dir;
pub mod dev_certificate;
pub mod devices;
pub mod edge;
mod etcd_options;
mod failure;
mod files;
#[cfg(test)]
mod fuzz;
pub mod hooks;
mod limits;
pub mod memory;
mod outbound;
mod presence_epoch;
pub mod providers;
mod qr;
pub mod registry;
pub mod server;
mod session_key;
pub mod side;
mod terminal;
pub mod tls_files;
pub mod version;

pub use broker_etcd as etcd;
pub use failure::Failure;
pub use terminal::{Screen, print, say};
