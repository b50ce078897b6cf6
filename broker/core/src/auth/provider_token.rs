//! Tokens from OpenID providers: parsing, verification, and additional rules for the id tokens of console accounts.

use crate::auth::provider::{self, KeySet, Provider};
use crate::auth::sign_in::{Claim, WebIdentity};
use crate::limits::{WEB_CLAIMS_BYTES_MAX, WEB_TOKEN_BYTES_MAX};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use codec::sts::SessionClaims;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, Validation, decode};
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// A token whose header and claims have been parsed but not verified.
pub struct Unverified<'t> {
    token: &'t str,
    header: TokenHeader,
    pub(crate) claims: TokenMembers,
    issuer: String,
}

impl<'t> Unverified<'t> {
    /// Parses a token in compact serialization (RFC 7515, section 7.1).
    pub fn read(token: &'t str) -> Result<Self, TokenFault> {
        let malformed = TokenFault::Malformed;
        if token.len() > WEB_TOKEN_BYTES_MAX {
            return Err(malformed("the token is too long"));
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed("the token does not have three parts"));
        };
        let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
        let header = decoded(header).filter(|it| it.len() <= HEADER_BYTES_MAX);
        let header = header.ok_or_else(|| malformed("the header is not base64url, or too long"))?;
        let header = TokenHeader::read(&header)?;
        let claims = decoded(claims).and_then(|json| TokenMembers::read(&json));
        let claims =
            claims.ok_or_else(|| malformed("the claims are not a JSON object in base64url"))?;
        let issuer = claims
            .text("iss")
            .ok_or(TokenFault::Claim("the claim iss is missing or invalid"))?;
        let issuer = issuer.to_owned();
        Ok(Self {
            token,
            header,
            claims,
            issuer,
        })
    }

    /// Returns the issuer without `https://`. Returns `None` if no provider can have this issuer.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        let issuer = self.issuer.strip_prefix("https://");
        issuer.or_else(|| (self.issuer == SHORT_ISSUER).then_some(SHORT_ISSUER))
    }

    /// Returns the unverified `iss` claim.
    #[must_use]
    pub fn claimed_issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the client to which the token was issued, if the token names it. The claim is `azp` or, in access
    /// tokens, `client_id` (RFC 9068, section 2.2).
    fn party(&self) -> Result<Option<&str>, TokenFault> {
        let of = |name, rule| match self.claims.has(name) {
            true => self
                .claims
                .text(name)
                .map(Some)
                .ok_or(TokenFault::Claim(rule)),
            false => Ok(None),
        };
        let party = of("azp", "the claim azp is not a text of at most 255 bytes")?;
        if !self.header.is_access_token {
            return Ok(party);
        }
        let client = of(
            "client_id",
            "the claim client_id is not a text of at most 255 bytes",
        )?;
        match (party, client) {
            (Some(party), Some(client)) if party != client => {
                Err(TokenFault::Claim("the claims azp and client_id differ"))
            }
            (party, client) => Ok(party.or(client)),
        }
    }

    /// Returns the unverified `sub` claim.
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
    /// Verifies a token of this provider at the given time, in seconds since 1970 UTC. Checks the expiry, the audience
    /// and the other claims first, and the signature last.
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
        let expires_s =
            expires_s.ok_or(TokenFault::Claim("the claim exp is missing or invalid"))?;
        if expires_s.saturating_add(TOLERANCE_S) <= now_s {
            return Err(TokenFault::Expired);
        }
        let (audience, others) = self.audience(token)?;
        check_moments(claims, expires_s, now_s)?;
        if claims.has("events") {
            return Err(TokenFault::Claim(
                "a token with the claim events is not one of a sign-in",
            ));
        }
        let subject = claims.text("sub");
        let needed = "the claim sub is not a text of at most 255 bytes";
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

    /// Returns the client id for which the token is accepted, and the values of the condition key `ISSUER:oaud`.
    fn audience(&self, token: &Unverified<'_>) -> Result<(Box<str>, Vec<Box<str>>), TokenFault> {
        let claims = &token.claims;
        let rule = "the claim aud is not a text or a list of at most 16";
        let audiences = claims.audiences().ok_or(TokenFault::Claim(rule))?;
        let (audience, others) = if let Some(party) = token.party()? {
            (Box::from(party), audiences)
        } else {
            let mut audiences = audiences.into_iter();
            match (audiences.next(), audiences.next()) {
                (Some(sole), None) => (sole, Vec::new()),
                _ => {
                    return Err(TokenFault::Claim("several audiences require the claim azp"));
                }
            }
        };
        if !self.client_ids.contains(&audience) {
            return Err(TokenFault::Audience);
        }
        Ok((audience, others))
    }

    fn kept(
        &self,
        claims: &TokenMembers,
        audiences: &[Box<str>],
    ) -> Result<Vec<Claim>, TokenFault> {
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
            let rule = "the claims that policies name exceed 1024 bytes";
            return Err(TokenFault::Claim(rule));
        }
        Ok(kept)
    }

    fn check_signature(
        &self,
        token: &Unverified<'_>,
        keys: Option<&KeySet>,
    ) -> Result<(), TokenFault> {
        let TokenHeader {
            algorithm, key_id, ..
        } = &token.header;
        if !self.algorithms.has(*algorithm) {
            return Err(TokenFault::Malformed(
                "the header's alg is not one of the provider's",
            ));
        }
        let keys = keys.ok_or(TokenFault::NoKeys)?;
        let mut fitting = keys.fitting(key_id.as_deref(), *algorithm, &self.algorithms);
        let key = fitting.next().ok_or(TokenFault::UnknownKey)?;
        if fitting.next().is_some() {
            return Err(TokenFault::AmbiguousKey);
        }
        let mut validation = Validation::new(*algorithm);
        // By default, the library would read the system clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        // The audience was checked above, together with `azp`.
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&*token.issuer]);
        let verified = decode::<IgnoredAny>(token.token, &key.key, &validation);
        verified.map(|_| ()).map_err(|_| TokenFault::Signature)
    }
}

fn check_moments(claims: &TokenMembers, expires_s: u64, now_s: u64) -> Result<(), TokenFault> {
    let rule = TokenFault::Claim;
    let issued_s = claims
        .moment("iat")
        .ok_or_else(|| rule("the claim iat is missing or invalid"))?;
    let latest = now_s.saturating_add(TOLERANCE_S);
    if issued_s > latest {
        return Err(rule("the claim iat is in the future"));
    }
    if expires_s.saturating_sub(issued_s) > LIFE_S_MAX {
        return Err(rule("the token is valid for more than 24 hours"));
    }
    match claims.moment("nbf") {
        Some(from) if from > latest => Err(rule("the claim nbf is in the future")),
        None if claims.has("nbf") => Err(rule("the claim nbf is not a time")),
        Some(_) | None => Ok(()),
    }
}

/// The only issuer that may omit `https://`. Source: OpenID Connect Core 1.0, section 15.6.2, "Google".
const SHORT_ISSUER: &str = "accounts.google.com";

/// Maximum clock skew of a provider, in seconds.
const TOLERANCE_S: u64 = 60;

/// Maximum lifetime of a token in seconds. Limits how long a stolen token can be used.
const LIFE_S_MAX: u64 = 24 * 60 * 60;

const HEADER_BYTES_MAX: usize = 4096;

/// The members of a JSON object. Duplicate names are rejected, because two parsers could read different values.
pub(crate) struct TokenMembers(BTreeMap<String, Value>);

pub(crate) struct TokenHeader {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    is_access_token: bool,
}

impl TokenHeader {
    /// Parses a header. Rejects members that supply a key and members whose meaning is not supported.
    pub(crate) fn read(json: &[u8]) -> Result<Self, TokenFault> {
        let malformed = TokenFault::Malformed;
        let members =
            TokenMembers::read(json).ok_or_else(|| malformed("the header is not a JSON object"))?;
        if FORBIDDEN.iter().any(|name| members.has(name)) {
            return Err(malformed(
                "the header has crit, jku, jwk, x5u, b64, enc or zip",
            ));
        }
        let text = |name, fault| match members.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(malformed(fault)),
        };
        let kind = text("typ", "the header's typ is not a text")?.unwrap_or("JWT");
        let kind = kind.strip_prefix("application/").unwrap_or(kind);
        if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
            return Err(malformed("the header's typ is not JWT"));
        }
        let algorithm = text("alg", "the header's alg is not a text")?;
        let algorithm = algorithm.and_then(provider::named);
        let algorithm =
            algorithm.ok_or_else(|| malformed("the header's alg is not a public-key signature"))?;
        let key_id = text("kid", "the header's kid is not a text")?.map(str::to_owned);
        Ok(Self {
            algorithm,
            key_id,
            is_access_token: ACCESS_TOKEN.eq_ignore_ascii_case(kind),
        })
    }
}

impl TokenMembers {
    pub(crate) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let text = self.0.get(name)?.as_str()?;
        (1..=CLAIM_BYTES_MAX).contains(&text.len()).then_some(text)
    }

    /// Returns the value of a member as a time in whole seconds.
    pub(crate) fn moment(&self, name: &str) -> Option<u64> {
        let number = self.0.get(name)?;
        number.as_u64().or_else(|| {
            let seconds = number
                .as_f64()
                .filter(|it| (0.0..MOMENT_MAX).contains(it))?;
            // Only the fraction is lost: the number is below 2⁵³, so its integer part is exact.
            format!("{}", seconds.trunc()).parse().ok()
        })
    }

    /// Returns all values of a claim as strings. Returns an empty list if the claim is absent, an object, too long, or
    /// a list that contains anything other than strings, numbers and booleans.
    pub(crate) fn values(&self, name: &str) -> Vec<Box<str>> {
        let known = self
            .0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let values = match known.map(|(_, value)| value) {
            None | Some(Value::Null | Value::Object(_)) => return Vec::new(),
            Some(Value::Array(list)) if list.len() > CLAIM_VALUES_MAX => return Vec::new(),
            Some(Value::Array(list)) => list.iter().map(scalar).collect(),
            Some(value) => Some(vec![scalar(value)]).and_then(|all| all.into_iter().collect()),
        };
        values.unwrap_or_default()
    }

    fn has_value(&self, name: &str, text: &str) -> bool {
        match self.0.get(name) {
            Some(Value::String(only)) => only == text,
            Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(text)),
            Some(_) | None => false,
        }
    }

    /// Returns `true` if a claim is `true`. Some providers send the string instead of the boolean.
    fn is_true(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Value::Bool(true))) || self.has_value(name, "true")
    }

    fn audiences(&self) -> Option<Vec<Box<str>>> {
        let audience = self.0.get("aud")?;
        let Some(list) = audience.as_array() else {
            return Some(vec![self.text("aud")?.into()]);
        };
        if !(1..=CLAIM_VALUES_MAX).contains(&list.len()) {
            return None;
        }
        let texts = list
            .iter()
            .map(|value| scalar(value).filter(|_| value.is_string()));
        texts.collect()
    }
}

impl TokenMembers {
    /// Reads the session's tags and source identity. The tags are either nested as
    /// `{"principal_tags": {"KEY": ["VALUE"]}, "transitive_tag_keys": ["KEY"]}` or flat, with one claim per tag.
    pub(crate) fn session(&self) -> Result<SessionClaims, TokenFault> {
        let mut tags = Vec::new();
        let mut transitive = Vec::new();
        for (name, value) in &self.0 {
            match name.strip_prefix(TAGS) {
                Some("") => nested(value, &mut tags, &mut transitive),
                Some("/transitive_tag_keys") => add_texts(value, &mut transitive),
                Some(flat) => match flat.strip_prefix("/principal_tags/") {
                    Some(key) => add_tag(key, value, &mut tags),
                    None => Some(()),
                },
                None => Some(()),
            }
            .ok_or(TAGS_RULE)?;
        }
        let source_identity = match self.0.get(SOURCE_IDENTITY) {
            None => None,
            Some(value) => Some(value.as_str().ok_or(SOURCE_IDENTITY_RULE)?),
        };
        let tags = SessionClaims::checked(tags, transitive, None).map_err(|_| TAGS_RULE)?;
        let of_identity = SessionClaims::checked(Vec::new(), Vec::new(), source_identity);
        let of_identity = of_identity.map_err(|_| SOURCE_IDENTITY_RULE)?;
        Ok(SessionClaims {
            source_identity: of_identity.source_identity,
            ..tags
        })
    }
}

/// Adds the tags of a nested claim. Returns `None` if the claim has a different form.
fn nested(
    value: &Value,
    tags: &mut Vec<(String, String)>,
    transitive: &mut Vec<String>,
) -> Option<()> {
    for (name, value) in value.as_object()? {
        match name.as_str() {
            "principal_tags" => {
                let mut all = value.as_object()?.iter();
                all.try_for_each(|(key, value)| add_tag(key, value, tags))?;
            }
            "transitive_tag_keys" => add_texts(value, transitive)?,
            _ => return None,
        }
    }
    Some(())
}

/// Adds a tag. Its value must be a string or a list that contains one string.
fn add_tag(key: &str, value: &Value, tags: &mut Vec<(String, String)>) -> Option<()> {
    let value = match value.as_array().map(Vec::as_slice) {
        Some([sole]) => sole.as_str()?,
        Some(_) => return None,
        None => value.as_str()?,
    };
    tags.push((key.to_owned(), value.to_owned()));
    Some(())
}

fn add_texts(list: &Value, texts: &mut Vec<String>) -> Option<()> {
    let mut all = list.as_array()?.iter();
    all.try_for_each(|text| {
        texts.push(text.as_str()?.to_owned());
        Some(())
    })
}

/// Converts a string, number or boolean to the text that conditions are tested against.
fn scalar(value: &Value) -> Option<Box<str>> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (text.len() <= CLAIM_BYTES_MAX).then(|| text.into())
}

impl<'de> Deserialize<'de> for TokenMembers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = TokenMembers;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TokenMembers, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a name twice"));
            }
        }
        Ok(TokenMembers(members))
    }
}

/// Header members that supply a key or change the meaning of the token.
const FORBIDDEN: &[&str] = &["crit", "jku", "jwk", "x5u", "b64", "enc", "zip"];

/// Accepted token types, for sign-in tokens and access tokens (RFC 9068). Logout tokens have a different type.
const TYPES: &[&str] = &["JWT", ACCESS_TOKEN];
const ACCESS_TOKEN: &str = "at+jwt";

/// The claim that contains session tags. Source: IAM User Guide, "Pass session tags in AWS STS", "InTransit session
/// tags using AssumeRoleWithWebIdentity".
const TAGS: &str = "https://aws.amazon.com/tags";

const TAGS_RULE: TokenFault =
    TokenFault::Claim("the claim https://aws.amazon.com/tags has no valid session tags");

/// The claim that contains the source identity. Source: IAM User Guide, "Monitor and control actions taken with assumed
/// roles".
const SOURCE_IDENTITY: &str = "https://aws.amazon.com/source_identity";

const SOURCE_IDENTITY_RULE: TokenFault =
    TokenFault::Claim("the claim https://aws.amazon.com/source_identity is invalid");

/// Maximum length of a claim that is evaluated, in bytes. Source: STS API Reference, "AssumeRoleWithWebIdentity",
/// `SubjectFromWebIdentityToken`, *maximum length of 255*.
const CLAIM_BYTES_MAX: usize = 255;

const CLAIM_VALUES_MAX: usize = 16;

/// Exclusive upper bound for times, in seconds. Floats represent integers exactly up to 2⁵³.
const MOMENT_MAX: f64 = 9_007_199_254_740_992.0;

/// The reason why a token is refused. Messages never contain parts of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// The text is not a token, or its header requires an unsupported feature. Contains a message for the caller.
    Malformed(&'static str),
    /// The issuer is unknown.
    Issuer,
    /// The token has expired.
    Expired,
    /// The token was issued for another client.
    Audience,
    /// The named claim is missing or invalid.
    Claim(&'static str),
    /// No key of the provider has the token's key id and algorithm. The provider may have published a newer key.
    UnknownKey,
    /// The keys of the provider have not been loaded.
    NoKeys,
    /// The token does not name a key, and several keys support its algorithm.
    AmbiguousKey,
    /// The signature is invalid, or the provider may not use its algorithm.
    Signature,
}

impl TokenFault {
    /// Returns `true` if the token could be valid with newer keys. In that case, its issuer, audience and expiry have
    /// already been verified.
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
            Self::Audience => "the audience is not a client id of the provider",
            Self::UnknownKey => "no key of the provider matches the token's header",
            Self::NoKeys => "no keys of the provider are known",
            Self::AmbiguousKey => "the token names no key, and several match",
            Self::Signature => "the signature is not valid",
        })
    }
}

// Requirements for the id tokens of console accounts, in addition to the rules for all tokens.

/// The claims that an id token must contain.
#[derive(Clone, Copy, Debug)]
pub struct WantedClaims<'w> {
    /// The client id that requested the token.
    pub client_id: &'w str,
    /// The nonce of this sign-in.
    pub nonce: &'w str,
    /// The claim that grants access. Its value must be a string or a list of strings.
    pub claim: &'w str,
    /// The value that the claim must equal or contain.
    pub value: &'w str,
}

/// The reason why an id token is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountFault {
    /// The token is not a valid token of the provider for this client.
    Token(TokenFault),
    /// The token was issued for another sign-in.
    Nonce,
    /// The token is valid, but its subject has no access.
    Stranger(Box<str>),
    /// The token is valid, but the email address of its subject is not verified.
    Unchecked(Box<str>),
}

impl Provider {
    /// Verifies an id token of this provider at the given time, in seconds since 1970 UTC, and returns its subject. An
    /// `email` claim grants access only if `email_verified` is set, because many providers let users enter any address.
    ///
    /// Source: OpenID Connect Core 1.0, section 3.1.3.7, "ID Token Validation", and section 5.1, `email_verified`.
    pub fn verify_account(
        &self,
        token: &Unverified<'_>,
        keys: Option<&KeySet>,
        wanted: &WantedClaims<'_>,
        now_s: u64,
    ) -> Result<Box<str>, AccountFault> {
        let console = Self {
            client_ids: vec![wanted.client_id.into()],
            claims: Vec::new(),
            ..self.clone()
        };
        let verified = console.verify(token, keys, now_s);
        let subject = verified.map_err(AccountFault::Token)?.subject;
        let claims = &token.claims;
        // A client that appears only in `azp` is not part of the audience.
        let mut audiences = claims.audiences().into_iter().flatten();
        if !audiences.any(|one| *one == *wanted.client_id) {
            return Err(AccountFault::Token(TokenFault::Audience));
        }
        let nonce = claims.text("nonce").unwrap_or_default();
        if verify_slices_are_equal(nonce.as_bytes(), wanted.nonce.as_bytes()).is_err() {
            return Err(AccountFault::Nonce);
        }
        if !claims.has_value(wanted.claim, wanted.value) {
            return Err(AccountFault::Stranger(subject));
        }
        if wanted.claim == "email" && !claims.is_true("email_verified") {
            return Err(AccountFault::Unchecked(subject));
        }
        Ok(subject)
    }
}

impl fmt::Display for AccountFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(fault) => fault.fmt(out),
            Self::Nonce => out.write_str("the token belongs to another sign-in: its nonce differs"),
            Self::Stranger(_) => out.write_str("the claim has another value"),
            Self::Unchecked(_) => out.write_str("the claim email_verified is not true"),
        }
    }
}
