//! The only part that touches the world: rings, sockets, TLS, threads, clock, processes, signals.
//!
//! [`run`] starts one worker of the [`fleet`] per thread and leads them through the phases of the [`board`]; a worker drives
//! its connections on its own ring. Nothing is shared but the board's numbers.

mod api;
mod board;
mod fleet;
mod machine;
mod process;
mod processes;
mod server;
mod signal;
mod tls;
mod watch;

pub use board::Phase;
pub use fleet::{RunError, run};
pub use machine::{Limits, Machine, limits, machine, run_id};
pub use process::Process;
pub use processes::run_parts;
pub use server::Server;
