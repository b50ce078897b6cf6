//! DescribeSignalingChannel, `/describeSignalingChannel`.

use crate::aws::ChannelArn;
use crate::control::channels::channel_info::{ChannelInfo, channel_info};
use crate::control::constraint::{BodyRules, channel_arn, channel_name};
use crate::control::error::ApiError;
use crate::control::owned::OwnedName;
use crate::control::write;
use crate::json::value::Object;

/// Describes a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeSignalingChannel {
    /// Which channel.
    pub channel: Selector,
}

/// A channel by its name in the caller's account and region, or by its ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By name: whichever channel has it at the moment.
    ByName(OwnedName),
    /// By ARN: that very channel. Also when a name was given that the ARN agrees with.
    ByArn(ChannelArn),
}

impl Selector {
    /// The channel's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::ByName(name) => name.as_str(),
            Self::ByArn(arn) => arn.name(),
        }
    }

    /// Reads the members `ChannelName` and `ChannelARN`, one or both of them; others are the caller's business.
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [name, arn] = object.members(["ChannelName", "ChannelARN"])?;
        let (name, arn) = (name.text()?, arn.text()?);

        let name = name
            .map(|name| channel_name("ChannelName", name))
            .transpose()?;
        let arn = arn.map(|arn| channel_arn(Some(arn), rules)).transpose()?;
        match (name, arn) {
            (None, None) => Err(ApiError::invalid("ChannelName or ChannelARN is required.")),
            (Some(name), None) => Ok(Self::ByName(name)),
            (None, Some(arn)) => Ok(Self::ByArn(arn)),
            (Some(name), Some(arn)) if name.as_str() == arn.name() => Ok(Self::ByArn(arn)),
            (Some(_), Some(_)) => Err(ApiError::invalid(
                "ChannelName and ChannelARN must mean the same channel.",
            )),
        }
    }
}

impl DescribeSignalingChannel {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let channel = Selector::parse(object, rules)?;
        Ok(Self { channel })
    }
}

/// Appends the response: the channel.
pub fn describe(out: &mut Vec<u8>, info: &ChannelInfo<'_>) {
    write::member(out, b'{', "ChannelInfo");
    channel_info(out, info);
    out.push(b'}');
}
