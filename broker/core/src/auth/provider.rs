//! OpenID providers and their token-signing keys. People and programs sign in with tokens from these providers.
//!
//! # Theory of operation
//! ```text
//! token ─ Unverified::read ──▶ header and claims, bounded ─ Provider::verify ──▶ WebIdentity | TokenFault
//!                                 │ size, header, iss                │ exp, aud, the other claims, and the
//!                                 ▼                                  │ signature last, by one key of KeySet
//!                              the provider, by its issuer ──────────┘
//! ```
//! Checks that are cheap and need no secrets come first, so a token that has expired or is meant for another service
//! causes neither a signature check nor a key fetch. Other modules load the keys from a file or fetch them from the
//! provider.
//!
//! The current time is passed as an argument, because the signature library must not read the clock itself.
//!
//! Source: OpenID Connect Core 1.0, section 3.1.3.7, "ID Token Validation"; RFC 8725, "JSON Web Token Best Current
//! Practices"; IAM User Guide, "Available keys for AWS OIDC federation".

pub use crate::auth::provider_token::{AccountFault, TokenFault, Unverified, WantedClaims};
use crate::auth::sign_in::WebIdentity;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An OpenID provider from the credentials file, shared by all shards.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Id of the account that owns the provider (12 digits).
    pub account: Box<str>,
    /// Issuer URL without `https://`; unique.
    pub issuer: Box<str>,
    /// Client ids for which tokens are accepted.
    pub client_ids: Vec<Box<str>>,
    /// Accepted signature algorithms.
    pub algorithms: Algorithms,
    /// Where the provider's keys come from.
    pub keys: KeySource,
    /// Lower-case names of the claims that policies and trust policies test, other than `sub` and `aud`.
    pub claims: Vec<Box<str>>,
}

/// The source of a provider's keys.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// The keys come from a file next to the credentials file.
    File(Arc<KeySet>),
    /// The keys are found through the provider's discovery documents.
    Discovery(Discovery),
}

/// Settings for fetching a provider's discovery documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// CA certificates that verify the provider's server, in PEM format; `None` uses the system's certificates.
    pub ca: Option<Box<[u8]>>,
    /// Hosts from which keys may be fetched, in addition to the issuer's host.
    pub hosts: Vec<Box<str>>,
    /// Whether the provider's server may have a private address.
    pub private: bool,
}

/// A list of asymmetric signature algorithms without duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms(Vec<Algorithm>);

impl Default for Algorithms {
    fn default() -> Self {
        Self(vec![Algorithm::RS256, Algorithm::ES256])
    }
}

impl Algorithms {
    /// Looks up algorithms by name. Returns `None` if a name is unknown or denotes a symmetric algorithm, or if there
    /// are no names.
    pub fn of_names<'n>(names: impl IntoIterator<Item = &'n str>) -> Option<Self> {
        let mut some = Vec::new();
        for name in names {
            let algorithm = named(name)?;
            if !some.contains(&algorithm) {
                some.push(algorithm);
            }
        }
        (!some.is_empty()).then_some(Self(some))
    }

    /// The names that [`Self::of_names`] accepts.
    pub const NAMES: &'static [&'static str] = &[
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ];

    pub(crate) fn has(&self, algorithm: Algorithm) -> bool {
        self.0.contains(&algorithm)
    }
}

impl Provider {
    /// Returns `true` if sessions of this identity are still valid. The client id of its token must still be accepted.
    /// If a policy tests a claim that was discarded, the stricter outcome applies; see [`codec::policy::Value::Lost`].
    pub(crate) fn knows(&self, identity: &WebIdentity) -> bool {
        self.account == identity.account && self.client_ids.contains(&identity.audience)
    }

    /// Returns the issuer URL in the form used in tokens and discovery documents.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.issuer)
    }

    /// Returns the host of the issuer, with the port if the URL contains one.
    #[must_use]
    pub fn host(&self) -> &str {
        self.issuer.split('/').next().unwrap_or_default()
    }
}

pub(crate) fn named(name: &str) -> Option<Algorithm> {
    let known = Algorithms::NAMES.contains(&name);
    known.then(|| name.parse().ok()).flatten()
}

// Provider keys. Source: RFC 7517, "JSON Web Key"; RFC 7518, section 6.

/// A provider's token-signing keys.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<SigningKey>,
    dropped: usize,
}

#[derive(Clone)]
pub(crate) struct SigningKey {
    id: Option<Box<str>>,
    /// Algorithms for which the key can be used, based on its type, curve and `alg`.
    algorithms: Vec<Algorithm>,
    pub(crate) key: DecodingKey,
    /// The key as published by the provider, used to compare key sets.
    source: Jwk,
}

/// The reason why a key set document is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySetFault {
    /// The document is longer than [`KEY_SET_BYTES_MAX`](crate::limits::KEY_SET_BYTES_MAX).
    TooLong,
    /// The document is not a JSON object with a `keys` array.
    Malformed,
    /// The document contains more keys than [`KEYS_OF_PROVIDER_MAX`](crate::limits::KEYS_OF_PROVIDER_MAX).
    TooMany,
    /// The document contains no key that can verify tokens.
    NoneUsable,
}

/// A key set document. Keys are parsed individually, so that a key of an unknown type does not invalidate the others.
#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Parses a key set document. Drops symmetric keys, RSA keys with fewer than 2,048 bits, and keys for other uses.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetFault> {
        if text.len() > crate::limits::KEY_SET_BYTES_MAX {
            return Err(KeySetFault::TooLong);
        }
        let document: Document =
            serde_json::from_slice(text).map_err(|_| KeySetFault::Malformed)?;
        let count = document.keys.len();
        if count > crate::limits::KEYS_OF_PROVIDER_MAX {
            return Err(KeySetFault::TooMany);
        }
        let keys = document.keys.into_iter().filter_map(signing_key);
        let keys: Vec<_> = keys.collect();
        if keys.is_empty() {
            return Err(KeySetFault::NoneUsable);
        }
        let dropped = count - keys.len();
        Ok(Self { keys, dropped })
    }

    /// Returns the number of usable keys.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns `true` if there are no usable keys.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the number of dropped keys.
    #[must_use]
    pub const fn dropped(&self) -> usize {
        self.dropped
    }

    /// Returns the keys that can be used with this algorithm. If a key id is given, returns only keys with that id.
    pub(crate) fn fitting<'k>(
        &'k self,
        id: Option<&'k str>,
        algorithm: Algorithm,
        allowed: &'k Algorithms,
    ) -> impl Iterator<Item = &'k SigningKey> {
        self.keys.iter().filter(move |key| {
            id.is_none_or(|id| key.id.as_deref() == Some(id))
                && key.algorithms.contains(&algorithm)
                && allowed.has(algorithm)
        })
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        let sources = self.keys.iter().map(|key| &key.source);
        sources.eq(other.keys.iter().map(|key| &key.source))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {:?}", self.id, self.algorithms)
    }
}

impl fmt::Display for KeySetFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::limits::{KEY_SET_BYTES_MAX, KEYS_OF_PROVIDER_MAX};
        match self {
            Self::TooLong => write!(out, "expected at most {KEY_SET_BYTES_MAX} bytes"),
            Self::Malformed => out.write_str("expected a JSON object with a list \"keys\" (RFC 7517)"),
            Self::TooMany => write!(out, "expected at most {KEYS_OF_PROVIDER_MAX} keys"),
            Self::NoneUsable => out.write_str(
                "it has no key for signatures: expected RSA of 2,048 bits or more, P-256, P-384 and Ed25519, \
                 without \"use\" or with \"sig\"",
            ),
        }
    }
}

/// Parses a key. Returns `None` if the key cannot verify tokens.
fn signing_key(value: Value) -> Option<SigningKey> {
    let source: Jwk = serde_json::from_value(value).ok()?;
    let common = &source.common;
    let signs = common
        .public_key_use
        .as_ref()
        .is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let verifies = |all: &Vec<KeyOperations>| all.contains(&KeyOperations::Verify);
    if !signs || !common.key_operations.as_ref().is_none_or(verifies) {
        return None;
    }
    let by_kind = by_kind(&source.algorithm)?;
    let algorithms = match common.key_algorithm {
        None => by_kind.to_vec(),
        Some(its) => {
            let its: Algorithm = its.to_string().parse().ok()?;
            by_kind.contains(&its).then(|| vec![its])?
        }
    };
    Some(SigningKey {
        id: common.key_id.as_deref().map(Into::into),
        algorithms,
        key: DecodingKey::from_jwk(&source).ok()?,
        source,
    })
}

/// Returns the algorithms of a key. Returns `None` if the key is weak or its type is unsupported.
fn by_kind(parameters: &AlgorithmParameters) -> Option<&'static [Algorithm]> {
    if let AlgorithmParameters::RSA(rsa) = parameters {
        return is_strong(&rsa.n, &rsa.e).then_some(RSA);
    }
    if let AlgorithmParameters::EllipticCurve(point) = parameters {
        let coordinates = [&*point.x, &*point.y];
        if point.curve == EllipticCurve::P256 {
            return is_point(&coordinates, 32).then_some(&[Algorithm::ES256]);
        }
        let is_p384 = point.curve == EllipticCurve::P384 && is_point(&coordinates, 48);
        return is_p384.then_some(&[Algorithm::ES384]);
    }
    if let AlgorithmParameters::OctetKeyPair(pair) = parameters {
        let is_ed25519 = pair.curve == EllipticCurve::Ed25519 && is_point(&[&pair.x], 32);
        return is_ed25519.then_some(&[Algorithm::EdDSA]);
    }
    None
}

/// Returns `true` if an RSA key has 2,048 to 8,192 bits and its exponent has at most four bytes. Larger exponents would
/// make verification slow.
fn is_strong(modulus: &str, exponent: &str) -> bool {
    let bytes = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok();
    let (Some(modulus), Some(exponent)) = (bytes(modulus), bytes(exponent)) else {
        return false;
    };
    let zeros: u64 = modulus.iter().take_while(|byte| **byte == 0).count() as u64;
    let first = modulus.iter().find(|byte| **byte != 0);
    let bits = first.map_or(0, |first| {
        (modulus.len() as u64 - zeros) * 8 - u64::from(first.leading_zeros())
    });
    (2048..=8192).contains(&bits) && (1..=4).contains(&exponent.len())
}

/// Returns `true` if each coordinate is `bytes` bytes long.
fn is_point(coordinates: &[&str], bytes: usize) -> bool {
    let mut decoded = coordinates
        .iter()
        .map(|text| BASE64URL_NOPAD.decode(text.as_bytes()));
    decoded.all(|coordinate| coordinate.is_ok_and(|some| some.len() == bytes))
}

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// The fetched keys of all providers, indexed by issuer. The process has one snapshot, shared as `Arc<Keyring>`. It is
/// always replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    by_issuer: BTreeMap<Box<str>, ProviderKeys>,
}

/// The keys of a provider, with a flag that requests newer ones.
#[derive(Clone, Debug, Default)]
pub struct ProviderKeys {
    /// The most recently fetched keys; `None` before the first fetch and when the keys are stale.
    keys: Option<Arc<KeySet>>,
    /// Whether newer keys have been requested. Shards set this flag, and the fetching task clears it. All snapshots
    /// share it.
    wish: Arc<AtomicBool>,
}

impl Keyring {
    /// Creates a snapshot that contains the given keys.
    #[must_use]
    pub fn of(entries: impl IntoIterator<Item = (Box<str>, ProviderKeys)>) -> Self {
        Self {
            by_issuer: entries.into_iter().collect(),
        }
    }

    /// Returns the current keys of a provider, from its file or from the last fetch.
    #[must_use]
    pub fn keys_of<'k>(&'k self, provider: &'k Provider) -> Option<&'k KeySet> {
        match &provider.keys {
            KeySource::File(keys) => Some(keys),
            KeySource::Discovery(_) => {
                let entry = self.by_issuer.get(&provider.issuer)?;
                entry.keys.as_deref()
            }
        }
    }

    /// Requests newer keys. Called when a token with valid claims names an unknown key.
    pub fn wish(&self, provider: &Provider) {
        if let Some(entry) = self.by_issuer.get(&provider.issuer) {
            entry.wish.store(true, Ordering::Relaxed);
        }
    }
}

impl ProviderKeys {
    /// Returns an entry with the given keys. It shares this entry's flag, which requests newer keys.
    #[must_use]
    pub fn with(&self, keys: Option<Arc<KeySet>>) -> Self {
        let wish = Arc::clone(&self.wish);
        Self { keys, wish }
    }

    /// Returns `true` if newer keys have been requested since the last call, and clears the request.
    #[must_use]
    pub fn take_wish(&self) -> bool {
        self.wish.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
