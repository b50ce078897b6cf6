//! A signaling service for WebRTC that implements the wire protocol of Amazon Kinesis Video Streams.
//!
//! See `ARCHITECTURE.md` for an overview, and `decisions/` for decisions and their reasons. Sessions, channels and
//! shards are implemented without I/O in the crate [`broker_core`], which this crate drives. The modules in reading
//! order:
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | combines file and flags into one immutable [`Settings`](broker_core::settings::Settings) |
//! | `failure` `limits` | early exits of the process; limits of everything except the edge |
//! | `files` `etcd_options` | bounded reads of whole files; options for connecting to etcd |
//! | `data_dir` | the private, locked data directory |
//! | `session_key` `presence_epoch` | two files in it: the key for temporary credentials, and the presence epoch |
//! | [`registry`] | channel records on disk |
//! | [`edge`] | descriptors, TLS, the event loop |
//! | [`memory`] | maximum memory of the process |
//! | [`tls_files`] [`dev_certificate`] | TLS listener certificates; the development certificate |
//! | [`devices`] | device certificates, and the CAs that vouch for them |
//! | [`hooks`] | channel events for receivers, and wake calls for sleeping masters |
//! | [`providers`] | keys fetched from OpenID providers |
//! | [`server`] [`side`] | startup, reload and shutdown of the process; its admin listener and log |
//! | [`channels`] `channel_documents` | import and export of channels in the AWS CLI's JSON format |
//! | `backup_stream` | the byte stream of `POST /backup` |
//! | [`commands`] `admin_client` | the other subcommands; their requests to a running broker |
//! | `terminal` `qr` | text that is safe to print on a terminal; QR codes as text or drawings |
//! | [`version`] | version and build |
//! | [`etcd`] | clusters of several nodes |

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
