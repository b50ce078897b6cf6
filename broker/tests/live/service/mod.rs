//! The service as clients rely on it: what only a process with sockets shows.
//!
//! * [`session`]: from offer to answer; [`recorded`]: requests of real clients, byte for byte.
//! * [`configured`]: effects of a configuration file, and [`reconfigured`] of one that changes.
//! * [`stopped`]: what a stopped process held.
//! * [`cameras`]: clients that behave as the C SDK does come back; [`readers`]: clients with small buffers.

mod cameras;
mod configured;
pub(crate) mod readers;
mod reconfigured;
mod recorded;
mod session;
mod stopped;
