//! The context of a step: the current time, the telemetry, and the list of deferred work.

use crate::id::ChannelKey;
use crate::shard::flight_recorder::Recorder;
use crate::shard::telemetry::Telemetry;
use crate::shard::todo::TodoList;
use crate::time::Moment;

/// The context in which the current input is processed. Passed to nearly every step.
pub(crate) struct Context {
    /// The time at which the current input is processed.
    pub(crate) at: Moment,
    /// Counters, log entries and notes.
    pub(crate) telemetry: Telemetry,
    /// Work that steps have deferred to the shard.
    pub(crate) todo: TodoList,
}

impl Context {
    /// Returns the flight recorder for writing a note about a channel.
    #[inline]
    pub(crate) fn note(&mut self, channel: ChannelKey) -> &mut Recorder {
        self.telemetry.recorder.at(self.at, channel)
    }
}
