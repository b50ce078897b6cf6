//! The process: its start, its end, and its resources between them.
//!
//! * [`start`], [`drain`]: exit codes, refusals to start, the end; [`supervisor`]: notifications to a service manager.
//!   [`restart`]: listening sockets that outlive a process.
//! * [`idle`]: memory and processor of shards without work; [`memlock`]: the limits of an ordinary user.

mod drain;
mod idle;
mod memlock;
mod restart;
mod start;
mod supervisor;
