//! Several nodes, one service: which node owns which channels, without I/O, clock or randomness.
//!
//! Channels are divided into [`limits::SLOTS`](crate::cluster::limits::SLOTS) slots. A slot has one owner, which a key of etcd names; the *epoch* is
//! the revision of that key. Slot keys carry no lease: a node that loses its lease does not lose its slots.
//!
//! * **Taking** a slot needs etcd: its owner's registration is absent, *and* the owner does not answer the taker that
//!   it serves the slot ([`plan`](crate::cluster::slots::plan), [`silence`](crate::cluster::node::silence)). The claim's transaction compares the epoch and the
//!   registration.
//! * **Going on** needs no etcd: an owner serves until it learns of a newer epoch, or is alone ([`authority`](crate::cluster::node::authority)).
//! * **Giving** is a transfer: the pending messages first, then the owner's key ([`transfer`](crate::cluster::slots::transfer)).
//!
//! [`Cluster`] is one node's part. It is driven as a shard is: one input, all outputs, the next input. Moments are of
//! the node's own monotonic clock, which goes on while the machine sleeps. Why the rules are as they are:
//! broker/decisions/0023-slots-and-epochs.md, 0024-authority.md, 0025-transfers.md, 0026-another-history.md,
//! 0037-who-counts.md, 0039-one-process-a-name.md and 0040-word-of-etcd.md.
//!
//! | module | what it is |
//! |---|---|
//! | [`types`] [`message`] [`limits`] [`spans`] | the words, what goes in and out, bounds, the parts of a lease |
//! | [`etcd`] | calls of etcd, and what is known of its keys |
//! | [`node`] | what each input changes; registration, the silence of others, until when this node may admit |
//! | [`slots`] | the own slots: claimed, loaded, served, given |
//! | [`maps`] | from a channel to its slot and node; what a file says of that; sets of slots |
//! | [`secret`] [`proof`] | the keys that all nodes derive from one secret; the proof in a registration |

pub mod etcd;
pub mod limits;
pub mod maps;
pub mod message;
pub mod node;
pub mod proof;
pub mod secret;
pub mod slots;
pub mod spans;
pub mod types;

pub use node::{Cluster, Config, Memory};
