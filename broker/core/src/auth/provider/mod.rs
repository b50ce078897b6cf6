//! OpenID providers: whose tokens people and programs sign in with.
//!
//! # Theory of operation
//! ```text
//! token ─ Unverified::read ──▶ header and claims, bounded ─ Provider::verify ──▶ WebIdentity | TokenFault
//!                                 │ size, header, iss                │ exp, aud, the other claims, and the
//!                                 ▼                                  │ signature last, by one key of KeySet
//!                              the provider, by its issuer ──────────┘
//! ```
//! The cheap and public comes first: what is not for this service or has ended costs no signature check, and asks no
//! provider for keys. Keys come from a file or from the provider itself; fetching them is not done here.
//!
//! Moments are arguments: the library that checks signatures is kept from looking at its clock.
//!
//! Source: OpenID Connect Core 1.0, section 3.1.3.7, "ID Token Validation"; RFC 8725, "JSON Web Token Best Current
//! Practices"; IAM User Guide, "Available keys for AWS OIDC federation".

mod account;
mod claims;
mod fault;
mod keyring;
mod keys;
mod token;

use crate::auth::sign_in::WebIdentity;
pub use account::{AccountFault, Wanted};
pub use fault::TokenFault;
use jsonwebtoken::Algorithm;
pub use keyring::{Keyring, ProviderKeys};
pub use keys::{KeySet, KeySetFault};
use std::sync::Arc;
pub use token::Unverified;

/// A provider of the credentials file. Shared by all shards.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// The account that has it: 12 digits.
    pub account: Box<str>,
    /// Its issuer without `https://`; unique.
    pub issuer: Box<str>,
    /// The client ids whose tokens are let in.
    pub client_ids: Vec<Box<str>>,
    /// The algorithms that its keys may be used with.
    pub algorithms: Algorithms,
    /// The source of its keys.
    pub keys: KeySource,
    /// Names of the claims that policies and trusts of the file ask for, beside `sub` and `aud`, in small letters.
    pub claims: Vec<Box<str>>,
}

/// The source of a provider's keys.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// A file beside the credentials file, which was read.
    File(Arc<KeySet>),
    /// The provider's own documents.
    Discovery(Discovery),
}

/// The way to a provider's documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// The certificates, in PEM, that vouch for its server; `None`: those that the system trusts.
    pub ca: Option<Box<[u8]>>,
    /// Hosts beside that of the issuer that may have its keys.
    pub hosts: Vec<Box<str>>,
    /// Whether its server may have an address of a private network.
    pub private: bool,
}

/// Algorithms of signatures, each once; those with shared secrets are never among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms(Vec<Algorithm>);

impl Default for Algorithms {
    /// Those that nearly every provider signs with.
    fn default() -> Self {
        Self(vec![Algorithm::RS256, Algorithm::ES256])
    }
}

impl Algorithms {
    /// The algorithms of these names; `None` when one is not known or is no algorithm with a public key.
    pub fn of_names<'n>(names: impl IntoIterator<Item = &'n str>) -> Option<Self> {
        let all: Option<Vec<_>> = names.into_iter().map(named).collect();
        let mut some = Vec::new();
        for algorithm in all? {
            if !some.contains(&algorithm) {
                some.push(algorithm);
            }
        }
        (!some.is_empty()).then_some(Self(some))
    }

    /// The names that [`Self::of_names`] knows.
    pub const NAMES: &'static [&'static str] = &[
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ];

    fn has(&self, algorithm: Algorithm) -> bool {
        self.0.contains(&algorithm)
    }
}

impl Provider {
    /// Whether a session of this identity still counts: its client is let in. A policy that asks since for a claim that
    /// was not kept decides for the worse: see [`codec::policy::Value::Lost`].
    pub(crate) fn knows(&self, identity: &WebIdentity) -> bool {
        self.account == identity.account && self.client_ids.contains(&identity.audience)
    }

    /// The issuer as tokens and discovery documents have it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.issuer)
    }

    /// The host of the issuer, with its port if it names one.
    #[must_use]
    pub fn host(&self) -> &str {
        self.issuer.split('/').next().unwrap_or_default()
    }
}

/// The algorithm of a name, if it is one with a public key.
fn named(name: &str) -> Option<Algorithm> {
    let known = Algorithms::NAMES.contains(&name);
    known.then(|| name.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
