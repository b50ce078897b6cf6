//! DeleteSignalingChannel, `/deleteSignalingChannel`.

use crate::aws::ChannelArn;
use crate::control::constraint::{BodyRules, channel_arn, version};
use crate::control::error::ApiError;
use crate::json::value::Object;

/// Deletes a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteSignalingChannel {
    /// Which channel.
    pub arn: ChannelArn,
    /// The version it must have; absent, any: 1 to 64 characters of `[a-zA-Z0-9]`.
    pub version: Option<Box<str>>,
}

impl DeleteSignalingChannel {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [arn, current] = object.members(["ChannelARN", "CurrentVersion"])?;
        let (arn, current) = (arn.text()?, current.text()?);

        let arn = channel_arn(arn, rules)?;
        let version = current.map(version).transpose()?;
        Ok(Self { arn, version })
    }
}
