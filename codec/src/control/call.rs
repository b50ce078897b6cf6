//! Parses a request body into a typed call.

use crate::control::{
    ApiError, CreateSignalingChannel, DeleteSignalingChannel, DescribeMappedResourceConfiguration,
    DescribeMediaStorageConfiguration, DescribeSignalingChannel, GetIceServerConfig,
    GetSignalingChannelEndpoint, JoinStorageSession, JoinStorageSessionAsViewer,
    ListSignalingChannels, ListTagsForResource, Operation, Selector, SendAlexaOfferToMaster,
    TagResource, UntagResource, UpdateMediaStorageConfiguration, UpdateSignalingChannel,
};
use crate::control::{constraint::BodyRules, json::Body};
use crate::identifiers::ChannelArn;

/// An API call: an operation with its validated request. Owned, so that it can be sent to the channel's home shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A call of CreateSignalingChannel.
    Create(CreateSignalingChannel),
    /// A call of DescribeSignalingChannel.
    Describe(DescribeSignalingChannel),
    /// A call of ListSignalingChannels.
    List(ListSignalingChannels),
    /// A call of UpdateSignalingChannel.
    Update(UpdateSignalingChannel),
    /// A call of DeleteSignalingChannel.
    Delete(DeleteSignalingChannel),
    /// A call of TagResource.
    Tag(TagResource),
    /// A call of UntagResource.
    Untag(UntagResource),
    /// A call of ListTagsForResource.
    ListTags(ListTagsForResource),
    /// A call of GetSignalingChannelEndpoint.
    Endpoint(GetSignalingChannelEndpoint),
    /// A call of DescribeMediaStorageConfiguration.
    MediaStorage(DescribeMediaStorageConfiguration),
    /// A call of UpdateMediaStorageConfiguration.
    UpdateMediaStorage(UpdateMediaStorageConfiguration),
    /// A call of DescribeMappedResourceConfiguration.
    MappedResource(DescribeMappedResourceConfiguration),
    /// A call of GetIceServerConfig.
    Ice(GetIceServerConfig),
    /// A call of SendAlexaOfferToMaster.
    Alexa(SendAlexaOfferToMaster),
    /// A call of JoinStorageSession.
    Join(JoinStorageSession),
    /// A call of JoinStorageSessionAsViewer.
    JoinAsViewer(JoinStorageSessionAsViewer),
}

impl Call {
    /// The call's operation.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Create(_) => Operation::CreateSignalingChannel,
            Self::Describe(_) => Operation::DescribeSignalingChannel,
            Self::List(_) => Operation::ListSignalingChannels,
            Self::Update(_) => Operation::UpdateSignalingChannel,
            Self::Delete(_) => Operation::DeleteSignalingChannel,
            Self::Tag(_) => Operation::TagResource,
            Self::Untag(_) => Operation::UntagResource,
            Self::ListTags(_) => Operation::ListTagsForResource,
            Self::Endpoint(_) => Operation::GetSignalingChannelEndpoint,
            Self::MediaStorage(_) => Operation::DescribeMediaStorageConfiguration,
            Self::UpdateMediaStorage(_) => Operation::UpdateMediaStorageConfiguration,
            Self::MappedResource(_) => Operation::DescribeMappedResourceConfiguration,
            Self::Ice(_) => Operation::GetIceServerConfig,
            Self::Alexa(_) => Operation::SendAlexaOfferToMaster,
            Self::Join(_) => Operation::JoinStorageSession,
            Self::JoinAsViewer(_) => Operation::JoinStorageSessionAsViewer,
        }
    }

    /// The channel's ARN, if the call names one.
    #[must_use]
    pub const fn arn(&self) -> Option<&ChannelArn> {
        match self {
            Self::Create(_) | Self::List(_) | Self::MappedResource(_) => None,
            Self::Describe(DescribeSignalingChannel { channel })
            | Self::MediaStorage(DescribeMediaStorageConfiguration { channel }) => match channel {
                Selector::ByName(_) => None,
                Selector::ByArn(arn) => Some(arn),
            },
            Self::Update(call) => Some(&call.arn),
            Self::Delete(call) => Some(&call.arn),
            Self::Tag(call) => Some(&call.arn),
            Self::Untag(call) => Some(&call.arn),
            Self::ListTags(call) => Some(&call.arn),
            Self::Endpoint(call) => Some(&call.arn),
            Self::UpdateMediaStorage(call) => Some(&call.arn),
            Self::Ice(call) => Some(&call.arn),
            Self::Alexa(call) => Some(&call.arn),
            Self::Join(call) => Some(&call.arn),
            Self::JoinAsViewer(call) => Some(&call.arn),
        }
    }

    /// Name of the call's channel; `None` for calls on all channels or on a stream.
    #[must_use]
    pub fn channel_name(&self) -> Option<&str> {
        match self {
            Self::Create(call) => Some(call.name.as_str()),
            Self::Describe(call) => Some(call.channel.name()),
            Self::MediaStorage(call) => Some(call.channel.name()),
            Self::List(_) | Self::MappedResource(_) => None,
            Self::Update(_)
            | Self::Delete(_)
            | Self::Tag(_)
            | Self::Untag(_)
            | Self::ListTags(_)
            | Self::Endpoint(_)
            | Self::UpdateMediaStorage(_)
            | Self::Ice(_)
            | Self::Alexa(_)
            | Self::Join(_)
            | Self::JoinAsViewer(_) => self.arn().map(ChannelArn::name),
        }
    }
}

/// Parses a request body into a typed call. The body (at most 64 KiB, enforced by the caller) is modified in place and
/// unusable afterwards.
///
/// # Errors
/// [`ErrorKind::Serialization`](crate::control::ErrorKind::Serialization) if the body is not a single JSON object in
/// UTF-8, a known member has a wrong JSON type or is duplicated, or an integer exceeds 64 bits;
/// [`ErrorKind::InvalidArgument`](crate::control::ErrorKind::InvalidArgument) if a required member is missing or a
/// member violates its constraints;
/// [`ErrorKind::TagsPerResourceExceededLimit`](crate::control::ErrorKind::TagsPerResourceExceededLimit) if Create or
/// TagResource contains too many tags.
pub fn parse(operation: Operation, body: &mut [u8], rules: &BodyRules) -> Result<Call, ApiError> {
    let body = Body::parse(body)?;
    let object = body.object()?;
    let call = match operation {
        Operation::CreateSignalingChannel => Call::Create(CreateSignalingChannel::parse(object)?),
        Operation::DescribeSignalingChannel => {
            Call::Describe(DescribeSignalingChannel::parse(object, rules)?)
        }
        Operation::ListSignalingChannels => Call::List(ListSignalingChannels::parse(object)?),
        Operation::UpdateSignalingChannel => {
            Call::Update(UpdateSignalingChannel::parse(object, rules)?)
        }
        Operation::DeleteSignalingChannel => {
            Call::Delete(DeleteSignalingChannel::parse(object, rules)?)
        }
        Operation::TagResource => Call::Tag(TagResource::parse(object, rules)?),
        Operation::UntagResource => Call::Untag(UntagResource::parse(object, rules)?),
        Operation::ListTagsForResource => {
            Call::ListTags(ListTagsForResource::parse(object, rules)?)
        }
        Operation::GetSignalingChannelEndpoint => {
            Call::Endpoint(GetSignalingChannelEndpoint::parse(object, rules)?)
        }
        Operation::DescribeMediaStorageConfiguration => {
            Call::MediaStorage(DescribeMediaStorageConfiguration::parse(object, rules)?)
        }
        Operation::UpdateMediaStorageConfiguration => {
            Call::UpdateMediaStorage(UpdateMediaStorageConfiguration::parse(object, rules)?)
        }
        Operation::DescribeMappedResourceConfiguration => {
            Call::MappedResource(DescribeMappedResourceConfiguration::parse(object, rules)?)
        }
        Operation::GetIceServerConfig => Call::Ice(GetIceServerConfig::parse(object, rules)?),
        Operation::SendAlexaOfferToMaster => {
            Call::Alexa(SendAlexaOfferToMaster::parse(object, rules)?)
        }
        Operation::JoinStorageSession => Call::Join(JoinStorageSession::parse(object, rules)?),
        Operation::JoinStorageSessionAsViewer => {
            Call::JoinAsViewer(JoinStorageSessionAsViewer::parse(object, rules)?)
        }
    };
    Ok(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_can_travel() {
        fn travels<T: Send + 'static>() {}
        travels::<Call>();
        travels::<ApiError>();
    }
}
