//! The topics of streams, and a stream's position in each of its own.

use crate::side::feed::Position;
use broker_core::id::Identity;

/// A topic that a stream may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Figures of the service.
    Overview,
    /// Lines of the log.
    Log,
    /// Requests that were refused.
    Refusals,
    /// Viewers whose session did not go well.
    Troubled,
    /// One channel.
    Channel(Identity),
    /// The presence of all channels of this node.
    Presence,
    /// That of one channel.
    PresenceOf(Identity),
    /// Of the process as a whole; every stream has it.
    Notices,
}

/// A topic of a stream.
pub(crate) struct Watch {
    pub(crate) topic: Topic,
    pub(crate) position: Position,
    /// Whether its state was sent.
    pub(crate) begun: bool,
}
