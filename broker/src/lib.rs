//! A signaling service for WebRTC that speaks the wire protocol of Amazon Kinesis Video Streams.
//!
//! `ARCHITECTURE.md` is the map, `decisions/` has what was decided and why. Sessions, channels and shards are in the
//! crate [`broker_core`], without I/O; this one drives them. In reading order:
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | file and flags to one immutable [`Settings`](broker_core::settings::Settings) |
//! | `failure` `limits` | how a process ends before its time; bounds of the admin listener and of the log |
//! | `files` | whole files, read within a bound; how etcd is reached |
//! | `lan` `qr` | the machine's addresses in local networks; a QR code as text or drawing |
//! | `data_dir` | the directory that the process has for itself, and the key of temporary credentials in it |
//! | [`registry`] | channel records on a disk |
//! | [`edge`] | descriptors, TLS, the drive loop |
//! | [`memory`] | what the process may hold at most |
//! | [`tls_files`] [`certificate`] | what TLS listeners present; the development certificate |
//! | [`devices`] | certificates of devices, and the authorities that vouch for them |
//! | [`hooks`] | events of channels for receivers, and calls for masters that sleep |
//! | [`providers`] | keys of OpenID providers, fetched from them |
//! | [`server`] [`side`] | start, reload and end of the process; its admin listener and log |
//! | [`backup`] [`hook_test`] [`why`] | subcommands that ask a running broker |
//! | [`channels`] | channels from and to documents of the AWS CLI |
//! | [`things`] | devices that sign in with certificates: their registry, and test devices |
//! | [`env`] | the environment of clients of a running broker |
//! | [`trace`] | what happened on a channel of a running broker |
//! | [`seccomp`] | the seccomp profile for containers |
//! | [`policy_test`] | what the policies of a credentials file say |
//! | [`version`] | which build this is |
//! | [`cluster_admin`] | subcommands that ask etcd |
//! | [`doctor`] `finding` | what keeps a broker from running on this machine, and what may |
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
pub mod hooks;
mod limits;
pub mod memory;
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
pub use terminal::print;
