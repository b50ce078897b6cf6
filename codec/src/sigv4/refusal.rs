//! The reasons why requests are refused, each with its status, error type, message and metrics label.

use crate::sigv4::{credential::Service, stamp::Stamp};
use std::fmt;
use strum::{IntoStaticStr, VariantArray};

/// The reason why a request is refused. The `Display` output is the message for the caller: ASCII without quotes,
/// backslashes or angle brackets. It contains nothing from the request except digits.
///
/// The phrases `Signature expired` and `Signature not yet current` are part of the contract: the C SDK searches for
/// them in order to correct its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is not signed.
    Missing,
    /// A part of the signature is missing or malformed.
    Malformed(Malformed),
    /// A protocol parameter is duplicated in the query.
    Duplicate(&'static str),
    /// The signature has expired.
    Expired {
        /// Time at which the request was signed.
        signed: Stamp,
        /// Current time of the server.
        now: Stamp,
        /// The limit that the signature's age exceeded.
        window: Window,
    },
    /// The time of the signature is in the future.
    Early {
        /// Time at which the request was signed.
        signed: Stamp,
        /// Current time of the server.
        now: Stamp,
        /// The limit on how far a signature may be ahead of the server's clock.
        window: Window,
    },
    /// The scope of the credential is wrong.
    Scope(Scope),
    /// The access key id is unknown.
    UnknownKey,
    /// The signature is valid, but the session token is missing, wrong or unexpected.
    Token,
    /// The signature and the token are valid, but the key has expired.
    TokenExpired,
    /// The signature does not match, `host` is not signed, or a signed header is absent.
    Mismatch,
}

/// A missing or malformed part of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The algorithm is not `AWS4-HMAC-SHA256`.
    Algorithm,
    /// A part of the `Authorization` header is missing.
    HeaderPart(&'static str),
    /// A part of the `Authorization` header is duplicated or unknown.
    HeaderParts,
    /// A header that must be unique is duplicated.
    HeaderTwice(&'static str),
    /// The request contains neither `X-Amz-Date` nor `Date`.
    HeaderDate,
    /// A query parameter is missing.
    QueryPart(&'static str),
    /// The time has an invalid format.
    Date,
    /// `X-Amz-Expires` is not a number between 1 and this maximum.
    Expires(u32),
    /// The credential does not have five elements, or its access key id is invalid.
    Credential,
    /// The signature does not consist of 64 hexadecimal digits.
    Signature,
    /// A percent sign in the query is not followed by two hexadecimal digits.
    Percent,
    /// The name of a protocol parameter is percent-encoded. No client needs this, and a component that does not decode
    /// names would see a different request from the signed one.
    Disguised,
    /// The values in the query are percent-encoded twice.
    EncodedTwice,
    /// There are more query parameters than [`crate::sigv4::QUERY_PARAMETERS_MAX`].
    TooMany,
}

/// The element of a credential's scope that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The service. Contains the expected service.
    Service(Service),
    /// The region.
    Region,
    /// The last element, which must be `aws4_request`.
    Terminator,
    /// The day, which must be the day on which the request was signed.
    Date {
        /// The day in the scope, if it consists of eight digits.
        scope: Option<[u8; 8]>,
        /// The day on which the request was signed.
        signed: [u8; 8],
    },
}

/// The permitted deviation of a signature's time. Displayed as `5 min.` or `299 sec.`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Tolerance for the client's clock, in seconds.
    Tolerance(u64),
    /// Lifetime of a presigned URL in seconds, as given by its `X-Amz-Expires`.
    Expires(u32),
}

/// The metrics labels for refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// Label of [`Refusal::Missing`].
    Missing,
    /// Label of [`Refusal::Malformed`] and [`Refusal::Duplicate`].
    Malformed,
    /// Label of [`Refusal::Expired`].
    Expired,
    /// Label of [`Refusal::Early`].
    Early,
    /// Label of [`Refusal::Scope`].
    Scope,
    /// Label of [`Refusal::UnknownKey`].
    UnknownKey,
    /// Label of [`Refusal::Token`] and [`Refusal::TokenExpired`].
    Token,
    /// Label of [`Refusal::Mismatch`].
    Mismatch,
}

impl Reason {
    /// All reasons, in the order of declaration.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the label used in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Refusal {
    /// Returns the HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Duplicate(_) => 400,
            Self::Missing
            | Self::Expired { .. }
            | Self::Early { .. }
            | Self::Scope(_)
            | Self::UnknownKey
            | Self::Token
            | Self::TokenExpired
            | Self::Mismatch => 403,
        }
    }

    /// Returns the error type, which is sent in the `x-amzn-ErrorType` header.
    #[must_use]
    pub const fn error_type(self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Malformed(_) => "IncompleteSignatureException",
            Self::Duplicate(_) => "InvalidArgumentException",
            Self::Expired { .. } | Self::Early { .. } | Self::Scope(_) | Self::Mismatch => {
                "InvalidSignatureException"
            }
            Self::UnknownKey | Self::Token => "UnrecognizedClientException",
            Self::TokenExpired => "ExpiredTokenException",
        }
    }

    /// Returns the metrics label of the refusal.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Missing => Reason::Missing,
            Self::Malformed(_) | Self::Duplicate(_) => Reason::Malformed,
            Self::Expired { .. } => Reason::Expired,
            Self::Early { .. } => Reason::Early,
            Self::Scope(_) => Reason::Scope,
            Self::UnknownKey => Reason::UnknownKey,
            Self::Token | Self::TokenExpired => Reason::Token,
            Self::Mismatch => Reason::Mismatch,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Missing => out.write_str("Missing Authentication Token"),
            Self::Malformed(part) => part.fmt(out),
            Self::Duplicate(name) => write!(out, "Duplicate query parameter: {name}"),
            Self::Expired {
                signed,
                now,
                window,
            } => {
                let bound = now.before(window.seconds());
                write!(
                    out,
                    "Signature expired: {signed} is now earlier than {bound} ({now} - {window})"
                )
            }
            Self::Early {
                signed,
                now,
                window,
            } => {
                let bound = now.after(window.seconds());
                write!(
                    out,
                    "Signature not yet current: {signed} is still later than {bound} ({now} + {window})"
                )
            }
            Self::Scope(scope) => scope.fmt(out),
            Self::UnknownKey | Self::Token => {
                out.write_str("The security token included in the request is invalid.")
            }
            Self::TokenExpired => {
                out.write_str("The security token included in the request is expired")
            }
            Self::Mismatch => out.write_str(
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method. Consult the service documentation for details.",
            ),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Algorithm => out.write_str("Unsupported AWS algorithm"),
            Self::HeaderPart(name) => {
                write!(out, "Authorization header requires '{name}' parameter.")
            }
            Self::HeaderParts => out.write_str(
                "Authorization header takes 'Credential', 'SignedHeaders' and 'Signature', each once.",
            ),
            Self::HeaderTwice(name) => write!(out, "Header given twice: {name}"),
            Self::HeaderDate => out.write_str(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            ),
            Self::QueryPart(name) => {
                write!(out, "AWS query-string parameters must include '{name}'.")
            }
            Self::Date => out.write_str("Date must be in ISO-8601 'basic format'."),
            Self::Expires(most) => {
                write!(out, "X-Amz-Expires must be between 1 and {most} seconds")
            }
            Self::Credential => out.write_str(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term",
            ),
            Self::Signature => out.write_str("Signature must be 64 hexadecimal digits."),
            Self::Percent => out.write_str("The query string has a malformed percent-encoding."),
            Self::Disguised => out.write_str("The name of a signed parameter is percent-encoded."),
            Self::EncodedTwice => out.write_str(
                "The query string is percent-encoded twice: its values must be encoded once.",
            ),
            Self::TooMany => out.write_str("The query string has too many parameters."),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Service(service) => write!(
                out,
                "Credential should be scoped to correct service: '{}'.",
                service.as_str()
            ),
            Self::Region => out.write_str("Credential should be scoped to a valid region."),
            Self::Terminator => out
                .write_str("Credential should be scoped with a valid terminator: 'aws4_request'."),
            Self::Date { scope, signed } => {
                out.write_str(
                    "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP",
                )?;
                let Some(scope) = scope else { return Ok(()) };
                let day = |digits: [u8; 8]| digits.map(char::from).iter().collect::<String>();
                write!(out, ": '{}' != '{}'", day(scope), day(signed))
            }
        }
    }
}

impl Window {
    const fn seconds(self) -> u64 {
        match self {
            Self::Tolerance(seconds) => seconds,
            Self::Expires(seconds) => seconds as u64,
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tolerance(seconds) if seconds.is_multiple_of(60) => {
                write!(out, "{} min.", seconds / 60)
            }
            Self::Tolerance(seconds) => write!(out, "{seconds} sec."),
            Self::Expires(seconds) => write!(out, "{seconds} sec."),
        }
    }
}
