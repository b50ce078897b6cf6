//! The progress of a run while it runs: one line that moves on a terminal, a plain line every few seconds elsewhere, or
//! nothing.
//!
//! The engine hands a [`Progress`] to a [`View`] four times a second. [`words`] makes the text of a line and touches
//! nothing; [`part`] carries it from one process to another; [`view`] brings it to where it is read. Nothing here costs
//! the load anything: it is drawn by the thread that leads the run.

pub mod part;
pub mod view;
pub mod words;

pub use part::{Part, PartNews};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
pub use view::{Mode, View};

/// A follower of a run.
pub trait Audience {
    /// Shows a line, once.
    fn say(&mut self, line: &str);
    /// Notes that all is ready and that the load waits for the word to begin.
    fn ready(&mut self) {}
    /// Shows the progress of the run; called at most four times a second.
    fn show(&mut self, progress: &Progress);
}

/// A run at one moment. What is not known, or means nothing in this mode, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The phase in a word or two: `opening`, `measuring`, `closing`.
    pub phase: Cow<'static, str>,
    /// Seconds since this phase began.
    pub elapsed_s: f64,
    /// Seconds that it takes, if that is known.
    pub total_s: Option<f64>,
    /// The number that is done, and of how many: sessions, or connections while they are opened. Takes precedence over
    /// the time if it is known.
    pub done: Option<(u64, u64)>,
    /// Sessions completed each second, lately.
    pub sessions_per_s: Option<f64>,
    /// Messages that arrived each second, lately.
    pub messages_per_s: Option<f64>,
    /// Connections open.
    pub open: u64,
    /// Median of the last interval, in microseconds.
    pub p50_us: Option<u64>,
    /// Its 99th percentile.
    pub p99_us: Option<u64>,
    /// Failures until here, by class, the most frequent first; [`words::KINDS_MAX`](crate::live::words::KINDS_MAX) of them are shown.
    pub errors: Vec<(String, u64)>,
    /// Failures until here, all of them; names as in the report are known only at the end.
    pub failed: u64,
}
