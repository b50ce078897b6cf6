//! Which operations there are, where they live, and how a body becomes a typed call.

use super::constraint::Rules;
use super::error::{ApiError, ErrorKind, Family};
use super::member::Body;
use super::{
    CreateSignalingChannel, DeleteSignalingChannel, DescribeSignalingChannel, GetIceServerConfig,
    GetSignalingChannelEndpoint, ListSignalingChannels, SendAlexaOfferToMaster,
};
use crate::aws::ChannelArn;

/// One HTTP API operation. All are `POST`.
///
/// Source: service models `kinesisvideo` 2017-09-30 and `kinesis-video-signaling` 2019-12-04.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Makes a channel.
    CreateSignalingChannel,
    /// Tells what a channel is, by name or ARN.
    DescribeSignalingChannel,
    /// Lists channels by name, in pages.
    ListSignalingChannels,
    /// Deletes a channel.
    DeleteSignalingChannel,
    /// Tells where to connect.
    GetSignalingChannelEndpoint,
    /// Hands out STUN and TURN servers with credentials.
    GetIceServerConfig,
    /// Brings an offer to the master and waits for the answer.
    SendAlexaOfferToMaster,
}

impl Operation {
    /// Every operation, in the order of [`Self::index`].
    pub const ALL: [Self; 7] = [
        Self::CreateSignalingChannel,
        Self::DescribeSignalingChannel,
        Self::ListSignalingChannels,
        Self::DeleteSignalingChannel,
        Self::GetSignalingChannelEndpoint,
        Self::GetIceServerConfig,
        Self::SendAlexaOfferToMaster,
    ];

    /// The operation of a request path (without query), or `None` when no operation lives there. Case matters.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.path() == path)
    }

    /// The operation's path.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::CreateSignalingChannel => "/createSignalingChannel",
            Self::DescribeSignalingChannel => "/describeSignalingChannel",
            Self::ListSignalingChannels => "/listSignalingChannels",
            Self::DeleteSignalingChannel => "/deleteSignalingChannel",
            Self::GetSignalingChannelEndpoint => "/getSignalingChannelEndpoint",
            Self::GetIceServerConfig => "/v1/get-ice-server-config",
            Self::SendAlexaOfferToMaster => "/v1/send-alexa-offer-to-master",
        }
    }

    /// The operation's AWS name: its metrics label, and after `kinesisvideo:` its action in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateSignalingChannel => "CreateSignalingChannel",
            Self::DescribeSignalingChannel => "DescribeSignalingChannel",
            Self::ListSignalingChannels => "ListSignalingChannels",
            Self::DeleteSignalingChannel => "DeleteSignalingChannel",
            Self::GetSignalingChannelEndpoint => "GetSignalingChannelEndpoint",
            Self::GetIceServerConfig => "GetIceServerConfig",
            Self::SendAlexaOfferToMaster => "SendAlexaOfferToMaster",
        }
    }

    /// The operation's place in [`Self::ALL`]: what counters are indexed by.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The service model that the operation belongs to. It decides the status of some errors.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::CreateSignalingChannel
            | Self::DescribeSignalingChannel
            | Self::ListSignalingChannels
            | Self::DeleteSignalingChannel
            | Self::GetSignalingChannelEndpoint => Family::ControlPlane,
            Self::GetIceServerConfig | Self::SendAlexaOfferToMaster => Family::Signaling,
        }
    }

    /// The error that says "the signature is good, the policy says no" for this operation.
    #[must_use]
    pub const fn denied(self) -> ErrorKind {
        self.family().denied()
    }

    /// The name of the member that carries an error's text: botocore fills the modelled member on exact case only.
    #[must_use]
    pub const fn message_member(self) -> &'static str {
        self.family().message_member()
    }
}

/// One API call: an operation with its checked request. Owned, so that it can travel to the channel's home shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// CreateSignalingChannel.
    Create(CreateSignalingChannel),
    /// DescribeSignalingChannel.
    Describe(DescribeSignalingChannel),
    /// ListSignalingChannels.
    List(ListSignalingChannels),
    /// DeleteSignalingChannel.
    Delete(DeleteSignalingChannel),
    /// GetSignalingChannelEndpoint.
    Endpoint(GetSignalingChannelEndpoint),
    /// GetIceServerConfig.
    Ice(GetIceServerConfig),
    /// SendAlexaOfferToMaster.
    Alexa(SendAlexaOfferToMaster),
}

impl Call {
    /// The call's operation.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Create(_) => Operation::CreateSignalingChannel,
            Self::Describe(_) => Operation::DescribeSignalingChannel,
            Self::List(_) => Operation::ListSignalingChannels,
            Self::Delete(_) => Operation::DeleteSignalingChannel,
            Self::Endpoint(_) => Operation::GetSignalingChannelEndpoint,
            Self::Ice(_) => Operation::GetIceServerConfig,
            Self::Alexa(_) => Operation::SendAlexaOfferToMaster,
        }
    }

    /// The channel that the call is about, as far as it names one by ARN.
    #[must_use]
    pub const fn arn(&self) -> Option<&ChannelArn> {
        match self {
            Self::Create(_) | Self::List(_) => None,
            Self::Describe(call) => match &call.channel {
                super::Selector::ByName(_) => None,
                super::Selector::ByArn(arn) => Some(arn),
            },
            Self::Delete(call) => Some(&call.arn),
            Self::Endpoint(call) => Some(&call.arn),
            Self::Ice(call) => Some(&call.arn),
            Self::Alexa(call) => Some(&call.arn),
        }
    }

    /// The name of the channel that the call is about; `None` for a list, which is about all of them.
    #[must_use]
    pub fn channel_name(&self) -> Option<&str> {
        match self {
            Self::Create(call) => Some(call.name.as_str()),
            Self::Describe(call) => Some(call.channel.name()),
            Self::List(_) => None,
            Self::Delete(_) | Self::Endpoint(_) | Self::Ice(_) | Self::Alexa(_) => {
                self.arn().map(ChannelArn::name)
            }
        }
    }
}

/// Makes a typed call of a request body. The body (the caller bounds it, 64 KiB) is changed in place and of no use
/// afterwards.
///
/// # Errors
/// [`ErrorKind::Serialization`] when the body is not one JSON object in UTF-8, when a known member has a wrong JSON type,
/// is given twice, or when an integer does not fit 64 bits; [`ErrorKind::InvalidArgument`] when a required member is
/// missing or a member breaks its constraints; [`ErrorKind::TagsPerResourceExceededLimit`] when Create brings too many tags.
pub fn parse(operation: Operation, body: &mut [u8], rules: &Rules) -> Result<Call, ApiError> {
    let body = Body::parse(body)?;
    let object = body.object()?;
    let call = match operation {
        Operation::CreateSignalingChannel => Call::Create(CreateSignalingChannel::parse(object)?),
        Operation::DescribeSignalingChannel => {
            Call::Describe(DescribeSignalingChannel::parse(object, rules)?)
        }
        Operation::ListSignalingChannels => Call::List(ListSignalingChannels::parse(object)?),
        Operation::DeleteSignalingChannel => {
            Call::Delete(DeleteSignalingChannel::parse(object, rules)?)
        }
        Operation::GetSignalingChannelEndpoint => {
            Call::Endpoint(GetSignalingChannelEndpoint::parse(object, rules)?)
        }
        Operation::GetIceServerConfig => Call::Ice(GetIceServerConfig::parse(object, rules)?),
        Operation::SendAlexaOfferToMaster => {
            Call::Alexa(SendAlexaOfferToMaster::parse(object, rules)?)
        }
    };
    Ok(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_exact() {
        for operation in Operation::ALL {
            assert_eq!(Operation::from_path(operation.path()), Some(operation));
            assert_eq!(Operation::from_path(&operation.path().to_uppercase()), None);
            assert_eq!(
                Operation::from_path(&format!("{}/", operation.path())),
                None
            );
            assert_eq!(Operation::ALL[operation.index()], operation);
        }
        for path in [
            "",
            "/",
            "/CreateSignalingChannel",
            "createSignalingChannel",
            "/listStreams",
            "//listSignalingChannels",
        ] {
            assert_eq!(Operation::from_path(path), None, "{path}");
        }
    }

    #[test]
    fn calls_can_travel() {
        fn travels<T: Send + 'static>() {}
        travels::<Call>();
        travels::<ApiError>();
    }
}
