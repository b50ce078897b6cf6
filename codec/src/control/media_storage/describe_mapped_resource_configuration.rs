//! DescribeMappedResourceConfiguration, `/describeMappedResourceConfiguration`.

use crate::control::constraint::{BodyRules, channel_name, integer, only_page, stream_arn};
use crate::control::error::ApiError;
use crate::control::owned::OwnedName;
use crate::json::value::Object;
use std::ops::RangeInclusive;

/// The values that `MaxResults` may have. Source: model `kinesisvideo`, shape `MappedResourceConfigurationListLimit`.
const MAX_RESULTS: RangeInclusive<u32> = 1..=1;

/// Returns which channels store into a stream. None does: there are no streams here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeMappedResourceConfiguration {
    /// Which stream.
    pub stream: StreamSelector,
}

/// A stream by its name in the caller's account and region, or by its ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamSelector {
    /// By name: 1 to 256 characters of `[a-zA-Z0-9_.-]`, as channels have.
    ByName(OwnedName),
    /// By ARN: `arn:<partition>:kinesisvideo:<region>:<account>:stream/<name>/<creation time>`, at most 1024
    /// characters. Also when a name was given that the ARN agrees with.
    ByArn(Box<str>),
}

impl DescribeMappedResourceConfiguration {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [name, arn, max_results, next_token] =
            object.members(["StreamName", "StreamARN", "MaxResults", "NextToken"])?;
        let (name, arn) = (name.text()?, arn.text()?);
        let (max_results, next_token) = (max_results.integer()?, next_token.text()?);

        let name = name
            .map(|name| channel_name("StreamName", name))
            .transpose()?;
        let arn = arn
            .map(|arn| stream_arn(arn, rules).map(|name| (arn, name)))
            .transpose()?;
        let stream = match (name, arn) {
            (None, None) => {
                return Err(ApiError::invalid("StreamName or StreamARN is required."));
            }
            (Some(name), None) => StreamSelector::ByName(name),
            (None, Some((arn, _))) => StreamSelector::ByArn(arn.into()),
            (Some(name), Some((arn, named))) if name.as_str() == named => {
                StreamSelector::ByArn(arn.into())
            }
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid(
                    "StreamName and StreamARN must mean the same stream.",
                ));
            }
        };
        if let Some(max_results) = max_results {
            integer("MaxResults", max_results, MAX_RESULTS)?;
        }
        only_page(next_token)?;
        Ok(Self { stream })
    }
}

/// Appends the response: no channel.
pub fn describe_mapped_resource(out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"MappedResourceConfigurationList":[]}"#);
}
