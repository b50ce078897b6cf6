//! Constraints shared by several operations: lengths, patterns and ranges. Errors name the member and its permitted
//! values. Also defines the owned types for validated identifiers.
//!
//! Source: the service models, and the KVS API Reference for each member.

use crate::control::ApiError;
use crate::identifiers::{ArnError, ChannelArn, ChannelName, ClientId};
use std::ops::RangeInclusive;

/// Rules for validating request bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyRules {
    /// Whether to accept only ARNs in the partition `aws`. Some devices are in other partitions, such as `aws-cn`.
    pub strict: bool,
}

/// Default of `MessageTtlSeconds`. Source: API Reference, "SingleMasterConfiguration".
const TTL_SECONDS_DEFAULT: u32 = 60;

/// Valid range of `MessageTtlSeconds`. Source: API Reference, "SingleMasterConfiguration".
const TTL_SECONDS: RangeInclusive<u32> = 5..=120;

/// Maximum length of `CurrentVersion`, in characters. Source: model `kinesisvideo`, shape `Version`.
const VERSION_CHARS_MAX: usize = 64;

/// Maximum length of `NextToken`, in characters. Source: model `kinesisvideo`, shape `NextToken`.
const NEXT_TOKEN_CHARS_MAX: usize = 1024;

pub(crate) fn required<T>(name: &'static str, value: Option<T>) -> Result<T, ApiError> {
    value.ok_or_else(|| ApiError::invalid(format!("{name} is required.")))
}

pub(crate) fn channel_name(name: &'static str, text: &str) -> Result<OwnedName, ApiError> {
    ChannelName::parse(text)
        .map(OwnedName::from)
        .map_err(|_| not_identifier(name))
}

pub(crate) fn client_id(name: &'static str, text: &str) -> Result<OwnedClientId, ApiError> {
    ClientId::parse(text)
        .map(OwnedClientId::from)
        .map_err(|_| not_identifier(name))
}

pub(crate) fn channel_arn(text: Option<&str>, rules: &BodyRules) -> Result<ChannelArn, ApiError> {
    arn("ChannelARN", text, rules)
}

pub(crate) fn arn(
    name: &'static str,
    text: Option<&str>,
    rules: &BodyRules,
) -> Result<ChannelArn, ApiError> {
    let text = required(name, text)?;
    ChannelArn::parse(text, rules.strict).map_err(|error| not_arn(name, error))
}

pub(crate) fn stream_arn<'b>(text: &'b str, rules: &BodyRules) -> Result<&'b str, ApiError> {
    const NAME: &str = "StreamARN";
    let no_stream = || ApiError::invalid("StreamARN must name a resource of the kind stream.");
    match ChannelArn::parse(text, false) {
        Err(ArnError::Resource) => {}
        Ok(_) | Err(ArnError::Name) => return Err(no_stream()),
        Err(error @ (ArnError::Length | ArnError::Pattern | ArnError::Partition)) => {
            return Err(not_arn(NAME, error));
        }
    }
    if rules.strict && !text.starts_with("arn:aws:") {
        return Err(not_arn(NAME, ArnError::Partition));
    }
    // The ARN matches the pattern, so the text after its last colon is a word, a name and a time, separated by slashes.
    let resource = text.rsplit(':').next().unwrap_or_default();
    let named = resource.strip_prefix("stream/").ok_or_else(no_stream)?;
    let name = named.split('/').next().unwrap_or_default();
    ChannelName::parse(name).map_err(|_| {
        ApiError::invalid("StreamARN must hold a stream name of at most 256 characters.")
    })?;
    Ok(name)
}

/// Validates `MessageTtlSeconds`, which must be 5 to 120 and defaults to 60. Returns `InvalidArgument` if it is out of
/// range.
pub fn message_ttl_seconds(value: Option<i64>) -> Result<u32, ApiError> {
    value.map_or(Ok(TTL_SECONDS_DEFAULT), ttl_seconds)
}

pub(crate) fn ttl_seconds(value: i64) -> Result<u32, ApiError> {
    integer("MessageTtlSeconds", value, TTL_SECONDS)
}

pub(crate) fn next_token(text: &str) -> Result<(), ApiError> {
    let in_pattern = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if text.len() > NEXT_TOKEN_CHARS_MAX || !text.bytes().all(in_pattern) {
        return Err(ApiError::invalid(
            "NextToken must be at most 1024 characters of [a-zA-Z0-9+/=].",
        ));
    }
    Ok(())
}

/// Validates `NextToken` for operations that return all results on one page. The token must be empty, since there is no
/// next page.
pub(crate) fn only_page(text: Option<&str>) -> Result<(), ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(());
    };
    next_token(text)?;
    Err(ApiError::invalid(
        "NextToken must be empty: the first page is the only one.",
    ))
}

pub(crate) fn version(text: &str) -> Result<Box<str>, ApiError> {
    if !(1..=VERSION_CHARS_MAX).contains(&text.len())
        || !text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return Err(ApiError::invalid(
            "CurrentVersion must be 1 to 64 characters of [a-zA-Z0-9].",
        ));
    }
    Ok(text.into())
}

pub(crate) fn integer(
    name: &'static str,
    value: i64,
    range: RangeInclusive<u32>,
) -> Result<u32, ApiError> {
    u32::try_from(value)
        .ok()
        .filter(|value| range.contains(value))
        .ok_or_else(|| {
            ApiError::invalid(format!(
                "{name} must be {} to {}.",
                range.start(),
                range.end()
            ))
        })
}

fn not_arn(name: &'static str, error: ArnError) -> ApiError {
    let message = error.message();
    match message.strip_prefix("ChannelARN") {
        Some(rule) if name != "ChannelARN" => ApiError::invalid(format!("{name}{rule}")),
        Some(_) | None => ApiError::invalid(message),
    }
}

fn not_identifier(name: &'static str) -> ApiError {
    ApiError::invalid(format!(
        "{name} must be 1 to 256 characters of [a-zA-Z0-9_.-]."
    ))
}

// Validated identifiers that own their text, because a call may be moved to the shard that owns the channel.

/// An owned channel name: 1 to 256 characters of `[a-zA-Z0-9_.-]`. Ordered bytewise, as in channel lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnedName(Box<str>);

impl OwnedName {
    /// Returns the name as a string slice.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<ChannelName<'_>> for OwnedName {
    fn from(name: ChannelName<'_>) -> Self {
        Self(name.as_str().into())
    }
}

/// An owned client id: 1 to 256 characters of `[a-zA-Z0-9_.-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnedClientId(Box<str>);

impl OwnedClientId {
    /// Returns the id as a string slice.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<ClientId<'_>> for OwnedClientId {
    fn from(id: ClientId<'_>) -> Self {
        Self(id.as_str().into())
    }
}
