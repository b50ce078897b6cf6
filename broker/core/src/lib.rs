//! The broker without its edge: sessions, channels and shards as state machines, and their shared types.
//!
//! Bytes, time and random seeds are passed as arguments, and outputs are returned as values: this crate uses no files,
//! sockets, clocks, threads, locks or system randomness. The dependencies include no async runtime, TLS library or
//! database, and `clippy.toml` bans their counterparts in `std` (broker/decisions/0002-pure-core.md).
//! `broker/ARCHITECTURE.md` is an overview of the whole broker. In reading order:
//!
//! | module | what it is |
//! |---|---|
//! | [`id`] [`time`] [`limits`] [`check`] [`event`] [`journal`] [`record`] | plain data that everything else uses |
//! | [`settings`] | what the operator configured, with its defaults |
//! | [`presence`] | who is there on channels that are watched |
//! | `quota` [`timer_wheel`] [`work_units`] | token buckets; deadlines without a scan; the work of a turn |
//! | [`auth`] | who a caller is and what they may do |
//! | [`readiness`] | whether the process is ready for clients |
//! | [`refusal`] | why a request is refused, and the error that its client reads |
//! | [`refusal_id`] | request ids of refusals, which say why |
//! | [`wire`] | the form of what nodes and programs write for each other |
//! | [`machine`] | the seam between a shard's state and the edge that drives it |
//! | [`clock_jump`] | a jump of its clock, for tests |
//! | [`registry`] [`catalog`] | records as bytes; the records of all shards, and what accounts hold |
//! | `session` `channel` [`placement`] [`control`] | the state machines of connections and channels |
//! | [`address_shares`] | connections by address, and who makes room |
//! | [`cluster`] | which node owns which channels |
//! | [`shard`] | one core's sessions and channels: the road of a message |
//! | `testing` | what tests and benches begin with; behind a feature |

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
