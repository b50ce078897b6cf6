//! Errors of API calls, and their form on the wire.
//!
//! The type is in the header `x-amzn-ErrorType`; the body has only the text.

use crate::control::operation::Operation;
use std::borrow::Cow;

/// Why a call is refused: an error with the text that the caller reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The error type.
    pub kind: ErrorKind,
    /// One or two sentences, ending in a period.
    pub message: Cow<'static, str>,
}

impl ApiError {
    /// An error of this kind with this text.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// A member breaks its constraints.
    #[must_use]
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// The body cannot be read as the operation's input.
    #[must_use]
    pub fn serialization(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Serialization, message)
    }
}

/// The service models, and WebSocket upgrades: what an error's status and text member depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `kinesisvideo`: make, find, change, delete channels.
    ControlPlane,
    /// `kinesis-video-signaling`: TURN credentials and Alexa offers.
    Signaling,
    /// `kinesis-video-webrtc-storage`: joining storage sessions.
    Storage,
    /// Upgrades: no model, hence AWS's common form.
    WebSocket,
}

impl Family {
    /// The error that says "the signature is good, the policy says no".
    #[must_use]
    pub const fn denied(self) -> ErrorKind {
        match self {
            Self::ControlPlane | Self::Storage | Self::WebSocket => ErrorKind::AccessDenied,
            Self::Signaling => ErrorKind::NotAuthorized,
        }
    }

    /// The name of the member that carries an error's text.
    #[must_use]
    pub const fn message_member(self) -> &'static str {
        match self {
            Self::ControlPlane | Self::Signaling => "Message",
            Self::Storage | Self::WebSocket => "message",
        }
    }
}

/// The error types that this service sends, except those of signature checks.
///
/// Source: the models' errors; `SerializationException`, `UnknownOperationException`, `InternalFailure` and
/// `ServiceUnavailable` are common to AWS services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The body is not one JSON object, or a known member has a wrong JSON type.
    Serialization,
    /// A member is missing or breaks its constraints.
    InvalidArgument,
    /// There is no such channel, or it has another creation time.
    ResourceNotFound,
    /// The name is taken, or the channel is not ACTIVE.
    ResourceInUse,
    /// `CurrentVersion` is not the current one.
    VersionMismatch,
    /// The account has as many channels as it may have.
    AccountChannelLimitExceeded,
    /// More than 50 tags.
    TagsPerResourceExceededLimit,
    /// A rate or a table is at its limit.
    ClientLimitExceeded,
    /// The policy says no (control plane, storage and upgrades).
    AccessDenied,
    /// The policy says no (signaling operations).
    NotAuthorized,
    /// No operation lives at this path.
    UnknownOperation,
    /// A fault of ours.
    InternalFailure,
    /// Full or draining: try again elsewhere or later.
    ServiceUnavailable,
}

impl ErrorKind {
    /// The bare type name, as `x-amzn-ErrorType` carries it.
    #[must_use]
    pub const fn error_type(self) -> &'static str {
        match self {
            Self::Serialization => "SerializationException",
            Self::InvalidArgument => "InvalidArgumentException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::VersionMismatch => "VersionMismatchException",
            Self::AccountChannelLimitExceeded => "AccountChannelLimitExceededException",
            Self::TagsPerResourceExceededLimit => "TagsPerResourceExceededLimitException",
            Self::ClientLimitExceeded => "ClientLimitExceededException",
            Self::AccessDenied => "AccessDeniedException",
            Self::NotAuthorized => "NotAuthorizedException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::InternalFailure => "InternalFailure",
            Self::ServiceUnavailable => "ServiceUnavailable",
        }
    }

    /// The HTTP status. The C SDK branches on it: 404 on Describe creates the channel, 401 and 403 fetch credentials
    /// again, so throttling is 400 and never 429.
    #[must_use]
    pub const fn status(self, family: Family) -> u16 {
        match self {
            Self::Serialization
            | Self::InvalidArgument
            | Self::ResourceInUse
            | Self::VersionMismatch
            | Self::AccountChannelLimitExceeded
            | Self::TagsPerResourceExceededLimit
            | Self::ClientLimitExceeded => 400,
            Self::ResourceNotFound | Self::UnknownOperation => 404,
            Self::NotAuthorized => 401,
            Self::AccessDenied => match family {
                Family::ControlPlane | Family::Signaling => 401,
                Family::Storage | Family::WebSocket => 403,
            },
            Self::InternalFailure => 500,
            Self::ServiceUnavailable => 503,
        }
    }
}

/// Appends an error's body: `{"Message":"…"}` for a known operation, but `{"message":"…"}` for those of storage and
/// without one, which is the form of refused upgrades, unknown paths, and signature refusals of every operation.
pub fn error_body(out: &mut Vec<u8>, operation: Option<Operation>, message: &str) {
    let family = operation.map_or(Family::WebSocket, Operation::family);
    crate::control::write::member(out, b'{', family.message_member());
    crate::json::write::string(out, message);
    out.push(b'}');
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn statuses_are_those_of_the_table() {
        let table = [
            (ErrorKind::Serialization, [400, 400, 400, 400]),
            (ErrorKind::InvalidArgument, [400, 400, 400, 400]),
            (ErrorKind::ResourceNotFound, [404, 404, 404, 404]),
            (ErrorKind::ResourceInUse, [400, 400, 400, 400]),
            (ErrorKind::VersionMismatch, [400, 400, 400, 400]),
            (ErrorKind::AccountChannelLimitExceeded, [400, 400, 400, 400]),
            (
                ErrorKind::TagsPerResourceExceededLimit,
                [400, 400, 400, 400],
            ),
            (ErrorKind::ClientLimitExceeded, [400, 400, 400, 400]),
            (ErrorKind::AccessDenied, [401, 401, 403, 403]),
            (ErrorKind::NotAuthorized, [401, 401, 401, 401]),
            (ErrorKind::UnknownOperation, [404, 404, 404, 404]),
            (ErrorKind::InternalFailure, [500, 500, 500, 500]),
            (ErrorKind::ServiceUnavailable, [503, 503, 503, 503]),
        ];
        for (kind, statuses) in table {
            let families = [
                Family::ControlPlane,
                Family::Signaling,
                Family::Storage,
                Family::WebSocket,
            ];
            assert_eq!(
                families.map(|family| kind.status(family)),
                statuses,
                "{kind:?}"
            );
        }
        assert_eq!(
            Operation::CreateSignalingChannel.denied(),
            ErrorKind::AccessDenied
        );
        assert_eq!(
            Operation::GetIceServerConfig.denied(),
            ErrorKind::NotAuthorized
        );
        assert_eq!(
            Operation::JoinStorageSession.denied(),
            ErrorKind::AccessDenied
        );
    }

    #[test]
    fn bodies_spell_the_member_by_operation_and_escape() {
        let body = |operation, message: &str| {
            let mut out = b"before ".to_vec();
            error_body(&mut out, operation, message);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            body(Some(Operation::ListSignalingChannels), "No."),
            r#"before {"Message":"No."}"#
        );
        assert_eq!(
            body(Some(Operation::GetIceServerConfig), "No."),
            r#"before {"Message":"No."}"#
        );
        assert_eq!(
            body(Some(Operation::JoinStorageSession), "No."),
            r#"before {"message":"No."}"#
        );
        assert_eq!(
            body(None, "a\"b\\c\n\u{1}é"),
            "before {\"message\":\"a\\\"b\\\\c\\n\\u0001é\"}"
        );
    }
}
