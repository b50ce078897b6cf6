//! Refusals of requests: status, error type, text, and metrics label.

use crate::sigv4::{credential::Service, stamp::Stamp};
use std::fmt;
use strum::{IntoStaticStr, VariantArray};

/// Reason why a request is refused. Displays as the text for the caller: ASCII without quotes, backslashes and angle
/// brackets, and nothing of the request but digits.
///
/// The phrases `Signature expired` and `Signature not yet current` are part of the contract: the C SDK searches for
/// them and corrects its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request has no signature.
    Missing,
    /// A part is missing or malformed.
    Malformed(Malformed),
    /// A query parameter of the protocol occurs twice.
    Duplicate(&'static str),
    /// Signed too long ago.
    Expired {
        /// Time of the signature.
        signed: Stamp,
        /// The server's clock.
        now: Stamp,
        /// Longest accepted age.
        window: Window,
    },
    /// Signed in the future.
    Early {
        /// Time of the signature.
        signed: Stamp,
        /// The server's clock.
        now: Stamp,
        /// Longest accepted lead over the server's clock.
        window: Window,
    },
    /// The credential's scope is wrong.
    Scope(Scope),
    /// Unknown access key id.
    UnknownKey,
    /// The session token is absent, wrong or out of place, although the signature is valid.
    Token,
    /// The key has expired; signature and token are valid.
    TokenExpired,
    /// The signature does not match; also when `host` is not signed or a signed header is absent.
    Mismatch,
}

/// The part that is missing or malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// An algorithm other than `AWS4-HMAC-SHA256`.
    Algorithm,
    /// A part of the `Authorization` header is missing.
    HeaderPart(&'static str),
    /// A part of the `Authorization` header is repeated or unknown.
    HeaderParts,
    /// A header that must not repeat occurs twice.
    HeaderTwice(&'static str),
    /// Neither `X-Amz-Date` nor `Date`.
    HeaderDate,
    /// A query parameter is missing.
    QueryPart(&'static str),
    /// Invalid format of the time.
    Date,
    /// `X-Amz-Expires` is not a number from 1 to this one.
    Expires(u32),
    /// The credential does not have five elements, or its access key id is invalid.
    Credential,
    /// The signature is not 64 hexadecimal digits.
    Signature,
    /// A percent sign in the query that two hexadecimal digits do not follow.
    Percent,
    /// The name of a protocol parameter is percent-encoded. No client needs that, and a party that reads the query
    /// without decoding names would see another request than the signed one.
    Disguised,
    /// The values of the query are percent-encoded twice.
    EncodedTwice,
    /// More query parameters than [`crate::sigv4::QUERY_PARAMETERS_MAX`].
    TooMany,
}

/// Expected element of a credential's scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The server's service.
    Service(Service),
    /// The server's region.
    Region,
    /// The terminator `aws4_request`.
    Terminator,
    /// The day of the signature.
    Date {
        /// The scope's day, if it is eight digits.
        scope: Option<[u8; 8]>,
        /// Day of the signature.
        signed: [u8; 8],
    },
}

/// Accepted clock difference, or the lifetime of a URL. Displays as `5 min.` or `299 sec.`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The tolerance of clocks, in seconds.
    Tolerance(u64),
    /// A presigned URL's `X-Amz-Expires`, in seconds.
    Expires(u32),
}

/// Metrics labels of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// [`Refusal::Missing`].
    Missing,
    /// [`Refusal::Malformed`] and [`Refusal::Duplicate`].
    Malformed,
    /// [`Refusal::Expired`].
    Expired,
    /// [`Refusal::Early`].
    Early,
    /// [`Refusal::Scope`].
    Scope,
    /// [`Refusal::UnknownKey`].
    UnknownKey,
    /// [`Refusal::Token`] and [`Refusal::TokenExpired`].
    Token,
    /// [`Refusal::Mismatch`].
    Mismatch,
}

impl Reason {
    /// Every reason, in the order of their declaration.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Refusal {
    /// The HTTP status.
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

    /// The error type, for the header `x-amzn-ErrorType`.
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

    /// Metrics label of the refusal.
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
                let day = |digits: [u8; 8]| digits.map(char::from);
                let Some(scope) = scope else { return Ok(()) };
                out.write_str(": '")?;
                day(scope)
                    .iter()
                    .try_for_each(|&digit| fmt::Write::write_char(out, digit))?;
                out.write_str("' != '")?;
                day(signed)
                    .iter()
                    .try_for_each(|&digit| fmt::Write::write_char(out, digit))?;
                out.write_str("'")
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
