//! Checked identifiers that own their text, because a call travels to the channel's home shard.

use crate::aws::{ChannelName, ClientId};

/// A channel name that owns its text: 1 to 256 characters of `[a-zA-Z0-9_.-]`. Ordered bytewise, as lists are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnedName(Box<str>);

impl OwnedName {
    /// The name.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<ChannelName<'_>> for OwnedName {
    fn from(name: ChannelName<'_>) -> Self {
        Self(name.as_str().into())
    }
}

/// A client id that owns its text: 1 to 256 characters of `[a-zA-Z0-9_.-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnedClientId(Box<str>);

impl OwnedClientId {
    /// The id.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<ClientId<'_>> for OwnedClientId {
    fn from(id: ClientId<'_>) -> Self {
        Self(id.as_str().into())
    }
}
