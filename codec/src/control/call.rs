//! Parses request bodies.

use crate::control::{
    ApiError, CreateSignalingChannel, DeleteSignalingChannel, DescribeMappedResourceConfiguration,
    GetIceServerConfig, GetSignalingChannelEndpoint, JoinStorageSession,
    JoinStorageSessionAsViewer, ListSignalingChannels, ListTagsForResource, Operation, Selector,
    SendAlexaOfferToMaster, TagResource, UntagResource, UpdateMediaStorageConfiguration,
    UpdateSignalingChannel,
};
use crate::control::{constraint::BodyRules, json::Body};
use crate::identifiers::ChannelArn;

/// An API call: an operation and its validated request. Owns its data, because a call may be moved to the shard that
/// owns the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A CreateSignalingChannel call.
    Create(CreateSignalingChannel),
    /// A DescribeSignalingChannel call.
    Describe(Selector),
    /// A ListSignalingChannels call.
    List(ListSignalingChannels),
    /// An UpdateSignalingChannel call.
    Update(UpdateSignalingChannel),
    /// A DeleteSignalingChannel call.
    Delete(DeleteSignalingChannel),
    /// A TagResource call.
    Tag(TagResource),
    /// An UntagResource call.
    Untag(UntagResource),
    /// A ListTagsForResource call.
    ListTags(ListTagsForResource),
    /// A GetSignalingChannelEndpoint call.
    Endpoint(GetSignalingChannelEndpoint),
    /// A DescribeMediaStorageConfiguration call.
    MediaStorage(Selector),
    /// An UpdateMediaStorageConfiguration call.
    UpdateMediaStorage(UpdateMediaStorageConfiguration),
    /// A DescribeMappedResourceConfiguration call.
    MappedResource(DescribeMappedResourceConfiguration),
    /// A GetIceServerConfig call.
    Ice(GetIceServerConfig),
    /// A SendAlexaOfferToMaster call.
    Alexa(SendAlexaOfferToMaster),
    /// A JoinStorageSession call.
    Join(JoinStorageSession),
    /// A JoinStorageSessionAsViewer call.
    JoinAsViewer(JoinStorageSessionAsViewer),
}

impl Call {
    /// Returns the operation of the call.
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

    /// Returns the ARN of the channel, if the call names one.
    #[must_use]
    pub const fn arn(&self) -> Option<&ChannelArn> {
        match self {
            Self::Create(_) | Self::List(_) | Self::MappedResource(_) => None,
            Self::Describe(channel) | Self::MediaStorage(channel) => match channel {
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

    /// Returns the name of the channel, or `None` if the call concerns all channels or a stream.
    #[must_use]
    pub fn channel_name(&self) -> Option<&str> {
        if let Self::Create(call) = self {
            return Some(call.name.as_str());
        }
        if let Self::Describe(channel) | Self::MediaStorage(channel) = self {
            return Some(channel.name());
        }
        self.arn().map(ChannelArn::name)
    }
}

/// Parses a request body. Parsing overwrites the body, which must not be used afterwards. The caller must ensure that
/// it is at most 64 KiB long.
///
/// # Errors
/// Returns `Serialization` if the body is not a single JSON object in UTF-8, if a known member has the wrong JSON type
/// or is duplicated, or if an integer exceeds 64 bits. Otherwise returns `TagsPerResourceExceededLimit` if Create or
/// TagResource contains too many tags, or `InvalidArgument` if a required member is missing or a member violates its
/// constraints.
pub fn parse(operation: Operation, body: &mut [u8], rules: &BodyRules) -> Result<Call, ApiError> {
    let body = Body::parse(body)?;
    let object = body.object()?;
    let call = match operation {
        Operation::CreateSignalingChannel => Call::Create(CreateSignalingChannel::parse(object)?),
        Operation::DescribeSignalingChannel => Call::Describe(Selector::parse(object, rules)?),
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
            Call::MediaStorage(Selector::parse(object, rules)?)
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
