//! The errors that faults refuse requests with, in the form in which the cloud service sends them.

use codec::control::{ErrorKind, Family, Operation, error_body};

/// An error type.
#[derive(Debug, PartialEq, Eq)]
pub struct FaultError {
    /// The bare name, as `x-amzn-ErrorType` carries it.
    pub name: &'static str,
    /// The HTTP status, where it does not depend on the operation.
    status: u16,
    /// The place of its text.
    text: Text,
}

/// The member of the body that holds an error's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    /// That of the operation's other errors.
    AsOperation,
    /// `message`, whatever the operation.
    Common,
}

impl FaultError {
    /// The error of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|error| error.name == name)
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ALL.iter().map(|error| error.name)
    }

    /// The status of an answer to an operation, or to a request for a WebSocket.
    pub(crate) fn status(&self, operation: Option<Operation>) -> u16 {
        let family = operation.map_or(Family::WebSocket, Operation::family);
        let denied = ErrorKind::AccessDenied;
        if self.name == denied.error_type() {
            denied.status(family)
        } else {
            self.status
        }
    }

    /// The body of an answer to an operation, or to a request for a WebSocket.
    pub(crate) fn body(&self, operation: Option<Operation>, message: &str) -> Vec<u8> {
        let mut body = Vec::new();
        let form = operation.filter(|_| self.text == Text::AsOperation);
        error_body(&mut body, form, message);
        body
    }
}

const fn as_operation(name: &'static str, status: u16) -> FaultError {
    let text = Text::AsOperation;
    FaultError { name, status, text }
}

const fn common(name: &'static str, status: u16) -> FaultError {
    let text = Text::Common;
    FaultError { name, status, text }
}

/// The errors of the service's models, and those that AWS services have in common ("Common Error Types" of each
/// service's API reference, and what its front end sends beside them). InvalidClientException and
/// SessionExpiredException are modelled with a `message`, unlike the others of their service.
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

    /// The models of the three services differ in the status of one error and in the member of the text.
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
            assert_eq!(
                error.body(operation, "No."),
                body.as_bytes(),
                "{name} {operation:?}"
            );
        }
        assert_eq!(FaultError::named("Nope"), None);
    }
}
