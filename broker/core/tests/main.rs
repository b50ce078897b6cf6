//! Whole shards and clusters without input or output, in one program, which builds and links once.
//!
//! * [`shard_transcripts`]: the protocol's rules as transcripts.
//! * [`sim`]: seeded worlds of shards; [`cluster`]: seeded worlds of nodes around a model of etcd; [`link`]: of two
//!   nodes with many clients on one connection.

mod cluster;
mod link;
mod shard_transcripts;
mod sim;
