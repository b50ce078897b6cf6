//! Many connections, calls or channels to which the same is done.

use crate::id::{ChannelKey, SessionKey};
use crate::journal::EndReason;
use std::vec::IntoIter;

/// The same done to each of many, one after the other: what one leaves comes before the next.
#[derive(Debug)]
pub(crate) enum Each {
    /// Open WebSockets end for this reason: as many as a turn closes, the others in the turns that follow.
    Close(IntoIter<SessionKey>, EndReason),
    /// Connections end at once, for this reason unless they have one.
    Abort(IntoIter<SessionKey>, Option<EndReason>),
    /// The calls that wait at these channels are answered: the process is about to end.
    FailCalls(IntoIter<ChannelKey>),
    /// The calls and connections of these channels end: their slot may go.
    Still(IntoIter<ChannelKey>),
    /// These channels end: their slot goes.
    Drop(IntoIter<ChannelKey>),
}

impl Each {
    /// Open WebSockets end for this reason.
    pub(crate) fn close(sessions: Vec<SessionKey>, reason: EndReason) -> Self {
        Self::Close(sessions.into_iter(), reason)
    }

    /// Connections end at once, for this reason unless they have one.
    pub(crate) fn abort(sessions: Vec<SessionKey>, reason: Option<EndReason>) -> Self {
        Self::Abort(sessions.into_iter(), reason)
    }

    /// Whether none is left.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Close(sessions, _) | Self::Abort(sessions, _) => sessions.as_slice().is_empty(),
            Self::FailCalls(channels) | Self::Still(channels) | Self::Drop(channels) => {
                channels.as_slice().is_empty()
            }
        }
    }
}
