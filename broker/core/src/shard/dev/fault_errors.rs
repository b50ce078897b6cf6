//! Errors that faults can return, in the format used by the cloud service.

use codec::control::{ErrorKind, Family, Operation};

/// An error that a fault can return.
#[derive(Debug, PartialEq, Eq)]
pub struct FaultError {
    /// The error type without a prefix, as it appears in `x-amzn-ErrorType`.
    pub name: &'static str,
    /// The HTTP status. For AccessDeniedException, the status instead depends on the operation.
    status: u16,
    /// Whether the response body contains the error message in the member `message` for every operation. Otherwise, the
    /// message is in the same field as for the operation's own errors.
    is_common: bool,
}

impl FaultError {
    /// Returns the error with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|error| error.name == name)
    }

    /// Returns the names of all errors.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ALL.iter().map(|error| error.name)
    }

    /// Returns the HTTP status of the response to an operation or to a WebSocket request.
    pub(crate) fn status(&self, operation: Option<Operation>) -> u16 {
        let family = operation.map_or(Family::WebSocket, Operation::family);
        let denied = ErrorKind::AccessDenied;
        if self.name == denied.error_type() {
            denied.status(family)
        } else {
            self.status
        }
    }

    /// Returns the operation whose error format the response body uses, or `None` for the format common to all
    /// operations.
    pub(crate) fn form(&self, operation: Option<Operation>) -> Option<Operation> {
        operation.filter(|_| !self.is_common)
    }
}

const fn as_operation(name: &'static str, status: u16) -> FaultError {
    FaultError {
        name,
        status,
        is_common: false,
    }
}

const fn common(name: &'static str, status: u16) -> FaultError {
    FaultError {
        name,
        status,
        is_common: true,
    }
}

/// The errors defined in the service's models, and those common to all AWS services. The common errors are listed as
/// "Common Error Types" in each service's API reference, or are sent by the service's front end. According to the
/// models, InvalidClientException and SessionExpiredException have a `message` member, unlike other errors of their
/// service.
const ALL: &[FaultError] = &[
    as_operation("AccessDeniedException", 403),
    as_operation("AccountChannelLimitExceededException", 400),
    as_operation("AccountStreamLimitExceededException", 400),
    as_operation("ClientLimitExceededException", 400),
    as_operation("DeviceStreamLimitExceededException", 400),
    common("ExpiredTokenException", 403),
    common("IncompleteSignature", 400),
    as_operation("InternalFailure", 500),
    as_operation("InvalidArgumentException", 400),
    common("InvalidClientException", 400),
    as_operation("InvalidDeviceException", 400),
    as_operation("InvalidResourceFormatException", 400),
    common("InvalidSignatureException", 403),
    common("MalformedHttpRequestException", 400),
    common("MissingAuthenticationTokenException", 403),
    as_operation("NoDataRetentionException", 400),
    common("NotAuthorized", 401),
    as_operation("NotAuthorizedException", 401),
    common("OptInRequired", 403),
    common("RequestAbortedException", 400),
    common("RequestEntityTooLargeException", 413),
    common("RequestExpired", 400),
    common("RequestTimeoutException", 408),
    as_operation("ResourceInUseException", 400),
    as_operation("ResourceNotFoundException", 404),
    as_operation("SerializationException", 400),
    common("ServiceUnavailable", 503),
    common("SessionExpiredException", 400),
    as_operation("StreamEdgeConfigurationNotFoundException", 404),
    as_operation("TagsPerResourceExceededLimitException", 400),
    common("ThrottlingException", 400),
    common("UnknownOperationException", 404),
    common("UnrecognizedClientException", 403),
    common("ValidationError", 400),
    as_operation("VersionMismatchException", 400),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The models of the three services use different statuses for one error, and different members for the message.
    #[test]
    fn status_and_body_are_those_of_the_operations_model() {
        let (denied, expired) = ("AccessDeniedException", "SessionExpiredException");
        for (operation, name, status, body) in [
            (
                Some(Operation::DescribeSignalingChannel),
                denied,
                401,
                r#"{"Message":"No."}"#,
            ),
            (
                Some(Operation::JoinStorageSession),
                denied,
                403,
                r#"{"message":"No."}"#,
            ),
            (None, denied, 403, r#"{"message":"No."}"#),
            (
                Some(Operation::GetIceServerConfig),
                expired,
                400,
                r#"{"message":"No."}"#,
            ),
            (
                Some(Operation::GetIceServerConfig),
                "NotAuthorizedException",
                401,
                r#"{"Message":"No."}"#,
            ),
            (
                Some(Operation::GetIceServerConfig),
                "ServiceUnavailable",
                503,
                r#"{"message":"No."}"#,
            ),
        ] {
            let error = FaultError::named(name).unwrap();
            assert_eq!(error.status(operation), status, "{name} {operation:?}");
            let mut text = Vec::new();
            codec::control::error_body(&mut text, error.form(operation), "No.");
            assert_eq!(text, body.as_bytes(), "{name} {operation:?}");
        }
        assert_eq!(FaultError::named("Nope"), None);
    }
}
