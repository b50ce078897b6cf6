//! Media storage operations. Responses are those of AWS for channels without media storage.

use crate::control::constraint::{
    BodyRules, OwnedClientId, OwnedName, arn, channel_arn, channel_name, client_id, integer,
    only_page, required, stream_arn,
};
use crate::control::{channels::Selector, json::Member};
use crate::{control::ApiError, identifiers::ChannelArn, json::Object};
use std::ops::RangeInclusive;

/// Permitted range of `MaxResults`. Source: model `kinesisvideo`, shape `MappedResourceConfigurationListLimit`.
const MAX_RESULTS: RangeInclusive<u32> = 1..=1;

/// Returns the channels whose media a stream stores. Always empty: this service has no streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeMappedResourceConfiguration {
    /// Stream to query.
    pub stream: StreamSelector,
}

/// Selection of a stream by name in the caller's account and region, or by ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamSelector {
    /// Name: 1 to 256 characters of `[a-zA-Z0-9_.-]`.
    ByName(OwnedName),
    /// ARN: `arn:<partition>:kinesisvideo:<region>:<account>:stream/<name>/<creation time>`, at most 1024 characters.
    /// Also used if the request contains both an ARN and the matching name.
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

/// Appends the response: an empty list of channels.
pub fn describe_mapped_resource(out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"MappedResourceConfigurationList":[]}"#);
}

/// Returns whether a channel's media is stored. Always disabled in this service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeMediaStorageConfiguration {
    /// Channel to query.
    pub channel: Selector,
}

impl DescribeMediaStorageConfiguration {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let channel = Selector::parse(object, rules)?;
        Ok(Self { channel })
    }
}

/// Appends the response: storage disabled. Clients then do not try to join a storage session.
pub fn describe_media_storage(out: &mut Vec<u8>) {
    // The C SDK requires both members and accepts `null`.
    let text = br#"{"MediaStorageConfiguration":{"StreamARN":null,"Status":"DISABLED"}}"#;
    out.extend_from_slice(text);
}

/// Error text for attempts to enable media storage or to join a storage session, sent as `InvalidArgumentException`
/// after the caller's permission and the channel have been checked.
pub const MEDIA_STORAGE_REFUSED: &str = "Media storage is not supported by this server.";

/// Enables or disables media storage for a channel. Enabling is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateMediaStorageConfiguration {
    /// Channel to update.
    pub arn: ChannelArn,
    /// Requested state; `true` is refused with [`MEDIA_STORAGE_REFUSED`].
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

type RawConfiguration<'b> = (Option<&'b str>, Option<&'b str>);

fn read_configuration<'b>(of: Member<'_, 'b>) -> Result<Option<RawConfiguration<'b>>, ApiError> {
    let Some(configuration) = of.object()? else {
        return Ok(None);
    };
    let [stream, status] = configuration.members(["StreamARN", "Status"])?;
    Ok(Some((stream.text()?, status.text()?)))
}

// JoinStorageSession, `/joinStorageSession`, and JoinStorageSessionAsViewer, `/joinStorageSessionAsViewer`.
//
// On AWS, these operations make the service itself call the master or a viewer. Here, permitted callers receive
// [`MEDIA_STORAGE_REFUSED`]. Unlike in all other operations, members begin with a lowercase letter.

/// Makes the service connect to a channel's master to store its media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinStorageSession {
    /// Channel whose media to store.
    pub arn: ChannelArn,
}

impl JoinStorageSession {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [channel] = object.members(["channelArn"])?;
        let arn = arn("channelArn", channel.text()?, rules)?;
        Ok(Self { arn })
    }
}

/// Makes the service connect to a viewer of a channel whose media is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinStorageSessionAsViewer {
    /// Channel of the viewer.
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
