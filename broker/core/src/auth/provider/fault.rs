//! The reasons for which a token is not accepted.

use std::fmt;

/// Why a token is not accepted. No text of it repeats what the token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// It is no token, or its header asks for what is not done here: what to say.
    Malformed(&'static str),
    /// No provider has this issuer.
    Issuer,
    /// It has ended.
    Expired,
    /// It was issued for another client.
    Audience,
    /// A claim is absent, or breaks a rule: which one.
    Claim(&'static str),
    /// The provider has no key of this name, or none that fits: it may have a newer one.
    UnknownKey,
    /// Nothing is known of the provider's keys.
    NoKeys,
    /// Several keys fit a token that names none.
    AmbiguousKey,
    /// The signature is not the key's, or of an algorithm that the provider may not use.
    Signature,
}

impl TokenFault {
    /// Whether newer keys of the provider might make the token valid: its issuer, audience and end are right.
    #[must_use]
    pub const fn asks_for_keys(self) -> bool {
        matches!(self, Self::UnknownKey | Self::NoKeys)
    }
}

impl fmt::Display for TokenFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Malformed(what) | Self::Claim(what) => what,
            Self::Issuer => "no provider of the credentials file has this issuer",
            Self::Expired => "the token has expired",
            Self::Audience => "the audience is no client id of the provider",
            Self::UnknownKey => "the provider has no key that fits the token's header",
            Self::NoKeys => "no keys of the provider are known",
            Self::AmbiguousKey => "the token names no key, and several fit",
            Self::Signature => "the signature is not valid",
        })
    }
}
