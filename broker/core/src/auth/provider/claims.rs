//! The header and the claims of a token, read before anybody vouches for them.

use crate::auth::provider::fault::TokenFault;
use codec::sts::SessionClaims;
use jsonwebtoken::Algorithm;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The members of a JSON object. A name that is there twice is refused: two readers might see different values.
pub(crate) struct Members(BTreeMap<String, Value>);

/// The header, as far as it is used.
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
}

impl Header {
    /// Reads a header. What would make the token bring its own keys, or mean something that is not done here, is
    /// refused.
    pub(crate) fn read(json: &[u8]) -> Result<Self, TokenFault> {
        let malformed = TokenFault::Malformed;
        let members =
            Members::read(json).ok_or_else(|| malformed("the header is no JSON object"))?;
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
        let algorithm = algorithm.and_then(super::named);
        let algorithm = algorithm
            .ok_or_else(|| malformed("the header's alg is no signature with a public key"))?;
        let key_id = text("kid", "the header's kid is no text")?.map(str::to_owned);
        Ok(Self { algorithm, key_id })
    }
}

impl Members {
    pub(crate) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A text that is not empty and not too long.
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
            // Cannot lose anything but the fraction: it is below 2⁵³.
            format!("{}", seconds.trunc()).parse().ok()
        })
    }

    /// All values of a claim as texts; none for one that is absent, an object, a list with something else than texts,
    /// numbers and truths, or too long.
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
    pub(crate) fn has_value(&self, name: &str, text: &str) -> bool {
        match self.0.get(name) {
            Some(Value::String(only)) => only == text,
            Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(text)),
            Some(_) | None => false,
        }
    }

    /// Whether a claim is `true`, as a truth or, since some providers write it so, as a text.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Value::Bool(true))) || self.has_value(name, "true")
    }

    /// The audiences: one text, or a list of them.
    pub(crate) fn audiences(&self) -> Option<Vec<Box<str>>> {
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

impl Members {
    /// The tags and the source identity of the session: nested, `{"principal_tags": {"KEY": ["VALUE"]},
    /// "transitive_tag_keys": ["KEY"]}`, or flat, each in a claim of its own.
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

/// A text, a number or a truth as a condition compares it.
fn scalar(value: &Value) -> Option<Box<str>> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (text.len() <= CLAIM_BYTES_MAX).then(|| text.into())
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a name twice"));
            }
        }
        Ok(Members(members))
    }
}

/// Members of a header that bring a key along, or change the meaning of the token.
const FORBIDDEN: &[&str] = &["crit", "jku", "jwk", "x5u", "b64", "enc", "zip"];

/// Kinds of tokens: those of sign-ins, and access tokens (RFC 9068). Logout tokens and others have names of their own.
const TYPES: &[&str] = &["JWT", "at+jwt"];

/// Claim of tags of the session. Source: IAM User Guide, "Pass session tags in AWS STS", "Passing session tags using
/// AssumeRoleWithWebIdentity".
const TAGS: &str = "https://aws.amazon.com/tags";

const TAGS_RULE: TokenFault =
    TokenFault::Claim("the claim https://aws.amazon.com/tags has no tags of a session");

/// Claim of the source identity. Source: IAM User Guide, "Monitor and control actions taken with assumed roles".
const SOURCE_IDENTITY: &str = "https://aws.amazon.com/source_identity";

const SOURCE_IDENTITY_RULE: TokenFault =
    TokenFault::Claim("the claim https://aws.amazon.com/source_identity is no source identity");

/// Longest claim that is used, in bytes. Source: STS API Reference, "AssumeRoleWithWebIdentity",
/// `SubjectFromWebIdentityToken`, *maximum length of 255*.
pub(crate) const CLAIM_BYTES_MAX: usize = 255;

/// Most values of one claim.
const CLAIM_VALUES_MAX: usize = 16;

/// Moments below it are whole numbers of a float.
const MOMENT_MAX: f64 = 9_007_199_254_740_992.0;
