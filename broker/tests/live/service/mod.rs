//! The service as clients rely on it: messages and calls, most of them on one, two and four shards.
//!
//! * [`session`]: from offer to answer; [`takeover`]: the newest connection; [`pending`]: messages for the absent.
//! * [`alexa`]: a call that waits for its answer; [`api`]: the HTTP operations; [`recorded`]: requests of real clients,
//!   byte for byte.
//! * [`configured`]: effects of a configuration file, and [`reconfigured`] of one that changes; [`deletion`]: channels
//!   that end.
//! * [`stopped`]: what a stopped process held.
//! * [`cameras`]: clients that behave as the C SDK does come back; [`readers`]: clients with small buffers.

mod alexa;
mod api;
mod cameras;
mod configured;
mod deletion;
mod pending;
pub(crate) mod readers;
mod reconfigured;
mod recorded;
mod session;
mod stopped;
mod takeover;
