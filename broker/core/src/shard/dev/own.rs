//! The steps that the test double leaves to itself.

use super::capture::Captured;
use super::faults::{HeldMessage, SessionAct};
use crate::id::{ChannelKey, SessionKey};
use crate::shard::todo::Deferred;

/// One thing that a step of the double leaves.
#[derive(Debug)]
pub(in crate::shard) enum Own {
    /// A connection was admitted.
    Joined(SessionKey),
    /// A message goes once more to this connection.
    SendAgain(Deferred, SessionKey),
    /// A message that a fault held back goes on.
    Release(HeldMessage),
    /// A message had this done to a connection.
    Act(SessionKey, SessionAct),
    /// The copy of a message of this channel, whose name it lacks.
    Copy(ChannelKey, Captured),
}
