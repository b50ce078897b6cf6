//! The engine of all modes: threads, connections, and who is on them.
//!
//! ```text
//!            ┌──────────────────────── one turn of a worker ────────────────────────┐
//!  schedule ─► launch what is due ─► retries, holds, deadlines ─► flush ─► ring ─► news
//!   launch.rs                          timers.rs                 lines.rs    advance.rs
//! ```
//! One worker a thread has a share of the channels with all their parties, so that both ends of every message are judged on one
//! thread, by the pure [`crate::visit::Crew`]. In the open loop these are masters, and sessions that begin on schedule whatever
//! the target does; in the closed loop, peers that are connected for the whole run. What the workers show the [`conduct`]or is
//! on the board.
//! With discovery, a party's first connections are for its API calls; where they lead is in each worker's [`directory`], found
//! by the one thread of [`lookup`].

mod advance;
mod conduct;
mod directory;
mod launch;
mod line;
mod lines;
mod lookup;
mod run;
mod timers;
mod worker;

pub use run::{RunError, run};
