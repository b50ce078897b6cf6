//! The context of a step: its time, the telemetry, and the work that the step defers.

use crate::id::ChannelKey;
use crate::shard::flight_recorder::Recorder;
use crate::shard::telemetry::Telemetry;
use crate::shard::todo::TodoList;
use crate::time::Moment;

/// The context of the current input, passed to nearly every step.
pub(crate) struct Context {
    /// Time at which the input is processed.
    pub(crate) at: Moment,
    /// Counters, log entries and notes.
    pub(crate) telemetry: Telemetry,
    /// Work that steps defer to the shard.
    pub(crate) todo: TodoList,
}

impl Context {
    /// Returns the flight recorder, for writing a note about a channel.
    #[inline]
    pub(crate) fn note(&mut self, channel: ChannelKey) -> &mut Recorder {
        self.telemetry.note().at(self.at, channel)
    }
}
