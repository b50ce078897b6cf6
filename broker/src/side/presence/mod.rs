//! The presence of channels: states of them, read a page at a time, or followed as shards tell them.
//!
//! `list` is `GET /presence`, `entry` the form of a state, `readers` the way of states from the shards to the event
//! streams.

pub(crate) mod entry;
pub(crate) mod list;
pub(crate) mod readers;
