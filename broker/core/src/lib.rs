//! The broker without its edge: sessions, channels and shards as state machines, and the types that they share.
//!
//! Bytes, time and random seeds are passed in as arguments, and outputs are returned. This crate uses no files,
//! sockets, clocks, threads, locks or system randomness. None of its dependencies is an async runtime, a TLS library or
//! a database, and `clippy.toml` bans their counterparts in `std` (broker/decisions/0002-pure-core.md). For an overview
//! of the whole broker, see `broker/ARCHITECTURE.md`. The modules in reading order:
//!
//! | module | contents |
//! |---|---|
//! | [`id`] [`time`] [`limits`] [`check`] [`event`] [`journal`] [`record`] | plain data that all other modules use |
//! | [`settings`] | configuration, with its defaults |
//! | [`presence`] | members of watched channels |
//! | `quota` [`timer_wheel`] [`work_units`] | token buckets; deadlines without a scan; work per event loop iteration |
//! | [`auth`] | identity and permissions of callers |
//! | [`readiness`] | whether the process is ready for clients |
//! | [`refusal`] | why a request is refused, and the error that the client receives |
//! | [`refusal_id`] | request ids of refusals, which encode the reason |
//! | [`wire`] | encoding of what nodes and programs write for each other |
//! | [`machine`] | interface between a shard's state and the edge that drives it |
//! | [`clock_jump`] | simulated jumps of the clock, for tests |
//! | [`registry`] [`catalog`] | records as bytes; the records of all shards, and the usage of accounts |
//! | `session` `channel` [`placement`] [`control`] | state machines of connections and channels |
//! | [`address_shares`] | connections by address, and their eviction |
//! | [`cluster`] | which node owns which channels |
//! | [`shard`] | one core's sessions and channels: the path of a message |
//! | `testing` | setup for tests and benchmarks; behind a feature |

#![forbid(unsafe_code)]

pub mod address_shares;
pub mod auth;
pub mod catalog;
mod channel;
pub mod check;
pub mod clock_jump;
pub mod cluster;
pub mod control;
pub mod event;
pub mod id;
pub mod journal;
pub mod limits;
pub mod machine;
pub mod placement;
pub mod presence;
mod quota;
pub mod readiness;
pub mod record;
pub mod refusal;
pub mod refusal_id;
pub mod registry;
mod session;
pub mod settings;
pub mod shard;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod timer_wheel;
pub mod wire;
pub mod work_units;
