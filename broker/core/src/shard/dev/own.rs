//! The steps that the test double leaves to itself.

use crate::id::{ChannelKey, SessionKey};
use crate::shard::dev::capture::Captured;
use crate::shard::dev::faults::SessionAct;
use crate::shard::dev::faults::held::HeldMessage;
use crate::shard::todo::Deferred;

/// One thing that a step of the double leaves.
#[derive(Debug)]
pub(crate) enum Own {
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
