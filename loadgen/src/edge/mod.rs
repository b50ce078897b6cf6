//! The only part that touches the world: rings, sockets, TLS, threads, clock, processes, signals.
//!
//! ```text
//!            ┌──────────────────────── one turn of a worker ────────────────────────┐
//!  schedule ─► launch what is due ─► retries, holds, deadlines ─► flush ─► ring ─► news
//!   launch.rs                          timers.rs                 lines.rs    advance.rs
//! ```
//! [`run`](run()) starts one worker a thread. Each has a share of the channels with all their parties, so that both
//! ends of every message are judged on one thread, by the pure [`crate::visit::Crew`]. In the open loop these are
//! masters, and sessions that begin on schedule whatever the target does, or peers whose messages are due on schedule
//! ([`pace`](worker::pace)); in the closed loop, peers that are connected for the whole run. The [`conduct`]or leads
//! the workers through the phases of the [`board`]; nothing else is shared but its numbers. With discovery, a party's
//! first connections are for its API calls; where they lead is in each worker's [`directory`](worker::directory), found
//! by the one thread of [`lookup`](worker::lookup). What is no part of the load, channels made and removed and metrics
//! read, goes through the blocking client of [`http`], on the conductor's thread.

mod api;
mod board;
mod conduct;
mod http;
mod run;
mod target;
mod worker;

pub use board::Phase;
pub use run::{RunError, Start, run};
pub use target::machine::{Limits, Machine, limits, machine, run_id};
pub use target::process::Process;
pub use target::processes::{run_parts, word_of_stdin};
pub use target::server::Server;
