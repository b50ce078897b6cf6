//! Identities authenticated by a provider's token or by a certificate. They are not listed in the credentials file.

use codec::policy::{Action, Key, KeyName, ShortText, Value};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// An identity authenticated by a provider or a certificate. Session tokens contain it in encrypted form; see
/// [`crate::wire`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignIn {
    /// An identity authenticated by an OpenID provider's token.
    Web(WebIdentity),
    /// A thing authenticated by its certificate.
    Thing(ThingIdentity),
}

/// The identity in an OpenID provider's token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebIdentity {
    /// The account that owns the provider.
    pub account: Box<str>,
    /// Issuer of the token, without `https://`.
    pub provider: Box<str>,
    /// The `sub` claim.
    pub subject: Box<str>,
    /// Client id for which the token was accepted: `azp` if present, otherwise `aud`.
    pub audience: Box<str>,
    /// Other claims that policies test, including `oaud`.
    pub claims: Vec<Claim>,
}

/// A claim of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Name of the claim without the provider prefix.
    pub name: Box<str>,
    /// All values of the claim.
    pub values: Vec<Box<str>>,
}

/// The identity of a thing that signed in with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThingIdentity {
    /// SHA-256 of the certificate's DER encoding.
    pub certificate: [u8; 32],
    /// Numbers that identify the certificate and its intermediates in revocation lists.
    pub numbers: Vec<u64>,
    /// The thing named at sign-in, if any.
    pub name: Option<Box<str>>,
    /// Type of the thing named at sign-in, if any.
    pub thing_type: Option<Box<str>>,
    /// The role alias that the thing requested.
    pub alias: Box<str>,
    /// Hash of the alias's role and trust policy; see
    /// [`Credentials::alias_grounds`](crate::auth::Credentials::alias_grounds).
    pub grounds: u64,
    /// The authority that issued the certificate; `None` for a registered certificate.
    pub authority: Option<Vouched>,
}

/// The certificate authority that issued a thing's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// SHA-256 of the authority's public key.
    pub authority: [u8; 32],
    /// The thing named in the certificate, set if the sign-in did not name one. The identity becomes invalid when this
    /// thing is disabled.
    pub unnamed: Option<Box<str>>,
}

impl SignIn {
    /// Returns the name used in logs: the provider and subject, the name of the thing, or the certificate id.
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

    /// Returns the action that the identity uses to obtain a role session.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self::Web(_) => Action::AssumeRoleWithWebIdentity,
            Self::Thing(_) => Action::AssumeRole,
        }
    }

    /// Returns the identity type. Source: CloudTrail User Guide, "CloudTrail userIdentity element".
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Web(_) => "WebIdentityUser",
            Self::Thing(_) => "AWSService",
        }
    }

    pub(crate) fn trust_name(&self) -> String {
        match self {
            Self::Web(identity) => format!("Federated:{}", identity.provider_arn().as_str()),
            Self::Thing(_) => format!("Service:{CREDENTIALS_PROVIDER}"),
        }
    }

    /// Returns the value of a condition key that depends only on the identity.
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
    /// Returns the provider's ARN. It always fits into the returned type; see [`PROVIDER_BYTES_MAX`].
    fn provider_arn(&self) -> ShortText {
        let Self {
            account, provider, ..
        } = self;
        ShortText::of(format_args!(
            "arn:aws:iam::{account}:oidc-provider/{provider}"
        ))
    }

    /// Looks up a claim by its full, case-insensitive key `ISSUER:CLAIM`. A claim that was not retained at sign-in
    /// counts as lost.
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
            return Value::Lost; // no policy named the claim when the token was presented
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

/// Maximum length of a provider's name in bytes. The bound ensures that policies can match the provider's ARN.
pub const PROVIDER_BYTES_MAX: usize =
    ShortText::BYTES_MAX - "arn:aws:iam::123456789012:oidc-provider/".len();

/// The service principal named in the trust policies of roles for things. Source: AWS IoT Core Developer Guide,
/// "Authorizing direct calls to AWS services using AWS IoT Core credential provider".
const CREDENTIALS_PROVIDER: &str = "credentials.iot.amazonaws.com";

#[cfg(test)]
mod tests;
