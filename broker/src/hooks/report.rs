//! The figures of hooks, as the courier keeps them and others read them.

use crate::hooks::queue::Outcome;
use crate::hooks::wake::WakeResult;
use broker_core::event::Histogram;
use strum::EnumCount;

/// The figures of all hooks at one moment.
#[derive(Clone, Debug, Default)]
pub struct HooksReport {
    /// Of each, in the order of the configuration.
    pub hooks: Vec<HookReport>,
    /// Ends of calling for a master, by [`WakeResult`].
    pub wakes: [u64; WakeResult::COUNT],
    /// From the first kept message to the master, of those that came.
    pub wake_seconds: Histogram,
}

/// The figures of one hook.
#[derive(Clone, Debug, Default)]
pub struct HookReport {
    /// Its name.
    pub name: String,
    /// Requests and jobs by what became of them: [`Outcome`].
    pub outcomes: [u64; Outcome::COUNT],
    /// Channels of which something waits or is in flight.
    pub waiting: u64,
    /// For how long the oldest of it has waited, in milliseconds.
    pub oldest_ms: u64,
    /// Failures since the last success.
    pub failures: u32,
    /// The receiver answered 410: nothing is sent until a reload.
    pub off: bool,
    /// Why the last request failed, as long as none has succeeded since.
    pub error: Option<String>,
}

impl HookReport {
    pub(crate) fn count(&mut self, outcome: Outcome, times: usize) {
        if let Some(count) = self.outcomes.get_mut(outcome as usize) {
            *count += times as u64;
        }
    }
}
