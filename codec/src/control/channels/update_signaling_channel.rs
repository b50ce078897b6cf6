//! UpdateSignalingChannel, `/updateSignalingChannel`.

use crate::aws::ChannelArn;
use crate::control::constraint::{BodyRules, channel_arn, required, ttl_seconds, version};
use crate::control::error::ApiError;
use crate::json::value::Object;

/// Changes how long a channel keeps undelivered messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateSignalingChannel {
    /// Which channel.
    pub arn: ChannelArn,
    /// The version it must have: 1 to 64 characters of `[a-zA-Z0-9]`.
    pub version: Box<str>,
    /// The time that messages accepted after the change are kept, in seconds: 5 to 120.
    pub ttl_seconds: u32,
}

impl UpdateSignalingChannel {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [arn, current, configuration] =
            object.members(["ChannelARN", "CurrentVersion", "SingleMasterConfiguration"])?;
        let (arn, current) = (arn.text()?, current.text()?);
        // The model lets it be absent, for FULL_MESH. The API Reference requires it of SINGLE_MASTER, as all channels
        // are.
        let configuration = match configuration.object()? {
            Some(configuration) => {
                let [ttl_seconds] = configuration.members(["MessageTtlSeconds"])?;
                Some(ttl_seconds.integer()?)
            }
            None => None,
        };

        let arn = channel_arn(arn, rules)?;
        let version = version(required("CurrentVersion", current)?)?;
        let configuration = required("SingleMasterConfiguration", configuration)?;
        let ttl_seconds = ttl_seconds(required("MessageTtlSeconds", configuration)?)?;
        Ok(Self {
            arn,
            version,
            ttl_seconds,
        })
    }
}
