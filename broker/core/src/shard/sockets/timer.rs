//! The entries of the wheel.

use crate::id::{ChannelKey, SessionKey};

/// An entry of the wheel: the key of a session or of a channel, in one word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer(u64);

/// The owner of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Session(SessionKey),
    Channel(ChannelKey),
}

impl Timer {
    pub(crate) fn session(key: SessionKey) -> Self {
        Self(key.pack())
    }

    pub(crate) fn channel(key: ChannelKey) -> Self {
        Self(key.pack() | OF_CHANNEL)
    }

    pub(crate) fn owner(self) -> Owner {
        if self.0 & OF_CHANNEL == 0 {
            Owner::Session(SessionKey::unpack(self.0))
        } else {
            Owner::Channel(ChannelKey::unpack(self.0))
        }
    }
}

/// The bit above a packed key.
const OF_CHANNEL: u64 = 1 << 48;
