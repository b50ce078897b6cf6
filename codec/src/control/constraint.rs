//! Constraints that several operations share: lengths, patterns and ranges, each refusal naming the member and what it
//! may be.
//!
//! Source: the service models and the KVS API Reference, per member.

use super::error::ApiError;
use super::owned::{OwnedClientId, OwnedName};
use crate::aws::{ChannelArn, ChannelName, ClientId};
use std::ops::RangeInclusive;

/// How bodies are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Only ARNs of the partition `aws`, as the signaling model's pattern has it. Off, any partition is taken: devices
    /// in `aws-cn` and `aws-us-gov` exist.
    pub strict: bool,
}

/// `MessageTtlSeconds` when the caller names none, in seconds. Source: API Reference, "SingleMasterConfiguration".
pub(super) const TTL_SECONDS_DEFAULT: u32 = 60;

/// What `MessageTtlSeconds` may be, in seconds. Source: API Reference, "SingleMasterConfiguration".
const TTL_SECONDS: RangeInclusive<u32> = 5..=120;

/// The longest `CurrentVersion`, in characters. Source: model `kinesisvideo`, shape `Version`.
const VERSION_CHARS_MAX: usize = 64;

/// The member's value, which must be there.
pub(super) fn required<T>(name: &'static str, value: Option<T>) -> Result<T, ApiError> {
    value.ok_or_else(|| ApiError::invalid(format!("{name} is required.")))
}

/// A channel name: 1 to 256 characters of `[a-zA-Z0-9_.-]`.
pub(super) fn channel_name(name: &'static str, text: &str) -> Result<OwnedName, ApiError> {
    ChannelName::parse(text)
        .map(OwnedName::from)
        .map_err(|_| not_identifier(name))
}

/// A client id: 1 to 256 characters of `[a-zA-Z0-9_.-]`.
pub(super) fn client_id(name: &'static str, text: &str) -> Result<OwnedClientId, ApiError> {
    ClientId::parse(text)
        .map(OwnedClientId::from)
        .map_err(|_| not_identifier(name))
}

/// The required `ChannelARN`.
pub(super) fn channel_arn(text: Option<&str>, rules: &Rules) -> Result<ChannelArn, ApiError> {
    let text = required("ChannelARN", text)?;
    ChannelArn::parse(text, rules.strict).map_err(|error| ApiError::invalid(error.message()))
}

/// `MessageTtlSeconds`: 5 to 120, 60 when absent.
pub(super) fn message_ttl_seconds(value: Option<i64>) -> Result<u32, ApiError> {
    let Some(value) = value else {
        return Ok(TTL_SECONDS_DEFAULT);
    };
    integer("MessageTtlSeconds", value, TTL_SECONDS)
}

/// `CurrentVersion`: 1 to 64 characters of `[a-zA-Z0-9]`.
pub(super) fn version(text: &str) -> Result<Box<str>, ApiError> {
    if !(1..=VERSION_CHARS_MAX).contains(&text.len())
        || !text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return Err(ApiError::invalid(
            "CurrentVersion must be 1 to 64 characters of [a-zA-Z0-9].",
        ));
    }
    Ok(text.into())
}

/// An integer within its range.
pub(super) fn integer(
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

fn not_identifier(name: &'static str) -> ApiError {
    ApiError::invalid(format!(
        "{name} must be 1 to 256 characters of [a-zA-Z0-9_.-]."
    ))
}
