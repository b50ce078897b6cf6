//! The only part that touches the world: rings, sockets, TLS, threads, clock, processes, signals.
//!
//! [`run`] starts one [`worker`] per thread and leads them through the phases of the [`board`]; a worker drives its
//! peers on its own ring. Nothing is shared but the board's numbers.

mod board;
mod conductor;
mod connection;
mod machine;
mod process;
mod signal;
mod slot;
mod tls;
mod worker;

pub use board::Phase;
pub use conductor::{Finished, Interval, RunError, run};
pub use machine::{Machine, machine, run_id};
