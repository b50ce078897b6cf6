//! Media storage operations. They respond as AWS does for channels without media storage.

use crate::control::constraint::{
    BodyRules, OwnedClientId, OwnedName, arn, channel_arn, channel_name, client_id, integer,
    only_page, required, stream_arn,
};
use crate::{control::ApiError, identifiers::ChannelArn, json::Object};
use std::ops::RangeInclusive;

/// Valid range of `MaxResults`. Source: model `kinesisvideo`, shape `MappedResourceConfigurationListLimit`.
const MAX_RESULTS: RangeInclusive<u32> = 1..=1;

/// A request for the channels whose media a stream stores. The list is always empty, since this service has no streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeMappedResourceConfiguration {
    /// The stream to query.
    pub stream: StreamSelector,
}

/// Selects a stream, either by its name in the caller's account and region or by its ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamSelector {
    /// The stream with this name: 1 to 256 characters of `[a-zA-Z0-9_.-]`.
    ByName(OwnedName),
    /// The stream with this ARN: `arn:<partition>:kinesisvideo:<region>:<account>:stream/<name>/<creation time>`, at
    /// most 1024 characters. Also used if the request contains both an ARN and the name in that ARN.
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

/// Appends a response with an empty list of channels.
pub fn describe_mapped_resource(out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"MappedResourceConfigurationList":[]}"#);
}

/// Appends a response that reports storage as disabled, so that clients do not try to join a storage session.
pub fn describe_media_storage(out: &mut Vec<u8>) {
    // The C SDK requires both members, but accepts `null`.
    let text = br#"{"MediaStorageConfiguration":{"StreamARN":null,"Status":"DISABLED"}}"#;
    out.extend_from_slice(text);
}

/// Error message for attempts to enable media storage or join a storage session. Sent as `InvalidArgumentException`,
/// but only after checking the caller's permission and the channel.
pub const MEDIA_STORAGE_REFUSED: &str = "Media storage is not supported by this server.";

/// A request to enable or disable media storage for a channel. Enabling it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateMediaStorageConfiguration {
    /// The channel to update.
    pub arn: ChannelArn,
    /// The requested state. `true` is refused with [`MEDIA_STORAGE_REFUSED`].
    pub enabled: bool,
}

impl UpdateMediaStorageConfiguration {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [arn, configuration] = object.members(["ChannelARN", "MediaStorageConfiguration"])?;
        let arn = arn.text()?;
        let configuration = match configuration.members(["StreamARN", "Status"])? {
            Some([stream, status]) => Some((stream.text()?, status.text()?)),
            None => None,
        };

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

// JoinStorageSession, `/joinStorageSession`, and JoinStorageSessionAsViewer, `/joinStorageSessionAsViewer`.
//
// On AWS, these operations make the service itself connect to the master or to a viewer. Here, authorized callers
// receive [`MEDIA_STORAGE_REFUSED`]. Unlike in all other operations, the members begin with a lowercase letter.

/// A request for the service to connect to a channel's master and store the channel's media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinStorageSession {
    /// The channel whose media is to be stored.
    pub arn: ChannelArn,
}

impl JoinStorageSession {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [channel] = object.members(["channelArn"])?;
        let arn = arn("channelArn", channel.text()?, rules)?;
        Ok(Self { arn })
    }
}

/// A request for the service to connect to a viewer of a channel whose media is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinStorageSessionAsViewer {
    /// The channel that the viewer belongs to.
    pub arn: ChannelArn,
    /// Client id of the viewer.
    pub client_id: OwnedClientId,
}

impl JoinStorageSessionAsViewer {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [channel, client] = object.members(["channelArn", "clientId"])?;
        let (channel, client) = (channel.text()?, client.text()?);

        let arn = arn("channelArn", channel, rules)?;
        let client_id = client_id("clientId", required("clientId", client)?)?;
        Ok(Self { arn, client_id })
    }
}
