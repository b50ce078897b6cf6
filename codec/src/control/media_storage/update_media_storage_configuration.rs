//! UpdateMediaStorageConfiguration, `/updateMediaStorageConfiguration`.

use crate::aws::ChannelArn;
use crate::control::constraint::{BodyRules, channel_arn, required, stream_arn};
use crate::control::error::ApiError;
use crate::control::member::Member;
use crate::json::value::Object;

/// Why media storage cannot be switched on, and why no storage session can be joined: an `InvalidArgumentException`,
/// after the caller's permission and the channel were found good.
pub const MEDIA_STORAGE_REFUSED: &str = "Media storage is not supported by this server.";

/// Switches a channel's media storage on or off. It is off for every channel, and stays so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateMediaStorageConfiguration {
    /// Which channel.
    pub arn: ChannelArn,
    /// Whether it shall be on: to be refused with [`MEDIA_STORAGE_REFUSED`].
    pub enabled: bool,
}

impl UpdateMediaStorageConfiguration {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [arn, configuration] = object.members(["ChannelARN", "MediaStorageConfiguration"])?;
        let (arn, configuration) = (arn.text()?, read_configuration(configuration)?);

        let arn = channel_arn(arn, rules)?;
        let (stream, status) = required("MediaStorageConfiguration", configuration)?;
        let enabled = match required("Status", status)? {
            "ENABLED" => true,
            "DISABLED" => false,
            _ => return Err(ApiError::invalid("Status must be ENABLED or DISABLED.")),
        };
        if let Some(stream) = stream {
            stream_arn(stream, rules)?;
        }
        Ok(Self { arn, enabled })
    }
}

/// `StreamARN` and `Status` with their JSON types known.
type RawConfiguration<'b> = (Option<&'b str>, Option<&'b str>);

fn read_configuration<'b>(
    configuration: Member<'_, 'b>,
) -> Result<Option<RawConfiguration<'b>>, ApiError> {
    let Some(configuration) = configuration.object()? else {
        return Ok(None);
    };
    let [stream, status] = configuration.members(["StreamARN", "Status"])?;
    Ok(Some((stream.text()?, status.text()?)))
}
