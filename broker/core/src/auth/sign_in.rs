//! Identities outside the credentials file: signed in with a provider's token or a certificate.

use codec::policy::{Action, Key, KeyName, ShortText, Value};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// Identity proved by a provider or a certificate. Part of sealed session tokens: see [`crate::wire`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignIn {
    /// By a token of an OpenID provider.
    Web(WebIdentity),
    /// By a certificate.
    Thing(ThingIdentity),
}

/// Identity of an OpenID provider's token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebIdentity {
    /// The account of the provider.
    pub account: Box<str>,
    /// Issuer without `https://`.
    pub provider: Box<str>,
    /// The claim `sub`.
    pub subject: Box<str>,
    /// Client id that the token was accepted for: `azp` if present, otherwise `aud`.
    pub audience: Box<str>,
    /// Further claims that are kept, `oaud` among them.
    pub claims: Vec<Claim>,
}

/// A claim of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The name without the provider.
    pub name: Box<str>,
    /// All values of the claim.
    pub values: Vec<Box<str>>,
}

/// The identity of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThingIdentity {
    /// The certificate: the SHA-256 of its DER.
    pub certificate: [u8; 32],
    /// Numbers by which revocation lists name it and the certificates between it and its authority.
    pub numbers: Vec<u64>,
    /// Thing named at sign-in, if any.
    pub name: Option<Box<str>>,
    /// The type of that thing.
    pub thing_type: Option<Box<str>>,
    /// Requested role alias.
    pub alias: Box<str>,
    /// Hash of the alias's role and trust: see [`Credentials::alias_grounds`](crate::auth::Credentials::alias_grounds).
    pub grounds: u64,
    /// Authority of the certificate; `None` if the registry lists it.
    pub authority: Option<Vouched>,
}

/// The authority of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// The SHA-256 of the authority's public key.
    pub authority: [u8; 32],
    /// Thing's name in the certificate, if the sign-in did not name one: the name may be disabled all the same.
    pub unnamed: Option<Box<str>>,
}

impl SignIn {
    /// Name in logs: provider and subject, or the thing, or the id of the certificate.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Web(identity) => format!("{}:{}", identity.provider, identity.subject),
            Self::Thing(identity) => match &identity.name {
                Some(name) => format!("thing/{name}"),
                None => format!("certificate/{}", HEXLOWER.encode(&identity.certificate)),
            },
        }
    }

    /// Action that gives it a session of a role.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self::Web(_) => Action::AssumeRoleWithWebIdentity,
            Self::Thing(_) => Action::AssumeRole,
        }
    }

    /// Identity type. Source: CloudTrail User Guide, "CloudTrail userIdentity element".
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Web(_) => "WebIdentityUser",
            Self::Thing(_) => "AWSService",
        }
    }

    /// Principal in trusts of roles.
    pub(crate) fn trust_name(&self) -> String {
        match self {
            Self::Web(identity) => format!("Federated:{}", identity.provider_arn().as_str()),
            Self::Thing(_) => format!("Service:{CREDENTIALS_PROVIDER}"),
        }
    }

    /// Value of a condition key that depends on the identity only.
    pub(crate) fn value(&self, key: Key<'_>, nth: usize) -> Value<'_> {
        match self {
            Self::Web(identity) => match (key.name, nth) {
                (KeyName::Claim, nth) => identity.claim(key.detail, nth),
                (KeyName::FederatedProvider, 0) => Value::Made(identity.provider_arn()),
                _ => Value::Absent,
            },
            Self::Thing(identity) => identity.value(key, nth),
        }
    }
}

impl WebIdentity {
    /// ARN of the provider. The buffer suffices: see [`PROVIDER_BYTES_MAX`].
    fn provider_arn(&self) -> ShortText {
        let Self {
            account, provider, ..
        } = self;
        ShortText::of(format_args!(
            "arn:aws:iam::{account}:oidc-provider/{provider}"
        ))
    }

    /// Value of a claim by its full key, `ISSUER:CLAIM`; keys are compared without regard to case. A claim that was not
    /// kept is lost.
    fn claim(&self, key: &str, nth: usize) -> Value<'_> {
        let claim = key
            .split_at_checked(self.provider.len())
            .filter(|(issuer, _)| issuer.eq_ignore_ascii_case(&self.provider))
            .and_then(|(_, rest)| rest.strip_prefix(':'));
        let Some(claim) = claim else {
            return Value::Absent;
        };
        let sole = |text| {
            if nth == 0 {
                Value::Text(text)
            } else {
                Value::Absent
            }
        };
        if claim.eq_ignore_ascii_case("sub") {
            return sole(&self.subject);
        }
        if claim.eq_ignore_ascii_case("aud") {
            return sole(&self.audience);
        }
        let mut claims = self.claims.iter();
        let Some(found) = claims.find(|known| known.name.eq_ignore_ascii_case(claim)) else {
            return Value::Lost; // no policy named it when the token was there
        };
        let value = found.values.get(nth);
        value.map_or(Value::Absent, |value| Value::Text(value))
    }
}

impl ThingIdentity {
    fn value(&self, key: Key<'_>, nth: usize) -> Value<'_> {
        match (key.name, nth) {
            (KeyName::ThingName, 0) => Value::of(self.name.as_deref()),
            (KeyName::ThingTypeName, 0) => Value::of(self.thing_type.as_deref()),
            (KeyName::AwsCertificateId, 0) => Value::Made(ShortText::of(format_args!(
                "{}",
                HEXLOWER.encode_display(&self.certificate)
            ))),
            _ => Value::Absent,
        }
    }
}

/// Longest name of a provider in bytes: policies match its ARN.
pub const PROVIDER_BYTES_MAX: usize =
    ShortText::BYTES_MAX - "arn:aws:iam::123456789012:oidc-provider/".len();

/// Service that trusts of roles for things name. Source: AWS IoT Core Developer Guide, "Authorizing direct calls to AWS
/// services using AWS IoT Core credential provider".
const CREDENTIALS_PROVIDER: &str = "credentials.iot.amazonaws.com";

#[cfg(test)]
mod tests;
