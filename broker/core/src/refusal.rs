//! Why requests are refused. Every refused request has a [`Refusal`].
//!
//! A refusal contains the failed check, the error for the client, and details that only operators see. The purpose of
//! the request determines the encoding: JSON for the API, XML for STS, and `{"message":"…"}` for an unknown operation.
//! `codec` knows neither checks nor operators, and has two error types of its own. This module converts one of them,
//! [`sigv4::Refusal`]. The other one, `signal::Fault`, is answered with a message on the WebSocket.

use crate::check::Check;
use crate::event::{AuthFailure, PlayerOutcome, Purpose, UpgradeOutcome};
use codec::control::{ApiError, ErrorKind, Operation, error_body};
use codec::http::{HeadError, UpgradeError};
use codec::sigv4::{self, Malformed, Scope, Window};
use codec::sts;
use std::borrow::Cow;

/// Why a request is refused: the failed check as an explanation for operators, and the error for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule that was violated.
    pub check: Check,
    /// The error for the client.
    pub error: ErrorCode,
    /// The error's message text.
    pub message: Cow<'static, str>,
    /// The policy and statement that denied the request, or some other reason for the denial. Shown only to operators.
    pub policy: Option<Box<str>>,
}

/// The error type and HTTP status of the response to a refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// An API error, whose status depends on the purpose of the request.
    Api(ErrorKind),
    /// An STS error.
    Sts(sts::ErrorKind),
    /// A missing or invalid signature.
    Signature(sigv4::Refusal),
    /// A fixed status and type, regardless of the operation.
    Fixed(u16, &'static str),
    /// A status and error type that a test requested (`--dev`), in the error format of the given operation.
    Injected(u16, &'static str, Option<Operation>),
}

impl Refusal {
    /// Creates a refusal for a reason other than a policy.
    #[must_use]
    pub fn new(
        check: Check,
        error: impl Into<ErrorCode>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            check,
            error: error.into(),
            message: message.into(),
            policy: None,
        }
    }

    /// Creates the refusal of a request that the server cannot serve at the moment.
    #[must_use]
    pub fn unavailable(check: Check, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(check, ErrorKind::ServiceUnavailable, message)
    }

    pub(crate) fn limited(check: Check, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(check, ErrorKind::ClientLimitExceeded, message)
    }

    pub(crate) fn invalid(check: Check, message: &'static str) -> Self {
        Self::new(check, ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn of_head(check: Check, status: u16, message: &'static str) -> Self {
        let error_type = ErrorKind::InvalidArgument.error_type();
        Self::new(check, ErrorCode::Fixed(status, error_type), message)
    }

    /// Creates a finding: an entry listed with the refusals even though its request is served.
    pub(crate) fn noticed(check: Check, reason: Option<Box<str>>) -> Self {
        Self::new(check, ErrorCode::Fixed(200, ""), "").by_policy(reason)
    }

    /// Sets the policy and the statement that denied the request.
    #[must_use]
    pub fn by_policy(self, policy: Option<Box<str>>) -> Self {
        Self { policy, ..self }
    }

    pub(crate) fn status(&self, purpose: Purpose) -> u16 {
        match self.error_for(purpose) {
            ErrorCode::Api(kind) => purpose.status(kind),
            ErrorCode::Sts(kind) => kind.status(),
            ErrorCode::Signature(refusal) => refusal.status(),
            ErrorCode::Fixed(status, _) | ErrorCode::Injected(status, ..) => status,
        }
    }

    pub(crate) fn error_type(&self, purpose: Purpose) -> &'static str {
        match self.error_for(purpose) {
            ErrorCode::Api(kind) => kind.error_type(),
            ErrorCode::Sts(kind) => kind.code(),
            ErrorCode::Signature(refusal) => refusal.error_type(),
            ErrorCode::Fixed(_, error_type) | ErrorCode::Injected(_, error_type, _) => error_type,
        }
    }

    /// Returns the body of the error response, which contains this request id, and the content type.
    pub(crate) fn body(&self, purpose: Purpose, id: &str) -> (Vec<u8>, &'static str) {
        if purpose == Purpose::Whep {
            return (self.problem(), "application/problem+json");
        }
        let mut body = Vec::new();
        let operation = match self.error_for(purpose) {
            ErrorCode::Sts(kind) => {
                sts::error_body(&mut body, kind, &self.message, id);
                return (body, sts::CONTENT_TYPE);
            }
            ErrorCode::Api(_) => purpose.operation(),
            ErrorCode::Signature(_) | ErrorCode::Fixed(..) => None,
            ErrorCode::Injected(_, _, operation) => operation,
        };
        error_body(&mut body, operation, &self.message);
        (body, "application/json")
    }

    fn problem(&self) -> Vec<u8> {
        let (title, status) = (self.error_type(Purpose::Whep), self.status(Purpose::Whep));
        let mut body = format!(r#"{{"title":"{title}","status":{status},"detail":"#).into_bytes();
        codec::json::write::string(&mut body, &self.message);
        body.push(b'}');
        body
    }

    /// Returns the error that suits the purpose of the request. STS has error names of its own for invalid signatures,
    /// and reports every API error as a lack of capacity.
    fn error_for(&self, purpose: Purpose) -> ErrorCode {
        match (purpose, self.error) {
            (Purpose::Sts(_), ErrorCode::Api(_)) => sts::ErrorKind::ServiceUnavailable.into(),
            (Purpose::Sts(_), ErrorCode::Signature(refusal)) => {
                sts::Error::from(refusal).kind.into()
            }
            (_, error) => error,
        }
    }

    /// Returns the authentication or authorization failure that the refusal counts as, if any.
    pub(crate) fn auth_failure(&self) -> Option<AuthFailure> {
        if let ErrorCode::Signature(refusal) = self.error {
            return Some(AuthFailure::Signature(refusal.reason()));
        }
        self.is_denial().then_some(AuthFailure::Policy)
    }

    pub(crate) fn is_denial(&self) -> bool {
        let denied = [
            ErrorKind::AccessDenied.into(),
            ErrorKind::NotAuthorized.into(),
            sts::ErrorKind::AccessDenied.into(),
        ];
        denied.contains(&self.error)
    }

    pub(crate) fn is_unsigned(&self) -> bool {
        self.error == ErrorCode::Signature(sigv4::Refusal::Missing)
    }

    /// Returns the outcome that a refused upgrade counts as.
    pub(crate) fn upgrade_outcome(&self) -> UpgradeOutcome {
        if self.check == Check::Draining {
            return UpgradeOutcome::Draining;
        }
        match self.error {
            ErrorCode::Signature(_) => UpgradeOutcome::Unauthenticated,
            ErrorCode::Fixed(..) | ErrorCode::Sts(_) => UpgradeOutcome::Invalid,
            ErrorCode::Injected(status, error_type, _) => match status {
                401 => UpgradeOutcome::Unauthenticated,
                403 => UpgradeOutcome::Forbidden,
                404 => UpgradeOutcome::NotFound,
                500.. => UpgradeOutcome::Unavailable,
                _ if error_type.contains("Limit") => UpgradeOutcome::Limited,
                _ => UpgradeOutcome::Invalid,
            },
            ErrorCode::Api(kind) => match kind {
                ErrorKind::ResourceNotFound => UpgradeOutcome::NotFound,
                ErrorKind::AccessDenied | ErrorKind::NotAuthorized => UpgradeOutcome::Forbidden,
                ErrorKind::ClientLimitExceeded
                | ErrorKind::AccountChannelLimitExceeded
                | ErrorKind::TagsPerResourceExceededLimit => UpgradeOutcome::Limited,
                ErrorKind::InternalFailure | ErrorKind::ServiceUnavailable => {
                    UpgradeOutcome::Unavailable
                }
                ErrorKind::Serialization
                | ErrorKind::InvalidArgument
                | ErrorKind::ResourceInUse
                | ErrorKind::VersionMismatch
                | ErrorKind::UnknownOperation => UpgradeOutcome::Invalid,
            },
        }
    }

    /// Returns the outcome that a player's refused offer counts as.
    pub(crate) fn player_outcome(&self) -> PlayerOutcome {
        match (self.check, self.status(Purpose::Whep)) {
            (Check::WhepNoMaster, _) => PlayerOutcome::NoMaster,
            (Check::WhepSilent, _) => PlayerOutcome::Silent,
            (Check::WhepNoCodec, _) => PlayerOutcome::NoCodec,
            (_, 401 | 403) => PlayerOutcome::Forbidden,
            (_, 404) => PlayerOutcome::NotFound,
            (_, 500..) => PlayerOutcome::Unavailable,
            (_, _) => PlayerOutcome::Invalid,
        }
    }

    /// Returns the reason shown to operators. For some STS errors, this is the text of the response.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        let is_text = matches!(self.error, ErrorCode::Sts(_))
            && matches!(
                self.check,
                Check::ArgumentInvalid | Check::SessionPolicyMalformed | Check::OperationUnknown
            );
        let text = is_text.then_some(&*self.message);
        self.policy.as_deref().or(text)
    }
}

impl From<ErrorKind> for ErrorCode {
    fn from(kind: ErrorKind) -> Self {
        Self::Api(kind)
    }
}

impl From<sts::ErrorKind> for ErrorCode {
    fn from(kind: sts::ErrorKind) -> Self {
        Self::Sts(kind)
    }
}

impl From<sigv4::Refusal> for Refusal {
    fn from(refusal: sigv4::Refusal) -> Self {
        let check = match refusal {
            sigv4::Refusal::Missing => Check::SignatureMissing,
            sigv4::Refusal::Malformed(Malformed::EncodedTwice) => Check::QueryMalformed,
            sigv4::Refusal::Malformed(_) => Check::SignatureMalformed,
            sigv4::Refusal::Duplicate(_) => Check::ParameterTwice,
            sigv4::Refusal::Expired {
                window: Window::Tolerance(_),
                ..
            } => Check::SignatureExpired,
            sigv4::Refusal::Expired {
                window: Window::Expires(_),
                ..
            } => Check::UrlExpired,
            sigv4::Refusal::Early { .. } => Check::SignatureEarly,
            sigv4::Refusal::Scope(Scope::Service(_)) => Check::ScopeService,
            sigv4::Refusal::Scope(Scope::Region) => Check::ScopeRegion,
            sigv4::Refusal::Scope(Scope::Terminator | Scope::Date { .. }) => Check::ScopeMalformed,
            sigv4::Refusal::UnknownKey => Check::UnknownKey,
            sigv4::Refusal::Token => Check::TokenMismatch,
            sigv4::Refusal::TokenExpired => Check::TokenExpired,
            sigv4::Refusal::Mismatch => Check::SignatureMismatch,
        };
        Self::new(check, ErrorCode::Signature(refusal), refusal.to_string())
    }
}

impl From<ApiError> for Refusal {
    /// Converts an error in the body of an API call.
    fn from(error: ApiError) -> Self {
        let check = match error.kind {
            ErrorKind::Serialization => Check::BodyMalformed,
            ErrorKind::TagsPerResourceExceededLimit => Check::TagsFull,
            ErrorKind::InvalidArgument
            | ErrorKind::ResourceNotFound
            | ErrorKind::ResourceInUse
            | ErrorKind::VersionMismatch
            | ErrorKind::AccountChannelLimitExceeded
            | ErrorKind::ClientLimitExceeded
            | ErrorKind::AccessDenied
            | ErrorKind::NotAuthorized
            | ErrorKind::UnknownOperation
            | ErrorKind::InternalFailure
            | ErrorKind::ServiceUnavailable => Check::ArgumentInvalid,
        };
        Self::new(check, error.kind, error.message)
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        let check = match error {
            HeadError::TooLarge | HeadError::TooManyHeaders => Check::HeadTooLarge,
            HeadError::Malformed(_) => Check::HttpMalformed,
            HeadError::Proxied => Check::ProxyUnexpected,
            HeadError::UnsupportedVersion => Check::HttpVersion,
            HeadError::LengthRequired => Check::BodyLengthMissing,
        };
        Self::of_head(check, error.status(), error.message())
    }
}

impl From<UpgradeError> for Refusal {
    fn from(error: UpgradeError) -> Self {
        let check = match error {
            UpgradeError::BadVersion => Check::WebsocketVersion,
            UpgradeError::NotGet
            | UpgradeError::NotConnection
            | UpgradeError::MissingKey
            | UpgradeError::BadKey
            | UpgradeError::Body => Check::HandshakeMalformed,
        };
        Self::of_head(check, error.status(), error.message())
    }
}
