//! The parameters of AssumeRole and AssumeRoleWithWebIdentity.

use crate::control::{TAGS_MAX, Tag};
use crate::sts::POLICY_ARNS_MAX;
use crate::sts::error::{Error, ErrorKind};
use crate::sts::form::{
    EXTERNAL_IDS, FormParameters, NAMES, checked_duration, checked_length, checked_policy,
    checked_text, invalid,
};
use crate::sts::request::{FormRules, no_factors};
use std::fmt;
use std::ops::RangeInclusive;

/// The parameters of AssumeRole. Source: AWS STS API Reference, "AssumeRole".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssumeRole {
    /// The role to assume.
    pub role: RoleArn,
    /// Name of the session: 2 to 64 characters of `[a-zA-Z0-9_+=,.@-]`.
    pub session_name: Box<str>,
    /// Lifetime of the credentials in seconds. `None` means one hour, or the role's maximum if that is shorter.
    pub duration_s: Option<u32>,
    /// Session policy, which restricts the role's permissions: 1 to 2,048 characters of JSON. Not parsed here.
    pub policy: Option<Box<str>>,
    /// ARNs of policies that restrict the role's permissions, at most [`POLICY_ARNS_MAX`].
    pub policy_arns: Vec<Box<str>>,
    /// A secret that the caller shares with the owner of the role: 2 to 1,224 characters.
    pub external_id: Option<Box<str>>,
    /// Session tags, at most 50. No two keys may differ only in case.
    pub tags: Vec<Tag>,
    /// Keys of `tags` that the session passes on when it assumes further roles.
    pub transitive_tag_keys: Vec<Box<str>>,
    /// Source identity, which names the person or program that uses the session: 2 to 64 of the characters permitted in
    /// session names.
    pub source_identity: Option<Box<str>>,
}

impl AssumeRole {
    /// Creates a request without optional parameters.
    #[must_use]
    pub fn new(role: RoleArn, session_name: &str) -> Self {
        Self {
            role,
            session_name: session_name.into(),
            duration_s: None,
            policy: None,
            policy_arns: Vec::new(),
            external_id: None,
            tags: Vec::new(),
            transitive_tag_keys: Vec::new(),
            source_identity: None,
        }
    }
}

/// A request for AssumeRoleWithWebIdentity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssumeRoleWithWebIdentity {
    /// The token of the identity provider.
    pub token: WebToken,
    /// The session that is requested. Options that only AssumeRole supports are not set.
    pub role: AssumeRole,
}

/// Session parameters, taken either from an AssumeRole request or from the token of an AssumeRoleWithWebIdentity
/// request. Source: IAM User Guide, "Pass session tags in AWS STS", "Monitor and control actions taken with assumed
/// roles".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionClaims {
    /// See [`AssumeRole::tags`].
    pub tags: Vec<Tag>,
    /// See [`AssumeRole::transitive_tag_keys`].
    pub transitive_tag_keys: Vec<Box<str>>,
    /// See [`AssumeRole::source_identity`].
    pub source_identity: Option<Box<str>>,
}

impl SessionClaims {
    /// Validates the parameters by the rules of AssumeRole, with the same errors.
    pub fn checked(
        tags: Vec<(String, String)>,
        transitive: Vec<String>,
        source_identity: Option<&str>,
    ) -> Result<Self, Error> {
        let tags = tags_within(tags.into_iter().map(Ok))?;
        let source_identity =
            source_identity.map(|text| checked_text("sourceIdentity", Some(text), 2..=64, &NAMES));
        Ok(Self {
            transitive_tag_keys: transitive_within(transitive, &tags)?,
            tags,
            source_identity: source_identity.transpose()?,
        })
    }
}

impl AssumeRole {
    /// Adds the parameters from a provider's token to the session.
    #[must_use]
    pub fn with_claims(&self, claims: SessionClaims) -> Self {
        Self {
            tags: claims.tags,
            transitive_tag_keys: claims.transitive_tag_keys,
            source_identity: claims.source_identity,
            ..self.clone()
        }
    }
}

/// A token of an OpenID provider, 4 to 20,000 characters long. Debug output hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebToken(Box<str>);

impl WebToken {
    /// Returns the token as text. Use this only for verification.
    #[must_use]
    pub const fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WebToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<redacted>")
    }
}

/// The ARN of a role: `arn:aws:iam::<account>:role/<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleArn {
    text: Box<str>,
}

impl RoleArn {
    /// Parses the ARN of a role, whose name must have 1 to 64 characters. Returns `None` if it is invalid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (account, name) = split(text)?;
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
        let is_name = (1..=64).contains(&name.len()) && name.bytes().all(legal);
        (is_account && is_name).then(|| Self { text: text.into() })
    }

    /// Returns the ARN as a string slice.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the 12-digit account id.
    #[must_use]
    pub fn account(&self) -> &str {
        split(&self.text).unwrap_or_default().0
    }

    /// Returns the name of the role.
    #[must_use]
    pub fn name(&self) -> &str {
        split(&self.text).unwrap_or_default().1
    }
}

fn split(arn: &str) -> Option<(&str, &str)> {
    arn.strip_prefix("arn:aws:iam::")?.split_once(":role/")
}

pub(crate) fn assume_role(
    form: &mut FormParameters,
    rules: &FormRules,
) -> Result<AssumeRole, Error> {
    no_factors(form)?;
    let session_name = form.take("RoleSessionName");
    let session_name = checked_text("roleSessionName", session_name.as_deref(), 2..=64, &NAMES)?;
    let role = checked_role(form.take("RoleArn").as_deref())?;
    let duration_s = checked_duration(form.take("DurationSeconds").as_deref(), rules)?;
    let policy = form.take("Policy");
    let policy = policy.as_deref().map(checked_policy).transpose()?;
    let policy_arns = checked_policy_arns(form)?;
    let optional = |member, text: Option<String>, chars, letters| {
        let text = text.as_deref();
        text.map(|text| checked_text(member, Some(text), chars, letters))
            .transpose()
    };
    let external_id = form.take("ExternalId");
    let external_id = optional("externalId", external_id, 2..=1224, &EXTERNAL_IDS)?;
    let source_identity = form.take("SourceIdentity");
    let source_identity = optional("sourceIdentity", source_identity, 2..=64, &NAMES)?;
    let tags = checked_tags(form)?;
    let transitive = form.take_list("TransitiveTagKeys", [""]).into_iter();
    let transitive = transitive.map(|[key]| key.unwrap_or_default());
    let transitive_tag_keys = transitive_within(transitive.collect(), &tags)?;
    if !form
        .take_list("ProvidedContexts", ["ProviderArn", "ContextAssertion"])
        .is_empty()
    {
        let message = "ProvidedContexts is not supported by this server. Leave it out.";
        return Err(Error::new(ErrorKind::InvalidParameterValue, message));
    }
    Ok(AssumeRole {
        role,
        session_name,
        duration_s,
        policy,
        policy_arns,
        external_id,
        tags,
        transitive_tag_keys,
        source_identity,
    })
}

pub(crate) fn assume_role_with_web_identity(
    form: &mut FormParameters,
    rules: &FormRules,
) -> Result<AssumeRoleWithWebIdentity, Error> {
    let session_name = form.take("RoleSessionName");
    let session_name = checked_text("roleSessionName", session_name.as_deref(), 2..=64, &NAMES)?;
    let role = checked_role(form.take("RoleArn").as_deref())?;
    let Some(token) = form.take("WebIdentityToken") else {
        return Err(invalid("Value null at 'webIdentityToken'", "not be null"));
    };
    checked_length("Value at 'webIdentityToken'", &token, 4..=20_000)?;
    let duration_s = checked_duration(form.take("DurationSeconds").as_deref(), rules)?;
    let policy = form.take("Policy");
    let policy = policy.as_deref().map(checked_policy).transpose()?;
    let policy_arns = checked_policy_arns(form)?;
    if form.take("ProviderId").is_some_and(|id| !id.is_empty()) {
        let message = "ProviderId is for providers of OAuth 2.0, which this server does not have. Leave it out.";
        return Err(Error::new(ErrorKind::InvalidParameterValue, message));
    }
    Ok(AssumeRoleWithWebIdentity {
        token: WebToken(token.into()),
        role: AssumeRole {
            duration_s,
            policy,
            policy_arns,
            ..AssumeRole::new(role, &session_name)
        },
    })
}

/// Validates `RoleArn`, which must have 20 to 2,048 characters. Source: model, shape `arnType`.
fn checked_role(text: Option<&str>) -> Result<RoleArn, Error> {
    let Some(text) = text else {
        return Err(invalid("Value null at 'roleArn'", "not be null"));
    };
    checked_length("Value at 'roleArn'", text, 20..=2048)?;
    RoleArn::parse(text).ok_or_else(|| {
        let message = "RoleArn must be arn:aws:iam::ACCOUNT:role/NAME, with a name of 1 to 64 characters and no path.";
        Error::new(ErrorKind::ValidationError, message)
    })
}

fn checked_policy_arns(form: &mut FormParameters) -> Result<Vec<Box<str>>, Error> {
    let entries = form.take_list("PolicyArns", ["arn"]);
    if entries.len() > POLICY_ARNS_MAX {
        let broken = format!("have length less than or equal to {POLICY_ARNS_MAX}");
        return Err(invalid("Value at 'policyArns'", &broken));
    }
    let entries = entries.into_iter().map(|[arn]| {
        let arn = arn.unwrap_or_default();
        checked_length("Value at 'policyArns.member.arn'", &arn, 20..=2048)?;
        Ok(arn.into())
    });
    entries.collect()
}

/// Reads and validates `Tags`. Source: model, shapes `tagKeyType`, `tagValueType`; IAM User Guide, "Rules for tagging
/// in IAM and AWS STS".
fn checked_tags(form: &mut FormParameters) -> Result<Vec<Tag>, Error> {
    let entries = form.take_list("Tags", ["Key", "Value"]).into_iter();
    let entries = entries.map(|[key, value]| {
        let needed = |value| invalid(value, "not be null");
        let key = key.ok_or_else(|| needed("Value null at 'tags.member.key'"))?;
        let value = value.ok_or_else(|| needed("Value null at 'tags.member.value'"))?;
        Ok((key, value))
    });
    tags_within(entries)
}

fn tags_within(
    entries: impl ExactSizeIterator<Item = Result<(String, String), Error>>,
) -> Result<Vec<Tag>, Error> {
    if entries.len() > TAGS_MAX {
        let broken = format!("have length less than or equal to {TAGS_MAX}");
        return Err(invalid("Value at 'tags'", &broken));
    }
    let mut tags: Vec<Tag> = Vec::with_capacity(entries.len());
    for entry in entries {
        let (key, value) = entry?;
        checked_tag_text("Value at 'tags.member.key'", &key, 1..=128)?;
        checked_tag_text("Value at 'tags.member.value'", &value, 0..=256)?;
        if key
            .get(..4)
            .is_some_and(|begin| begin.eq_ignore_ascii_case("aws:"))
        {
            let message = "Tag keys must not begin with aws:, which is reserved.";
            return Err(Error::new(ErrorKind::InvalidParameterValue, message));
        }
        if tags.iter().any(|tag| tag.key.eq_ignore_ascii_case(&key)) {
            let message =
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
            return Err(Error::new(ErrorKind::InvalidParameterValue, message));
        }
        tags.push(Tag {
            key: key.into(),
            value: value.into(),
        });
    }
    Ok(tags)
}

fn checked_tag_text(value: &str, text: &str, chars: RangeInclusive<usize>) -> Result<(), Error> {
    checked_length(value, text, chars)?;
    let legal = |char: char| char.is_alphanumeric() || char == ' ' || "_.:/=+-@".contains(char);
    if text.chars().all(legal) {
        return Ok(());
    }
    let broken = "satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*";
    Err(invalid(value, broken))
}

fn transitive_within(keys: Vec<String>, tags: &[Tag]) -> Result<Vec<Box<str>>, Error> {
    let keys = keys.into_iter().map(|key| {
        if !tags.iter().any(|tag| tag.key.eq_ignore_ascii_case(&key)) {
            let message =
                "The specified transitive tag key must be included in the requested tags.";
            return Err(Error::new(ErrorKind::InvalidParameterValue, message));
        }
        Ok(key.into())
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::{AssumeRole, RoleArn, SessionClaims};

    #[test]
    fn a_role_has_its_arn_and_the_parts_of_it() {
        let text = "arn:aws:iam::123456789012:role/camera";
        let role = RoleArn::parse(text).unwrap();
        let parts = (role.as_str(), role.account(), role.name());
        assert_eq!(parts, (text, "123456789012", "camera"));
    }

    #[test]
    fn a_session_takes_what_its_token_claims() {
        let role = RoleArn::parse("arn:aws:iam::123456789012:role/camera").unwrap();
        let asked = AssumeRole::new(role, "session");
        let tags = vec![("home".to_owned(), "7".to_owned())];
        let claims = SessionClaims::checked(tags, vec!["home".to_owned()], Some("mary")).unwrap();
        let expected = AssumeRole {
            tags: claims.tags.clone(),
            transitive_tag_keys: vec!["home".into()],
            source_identity: Some("mary".into()),
            ..asked.clone()
        };
        assert_eq!(expected.tags.len(), 1);
        assert_eq!(asked.with_claims(claims), expected);
    }
}
