//! Tokens of OpenID providers: header and claims, verification, and the requirements on id tokens for accounts of the
//! console.

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

/// A token with its header and claims parsed, all unverified.
pub struct Unverified<'t> {
    token: &'t str,
    header: TokenHeader,
    pub(crate) claims: TokenMembers,
    issuer: String,
}

impl<'t> Unverified<'t> {
    /// Parses a token in the compact form of RFC 7515, section 7.1.
    ///
    /// # Errors
    /// The text is not a token, or is too long.
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
        let header = TokenHeader::read(&header)?;
        let claims = decoded(claims).and_then(|json| TokenMembers::read(&json));
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

    /// Issuer of the token, without `https://`; `None` if it cannot be a provider's.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        let issuer = self.issuer.strip_prefix("https://");
        issuer.or_else(|| (self.issuer == SHORT_ISSUER).then_some(SHORT_ISSUER))
    }

    /// The claim `iss`, unverified.
    #[must_use]
    pub fn claimed_issuer(&self) -> &str {
        &self.issuer
    }

    /// Tags and source identity for the session.
    ///
    /// # Errors
    /// A claim is invalid.
    pub fn session_claims(&self) -> Result<SessionClaims, TokenFault> {
        self.claims.session()
    }

    /// Client that the token was issued to, if stated: the claim `azp`, for access tokens also `client_id`. Source: RFC
    /// 9068, section 2.2.
    fn party(&self) -> Result<Option<&str>, TokenFault> {
        let of = |name, rule| match self.claims.has(name) {
            true => self
                .claims
                .text(name)
                .map(Some)
                .ok_or(TokenFault::Claim(rule)),
            false => Ok(None),
        };
        let party = of("azp", "the claim azp is no text of at most 255 bytes")?;
        if !self.header.is_access_token {
            return Ok(party);
        }
        let client = of(
            "client_id",
            "the claim client_id is no text of at most 255 bytes",
        )?;
        match (party, client) {
            (Some(party), Some(client)) if party != client => {
                Err(TokenFault::Claim("the claims azp and client_id differ"))
            }
            (party, client) => Ok(party.or(client)),
        }
    }

    /// The claim `sub`, unverified.
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
    /// Verifies a token of this provider at a moment, in seconds since 1970 UTC: expiry, audience, other claims, and
    /// the signature last.
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
        let (audience, others) = self.audience(token)?;
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

    /// Client id that the token is for, and the values of `ISSUER:oaud`.
    fn audience(&self, token: &Unverified<'_>) -> Result<(Box<str>, Vec<Box<str>>), TokenFault> {
        let claims = &token.claims;
        let rule = "the claim aud is needed: one text or a list of at most 16";
        let audiences = claims.audiences().ok_or(TokenFault::Claim(rule))?;
        let (audience, others) = if let Some(party) = token.party()? {
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

    /// Claims that policies and trusts test.
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
        let TokenHeader {
            algorithm, key_id, ..
        } = &token.header;
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
        // The library would read the system's clock.
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

/// Checks the times of a token that has not expired.
fn check_moments(claims: &TokenMembers, expires_s: u64, now_s: u64) -> Result<(), TokenFault> {
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

/// The only issuer whose tokens may omit `https://`. Source: OpenID Connect Core 1.0, section 15.6.2, "Google".
const SHORT_ISSUER: &str = "accounts.google.com";

/// Tolerance for a provider's clock, in seconds.
const TOLERANCE_S: u64 = 60;

/// Longest lifetime of a token, in seconds: bounds the use of a stolen one.
const LIFE_S_MAX: u64 = 24 * 60 * 60;

/// Longest header of a token.
const HEADER_BYTES_MAX: usize = 4096;

// Header and claims of a token, parsed but unverified.

/// Members of a JSON object. A repeated name is refused: two readers might see different values.
pub(crate) struct TokenMembers(BTreeMap<String, Value>);

/// Used parts of a header.
pub(crate) struct TokenHeader {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    /// Whether the type is that of RFC 9068.
    is_access_token: bool,
}

impl TokenHeader {
    /// Parses a header. Members that bring the token's own keys or have an unsupported meaning are refused.
    pub(crate) fn read(json: &[u8]) -> Result<Self, TokenFault> {
        let malformed = TokenFault::Malformed;
        let members =
            TokenMembers::read(json).ok_or_else(|| malformed("the header is no JSON object"))?;
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
        let kind = text("typ", "the header's typ is no text")?.unwrap_or("JWT");
        let kind = kind.strip_prefix("application/").unwrap_or(kind);
        if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
            return Err(malformed("the header's typ is not JWT"));
        }
        let algorithm = text("alg", "the header's alg is no text")?;
        let algorithm = algorithm.and_then(provider::named);
        let algorithm = algorithm
            .ok_or_else(|| malformed("the header's alg is no signature with a public key"))?;
        let key_id = text("kid", "the header's kid is no text")?.map(str::to_owned);
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

    /// A text that is neither empty nor too long.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let text = self.0.get(name)?.as_str()?;
        (1..=CLAIM_BYTES_MAX).contains(&text.len()).then_some(text)
    }

    /// A moment in seconds; fractions are cut off.
    pub(crate) fn moment(&self, name: &str) -> Option<u64> {
        let number = self.0.get(name)?;
        number.as_u64().or_else(|| {
            let seconds = number
                .as_f64()
                .filter(|it| (0.0..MOMENT_MAX).contains(it))?;
            // Loses nothing but the fraction: the number is below 2⁵³.
            format!("{}", seconds.trunc()).parse().ok()
        })
    }

    /// All values of a claim as texts; none if it is absent, an object, too long, or a list with anything but texts,
    /// numbers and booleans.
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

    /// Whether a claim of exactly this name is the text, or a list that has it.
    fn has_value(&self, name: &str, text: &str) -> bool {
        match self.0.get(name) {
            Some(Value::String(only)) => only == text,
            Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(text)),
            Some(_) | None => false,
        }
    }

    /// Whether a claim is `true`, as a boolean or, as some providers write it, as a text.
    fn is_true(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Value::Bool(true))) || self.has_value(name, "true")
    }

    /// The audiences: one text, or a list of them.
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
    /// Tags and source identity of the session: nested, `{"principal_tags": {"KEY": ["VALUE"]}, "transitive_tag_keys":
    /// ["KEY"]}`, or flat, each in a claim of its own.
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

/// Adds the tags of one claim; `None` when it has another form.
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

/// Adds a tag: a text, or a list of one.
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

/// A text, number or boolean in the form that conditions compare.
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

/// Members of a header that supply a key, or change the meaning of the token.
const FORBIDDEN: &[&str] = &["crit", "jku", "jwk", "x5u", "b64", "enc", "zip"];

/// Accepted types: sign-ins and access tokens (RFC 9068). Logout tokens and others have types of their own.
const TYPES: &[&str] = &["JWT", ACCESS_TOKEN];
const ACCESS_TOKEN: &str = "at+jwt";

/// Claim of tags of the session. Source: IAM User Guide, "Pass session tags in AWS STS", "InTransit session tags using
/// AssumeRoleWithWebIdentity".
const TAGS: &str = "https://aws.amazon.com/tags";

const TAGS_RULE: TokenFault =
    TokenFault::Claim("the claim https://aws.amazon.com/tags has no tags of a session");

/// Claim of the source identity. Source: IAM User Guide, "Monitor and control actions taken with assumed roles".
const SOURCE_IDENTITY: &str = "https://aws.amazon.com/source_identity";

const SOURCE_IDENTITY_RULE: TokenFault =
    TokenFault::Claim("the claim https://aws.amazon.com/source_identity is no source identity");

/// Longest used claim, in bytes. Source: STS API Reference, "AssumeRoleWithWebIdentity", `SubjectFromWebIdentityToken`,
/// *maximum length of 255*.
const CLAIM_BYTES_MAX: usize = 255;

/// Most values of one claim.
const CLAIM_VALUES_MAX: usize = 16;

/// Bound below which moments are exact as floats.
const MOMENT_MAX: f64 = 9_007_199_254_740_992.0;

/// Reason why a token is refused. No text repeats contents of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// Not a token, or its header requires something unsupported: text for the caller.
    Malformed(&'static str),
    /// Unknown issuer.
    Issuer,
    /// Expired.
    Expired,
    /// Issued for another client.
    Audience,
    /// Named claim is missing or invalid.
    Claim(&'static str),
    /// The provider has no key with this name, or none that fits: it may have a newer one.
    UnknownKey,
    /// The provider's keys are unknown.
    NoKeys,
    /// Several keys fit a token that names none.
    AmbiguousKey,
    /// Invalid signature, or an algorithm that the provider may not use.
    Signature,
}

impl TokenFault {
    /// Whether newer keys of the provider might make the token valid: its issuer, audience and expiry are right.
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

// Accounts of people: what an id token must have for access to the console, beside the rules for every token.

/// Required contents of an id token.
#[derive(Clone, Copy, Debug)]
pub struct WantedClaims<'w> {
    /// Client that requested it.
    pub client_id: &'w str,
    /// Nonce of this sign-in.
    pub nonce: &'w str,
    /// Claim that decides: a text, or a list of texts.
    pub claim: &'w str,
    /// Value that the claim must be or contain.
    pub value: &'w str,
}

/// Reason why an id token is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountFault {
    /// Not a valid token of the provider for this client.
    Token(TokenFault),
    /// Issued for another sign-in.
    Nonce,
    /// Valid, but this subject has no access.
    Stranger(Box<str>),
    /// Valid, but the address of this subject is not verified.
    Unchecked(Box<str>),
}

impl Provider {
    /// Verifies an id token of this provider at a moment, in seconds since 1970 UTC, and returns its subject. An
    /// `email` decides only with `email_verified`: with many providers people may enter any address.
    ///
    /// Source: OpenID Connect Core 1.0, section 3.1.3.7, "ID Token Validation", and section 5.1, `email_verified`.
    ///
    /// # Errors
    /// See [`AccountFault`].
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
        // A party equal to the client does not make the client an audience.
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
