//! The fault of a request that cannot be understood.

use crate::check::Check;
use codec::http::{HeadError, UpgradeError};

/// The fault of a head, or of a body that was not read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadFault {
    pub(crate) check: Check,
    pub(crate) status: u16,
    pub(crate) message: &'static str,
}

impl HeadFault {
    pub(crate) const fn new(check: Check, status: u16, message: &'static str) -> Self {
        Self {
            check,
            status,
            message,
        }
    }
}

impl From<HeadError> for HeadFault {
    fn from(error: HeadError) -> Self {
        let check = match error {
            HeadError::TooLarge | HeadError::TooManyHeaders => Check::HeadTooLarge,
            HeadError::Malformed(_) => Check::HttpMalformed,
            HeadError::UnsupportedVersion => Check::HttpVersion,
            HeadError::LengthRequired => Check::BodyLengthMissing,
        };
        Self::new(check, error.status(), error.message())
    }
}

impl From<UpgradeError> for HeadFault {
    fn from(error: UpgradeError) -> Self {
        let check = match error {
            UpgradeError::BadVersion => Check::WebsocketVersion,
            UpgradeError::NotGet
            | UpgradeError::NotConnection
            | UpgradeError::MissingKey
            | UpgradeError::BadKey
            | UpgradeError::Body => Check::HandshakeMalformed,
        };
        Self::new(check, error.status(), error.message())
    }
}
