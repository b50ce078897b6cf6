//! STS errors and their wire format.

use crate::sigv4::Refusal;
use crate::sts::response::{close, element, open, open_root};
use std::borrow::Cow;
use strum::{IntoStaticStr, VariantArray};

/// An STS error: its code, and a message for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Code of the error.
    pub kind: ErrorKind,
    /// Error message of one or two sentences, which quotes at most a short word or a number from the request.
    pub message: Cow<'static, str>,
}

impl Error {
    /// Creates an error with the given code and message.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

impl From<Refusal> for Error {
    /// Converts a signature error. STS has its own names for these errors, but uses the same status codes and messages.
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::Missing => ErrorKind::MissingAuthenticationToken,
            Refusal::Malformed(_) => ErrorKind::IncompleteSignature,
            Refusal::Duplicate(_) => ErrorKind::InvalidQueryParameter,
            Refusal::Expired { .. }
            | Refusal::Early { .. }
            | Refusal::Scope(_)
            | Refusal::Mismatch => ErrorKind::SignatureDoesNotMatch,
            Refusal::UnknownKey | Refusal::Token => ErrorKind::InvalidClientTokenId,
            Refusal::TokenExpired => ErrorKind::ExpiredToken,
        };
        Self::new(kind, refusal.to_string())
    }
}

/// The error codes of STS.
///
/// Source: AWS STS API Reference, "Common Errors" and GetFederationToken. These pages omit `SignatureDoesNotMatch`,
/// `ExpiredToken` and `AccessDenied` or spell them differently, so these three follow observed responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
pub enum ErrorKind {
    /// The form is malformed, or contains unknown or duplicate parameters.
    InvalidQueryParameter,
    /// The action is missing.
    MissingAction,
    /// The action or API version is unknown.
    InvalidAction,
    /// A parameter is missing or violates its constraints.
    ValidationError,
    /// A parameter requests a feature that is not supported.
    InvalidParameterValue,
    /// The policy is invalid.
    MalformedPolicyDocument,
    /// The policy and tags together are too long for a session token.
    PackedPolicyTooLarge,
    /// A rate limit has been exceeded.
    Throttling,
    /// A part of the signature is missing or malformed.
    IncompleteSignature,
    /// The request has no signature.
    MissingAuthenticationToken,
    /// The signature does not match, or is for a different time, region or service.
    SignatureDoesNotMatch,
    /// The access key id or session token is unknown.
    InvalidClientTokenId,
    /// The session token has expired.
    ExpiredToken,
    /// The policy denies the request.
    AccessDenied,
    /// An internal error occurred in the service.
    InternalFailure,
    /// The service is at capacity or draining. The client should retry on another node or later.
    ServiceUnavailable,
    /// The identity provider's token is invalid.
    InvalidIdentityToken,
    /// The identity provider's token has expired.
    ExpiredTokenException,
    /// A claim in the identity provider's token violates a rule.
    #[strum(serialize = "IDPRejectedClaim")]
    IdpRejectedClaim,
}

impl ErrorKind {
    /// All kinds, in the order of declaration.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the code as sent in `<Code>`.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.into()
    }

    /// Returns the HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidQueryParameter
            | Self::MissingAction
            | Self::InvalidAction
            | Self::ValidationError
            | Self::InvalidParameterValue
            | Self::MalformedPolicyDocument
            | Self::PackedPolicyTooLarge
            | Self::Throttling
            | Self::IncompleteSignature
            | Self::InvalidIdentityToken
            | Self::ExpiredTokenException => 400,
            Self::MissingAuthenticationToken
            | Self::SignatureDoesNotMatch
            | Self::InvalidClientTokenId
            | Self::ExpiredToken
            | Self::AccessDenied
            | Self::IdpRejectedClaim => 403,
            Self::InternalFailure => 500,
            Self::ServiceUnavailable => 503,
        }
    }

    /// Returns the party at fault, as sent in `<Type>`.
    const fn blame(self) -> &'static str {
        if self.status() < 500 {
            "Sender"
        } else {
            "Receiver"
        }
    }
}

/// Appends the body of an error response.
pub fn error_body(out: &mut Vec<u8>, kind: ErrorKind, message: &str, request_id: &str) {
    open_root(out, "ErrorResponse");
    open(out, "Error");
    element(out, "Type", kind.blame());
    element(out, "Code", kind.code());
    element(out, "Message", message);
    close(out, "Error");
    element(out, "RequestId", request_id);
    close(out, "ErrorResponse");
}

/// Returns a word from the request for use in an error message, or `(unprintable)` if the word is too long or contains
/// special characters.
pub(crate) fn shown(text: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if (1..=SHOWN_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain) {
        text
    } else {
        "(unprintable)"
    }
}

const SHOWN_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigv4::{Malformed, Scope, Service, Stamp, Window};

    #[test]
    fn signature_refusals_keep_their_status_and_words() {
        let (signed, now) = (Stamp::from_epoch(1_000), Stamp::from_epoch(2_000));
        let window = Window::Tolerance(300);
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            (Refusal::Missing, "MissingAuthenticationToken"),
            (Refusal::Malformed(Malformed::Date), "IncompleteSignature"),
            (Refusal::Duplicate("X-Amz-Date"), "InvalidQueryParameter"),
            (Refusal::Expired { signed, now, window }, "SignatureDoesNotMatch"),
            (Refusal::Early { signed: now, now: signed, window }, "SignatureDoesNotMatch"),
            (Refusal::Scope(Scope::Service(Service::KinesisVideo)), "SignatureDoesNotMatch"),
            (Refusal::Mismatch, "SignatureDoesNotMatch"),
            (Refusal::UnknownKey, "InvalidClientTokenId"),
            (Refusal::Token, "InvalidClientTokenId"),
            (Refusal::TokenExpired, "ExpiredToken"),
        ];
        for (refusal, code) in cases {
            let error = Error::from(refusal);
            assert_eq!(error.kind.code(), code, "{refusal:?}");
            assert_eq!(error.kind.status(), refusal.status(), "{refusal:?}");
            assert_eq!(error.message, refusal.to_string());
        }
    }

    #[test]
    fn codes_are_distinct_and_have_a_status() {
        for (position, kind) in ErrorKind::ALL.iter().copied().enumerate() {
            assert_eq!(kind as usize, position);
            assert!(kind.code().eq_ignore_ascii_case(&format!("{kind:?}")));
            assert!(matches!(kind.status(), 400 | 403 | 500 | 503));
        }
    }

    #[test]
    fn an_error_looks_like_one_of_sts() {
        let body = |kind, message: &str| {
            let mut out = b"before ".to_vec();
            error_body(&mut out, kind, message, "id-1");
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            body(ErrorKind::AccessDenied, "a<b & \"c\""),
            concat!(
                "before <ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>",
                "<Code>AccessDenied</Code><Message>a&lt;b &amp; &quot;c&quot;</Message></Error>",
                "<RequestId>id-1</RequestId></ErrorResponse>"
            )
        );
        assert!(body(ErrorKind::InternalFailure, "").contains("<Type>Receiver</Type>"));
    }

    #[test]
    fn only_plain_words_are_repeated() {
        let long = "x".repeat(64);
        for text in ["GetSessionToken", "Tags.member.1.Key", &*long] {
            assert_eq!(shown(text), text);
        }
        for text in ["", "a b", "<", "é", "a\n", &*"x".repeat(65)] {
            assert_eq!(shown(text), "(unprintable)", "{text}");
        }
    }
}
