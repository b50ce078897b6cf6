//! A signaling service for WebRTC that speaks the wire protocol of Amazon Kinesis Video Streams.
//!
//! `ARCHITECTURE.md` is the map of this crate. In reading order:
//!
//! | module | what it is |
//! |---|---|
//! | [`id`] [`time`] [`limits`] [`event`] [`journal`] [`record`] | words: plain data that all else speaks of |
//! | [`config`] | file and flags to one immutable `Settings` |
//! | [`quota`] | token buckets |
//! | [`auth`] | who a caller is and what they may do |
//! | [`machine`] | the seam between a shard's state and the edge that drives it |
//! | [`session`] [`channel`] [`registry`] [`placement`] [`control`] | the state machines, without I/O, clock or randomness |
//! | [`shard`] | one core's sessions and channels: the road of a message |
//! | [`crowd`] | connections by address, and who makes room |
//! | [`edge`] | descriptors, TLS, the drive loop |

pub mod auth;
pub mod backup;
pub mod certificate;
pub mod channel;
pub mod config;
pub mod control;
pub mod crowd;
pub mod edge;
pub mod event;
pub mod id;
pub mod journal;
pub mod limits;
pub mod machine;
pub mod memory;
pub mod placement;
pub mod quota;
pub mod record;
pub mod registry;
pub mod server;
pub mod session;
pub mod shard;
pub mod side;
pub mod time;
pub mod tls_files;
