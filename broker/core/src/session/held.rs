//! The caller of an open connection, or why it may not be open any more.

use crate::auth::HeldCaller;

/// The caller of an open connection, or why it may not be open any more. In 16 bytes.
#[derive(Debug)]
pub(crate) enum Held {
    /// Neither: nobody is asked again.
    Nothing,
    /// Its caller.
    Caller(HeldCaller),
    /// The policy and statement that refuse it, or what is gone.
    Refused(Box<Refused>),
}

/// The policy and statement that refuse a connection, or what is gone.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Box<str>);

impl Held {
    /// The caller.
    #[must_use]
    pub(crate) const fn caller(&self) -> Option<&HeldCaller> {
        match self {
            Self::Caller(caller) => Some(caller),
            Self::Nothing | Self::Refused(_) => None,
        }
    }

    /// Why it may not be open any more.
    pub(crate) fn take_refused(&mut self) -> Option<Box<str>> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Refused(refused) => Some(refused.0),
            Self::Nothing | Self::Caller(_) => None,
        }
    }
}

const _: () = assert!(size_of::<Held>() == 16);
