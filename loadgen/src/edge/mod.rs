//! The only part that touches the world: rings, sockets, TLS, threads, clock, processes, signals.
//!
//! [`run`] starts one [`worker`] per thread and leads them through the phases of the [`board`]; a worker drives its
//! peers on its own ring. In the open-loop modes (sessions, storm) it is a worker of the [`fleet`]. Nothing is shared but the board's numbers.

mod api;
mod board;
mod conductor;
mod connection;
mod fleet;
mod interval;
mod machine;
mod process;
mod processes;
mod server;
mod signal;
mod slot;
mod tls;
mod watch;
mod worker;

pub use board::Phase;
pub use conductor::{Finished, RunError, run};
pub use interval::Interval;
pub use machine::{Limits, Machine, limits, machine, run_id};
pub use process::Process;
pub use processes::run_parts;
pub use server::Server;
