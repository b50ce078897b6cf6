//! When sessions begin: an open loop, in which the moment of each is fixed before anything runs.
//!
//! [`Schedule::moment_ns`] is a function of the session's number, the seed and the shape, and of nothing else: no
//! answer of the target, late or missing, moves a later session. So a stall of the target shows in full in the
//! latencies, which count from the moment that was due (against coordinated omission), and any [`Share`] of a run
//! computes its part of the same plan without talking to the others.

mod arrival;
mod share;
mod start;

pub use arrival::{Arrival, Schedule, ScheduleError};
pub use share::Share;
pub use start::Moment;
