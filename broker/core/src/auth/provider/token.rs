//! A token, and the check of it.

use crate::auth::provider::claims::{Header, Members};
use crate::auth::provider::fault::TokenFault;
use crate::auth::provider::{KeySet, Provider};
use crate::auth::sign_in::{Claim, WebIdentity};
use crate::limits::providers::{WEB_CLAIMS_BYTES_MAX, WEB_TOKEN_BYTES_MAX};
use codec::sts::SessionClaims;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Validation, decode};
use serde::de::IgnoredAny;
use std::fmt;

/// A token whose header and claims were read. Nobody vouches for them yet.
pub struct Unverified<'t> {
    token: &'t str,
    header: Header,
    pub(crate) claims: Members,
    issuer: String,
}

impl<'t> Unverified<'t> {
    /// Reads a token in the compact form of RFC 7515, section 7.1.
    ///
    /// # Errors
    /// It is none, or too long.
    pub fn read(token: &'t str) -> Result<Self, TokenFault> {
        let malformed = TokenFault::Malformed;
        if token.len() > WEB_TOKEN_BYTES_MAX {
            return Err(malformed("the token is too long"));
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed("the token has not three parts"));
        };
        let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
        let header = decoded(header).filter(|it| it.len() <= HEADER_BYTES_MAX);
        let header = header.ok_or_else(|| malformed("the header is no base64url or too long"))?;
        let header = Header::read(&header)?;
        let claims = decoded(claims).and_then(|json| Members::read(&json));
        let claims =
            claims.ok_or_else(|| malformed("the claims are no JSON object in base64url"))?;
        let issuer = claims
            .text("iss")
            .ok_or(TokenFault::Claim("the claim iss is needed"))?;
        let issuer = issuer.to_owned();
        Ok(Self {
            token,
            header,
            claims,
            issuer,
        })
    }

    /// The issuer that it names, without `https://`; `None` for one that cannot be a provider's.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        let issuer = self.issuer.strip_prefix("https://");
        issuer.or_else(|| (self.issuer == SHORT_ISSUER).then_some(SHORT_ISSUER))
    }

    /// The claim `iss`, which nobody vouches for.
    #[must_use]
    pub fn claimed_issuer(&self) -> &str {
        &self.issuer
    }

    /// The tags and the source identity that it has for the session.
    ///
    /// # Errors
    /// Such a claim breaks a rule.
    pub fn session_claims(&self) -> Result<SessionClaims, TokenFault> {
        self.claims.session()
    }

    /// The subject that it names, which nobody vouches for.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.claims.text("sub")
    }
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Unverified(…)")
    }
}

impl Provider {
    /// Checks a token of this provider at a moment, in seconds since 1970 UTC: its end, its audience, its other claims,
    /// and its signature last.
    ///
    /// # Errors
    /// See [`TokenFault`].
    pub fn verify(
        &self,
        token: &Unverified<'_>,
        keys: Option<&KeySet>,
        now_s: u64,
    ) -> Result<WebIdentity, TokenFault> {
        let claims = &token.claims;
        if token.issuer() != Some(&*self.issuer) {
            return Err(TokenFault::Issuer);
        }
        let expires_s = claims.moment("exp");
        let expires_s = expires_s.ok_or(TokenFault::Claim("the claim exp is needed"))?;
        if expires_s.saturating_add(TOLERANCE_S) <= now_s {
            return Err(TokenFault::Expired);
        }
        let (audience, others) = self.audience(claims)?;
        check_moments(claims, expires_s, now_s)?;
        if claims.has("events") {
            return Err(TokenFault::Claim(
                "a token with the claim events is none of a sign-in",
            ));
        }
        let subject = claims.text("sub");
        let needed = "the claim sub is needed, of at most 255 bytes";
        let subject = subject.ok_or(TokenFault::Claim(needed))?;
        let kept = self.kept(claims, &others)?;
        self.check_signature(token, keys)?;
        Ok(WebIdentity {
            account: self.account.clone(),
            provider: self.issuer.clone(),
            subject: subject.into(),
            audience,
            claims: kept,
        })
    }

    /// The client id that the token is for, and the values of `ISSUER:oaud`.
    fn audience(&self, claims: &Members) -> Result<(Box<str>, Vec<Box<str>>), TokenFault> {
        let rule = "the claim aud is needed: one text or a list of at most 16";
        let audiences = claims.audiences().ok_or(TokenFault::Claim(rule))?;
        let (audience, others) = if claims.has("azp") {
            let rule = "the claim azp is no text of at most 255 bytes";
            let party = claims.text("azp").ok_or(TokenFault::Claim(rule))?;
            (Box::from(party), audiences)
        } else {
            let mut audiences = audiences.into_iter();
            match (audiences.next(), audiences.next()) {
                (Some(sole), None) => (sole, Vec::new()),
                _ => return Err(TokenFault::Claim("several audiences need the claim azp")),
            }
        };
        if !self.client_ids.contains(&audience) {
            return Err(TokenFault::Audience);
        }
        Ok((audience, others))
    }

    /// The claims that policies and trusts ask for.
    fn kept(&self, claims: &Members, audiences: &[Box<str>]) -> Result<Vec<Claim>, TokenFault> {
        let one = |name: &str| Claim {
            name: name.into(),
            values: match name {
                "oaud" => audiences.to_vec(),
                other => claims.values(other),
            },
        };
        let kept: Vec<_> = self.claims.iter().map(|name| one(name)).collect();
        let bytes: usize = kept
            .iter()
            .flat_map(|claim| &claim.values)
            .map(|it| it.len())
            .sum();
        if bytes > WEB_CLAIMS_BYTES_MAX {
            let rule = "the claims that policies name have more than 1024 bytes";
            return Err(TokenFault::Claim(rule));
        }
        Ok(kept)
    }

    fn check_signature(
        &self,
        token: &Unverified<'_>,
        keys: Option<&KeySet>,
    ) -> Result<(), TokenFault> {
        let Header { algorithm, key_id } = &token.header;
        if !self.algorithms.has(*algorithm) {
            return Err(TokenFault::Malformed(
                "the header's alg is none of the provider's",
            ));
        }
        let keys = keys.ok_or(TokenFault::NoKeys)?;
        let mut fitting = keys.fitting(key_id.as_deref(), *algorithm, &self.algorithms);
        let key = fitting.next().ok_or(TokenFault::UnknownKey)?;
        if fitting.next().is_some() {
            return Err(TokenFault::AmbiguousKey);
        }
        let mut validation = Validation::new(*algorithm);
        // The library would look at the system's clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        // Compared above, where `azp` counts.
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&*token.issuer]);
        let verified = decode::<IgnoredAny>(token.token, &key.key, &validation);
        verified.map(|_| ()).map_err(|_| TokenFault::Signature)
    }
}

/// Checks the moments of a token that has not ended.
fn check_moments(claims: &Members, expires_s: u64, now_s: u64) -> Result<(), TokenFault> {
    let rule = TokenFault::Claim;
    let issued_s = claims
        .moment("iat")
        .ok_or_else(|| rule("the claim iat is needed"))?;
    let latest = now_s.saturating_add(TOLERANCE_S);
    if issued_s > latest {
        return Err(rule("the claim iat is in the future"));
    }
    if expires_s.saturating_sub(issued_s) > LIFE_S_MAX {
        return Err(rule("the token is for more than 24 hours"));
    }
    match claims.moment("nbf") {
        Some(from) if from > latest => Err(rule("the claim nbf is in the future")),
        None if claims.has("nbf") => Err(rule("the claim nbf is no moment")),
        Some(_) | None => Ok(()),
    }
}

/// The one issuer whose tokens may leave out `https://`. Source: OpenID Connect Core 1.0, section 15.6.2, "Google".
const SHORT_ISSUER: &str = "accounts.google.com";

/// The most by which a provider's clock may be off, in seconds.
const TOLERANCE_S: u64 = 60;

/// The longest life of a token, in seconds: one that was stolen is worth no more.
const LIFE_S_MAX: u64 = 24 * 60 * 60;

/// Longest header of a token.
const HEADER_BYTES_MAX: usize = 4096;
