//! The operations and their paths.

use crate::aws::policy::Action;
use crate::control::error::{ErrorKind, Family};
use strum::{IntoStaticStr, VariantArray};

/// One HTTP API operation. All are `POST`.
///
/// Source: service models `kinesisvideo` 2017-09-30, `kinesis-video-signaling` 2019-12-04 and
/// `kinesis-video-webrtc-storage` 2018-05-10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(prefix = "kinesisvideo:")]
pub enum Operation {
    /// Makes a channel.
    CreateSignalingChannel,
    /// Describes a channel, by name or ARN.
    DescribeSignalingChannel,
    /// Lists channels by name, in pages.
    ListSignalingChannels,
    /// Changes how long a channel keeps undelivered messages.
    UpdateSignalingChannel,
    /// Deletes a channel.
    DeleteSignalingChannel,
    /// Puts tags on a channel.
    TagResource,
    /// Takes tags off a channel.
    UntagResource,
    /// Lists the tags of a channel.
    ListTagsForResource,
    /// Returns where to connect.
    GetSignalingChannelEndpoint,
    /// Returns whether a channel's media are stored.
    DescribeMediaStorageConfiguration,
    /// Switches a channel's media storage on or off.
    UpdateMediaStorageConfiguration,
    /// Returns which channels store into a stream.
    DescribeMappedResourceConfiguration,
    /// Hands out STUN and TURN servers with credentials.
    GetIceServerConfig,
    /// Brings an offer to the master and waits for the answer.
    SendAlexaOfferToMaster,
    /// Asks the service to connect to the master, to store its media.
    JoinStorageSession,
    /// Asks the service to connect to a viewer of a stored channel.
    JoinStorageSessionAsViewer,
}

impl Operation {
    /// Every operation, in the order of [`Self::index`].
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The operation of a request path (without query), or `None` when no operation lives there. Case matters.
    ///
    /// A path may begin with two slashes: the C SDK puts its paths behind its control plane's URL, which may end with
    /// one. What is signed is the path as sent.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        let path = path
            .strip_prefix('/')
            .filter(|rest| rest.starts_with('/'))
            .unwrap_or(path);
        Self::ALL
            .iter()
            .copied()
            .find(|operation| operation.path() == path)
    }

    /// The operation's path. Those of tags begin with a capital letter, the others do not.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::CreateSignalingChannel => "/createSignalingChannel",
            Self::DescribeSignalingChannel => "/describeSignalingChannel",
            Self::ListSignalingChannels => "/listSignalingChannels",
            Self::UpdateSignalingChannel => "/updateSignalingChannel",
            Self::DeleteSignalingChannel => "/deleteSignalingChannel",
            Self::TagResource => "/TagResource",
            Self::UntagResource => "/UntagResource",
            Self::ListTagsForResource => "/ListTagsForResource",
            Self::GetSignalingChannelEndpoint => "/getSignalingChannelEndpoint",
            Self::DescribeMediaStorageConfiguration => "/describeMediaStorageConfiguration",
            Self::UpdateMediaStorageConfiguration => "/updateMediaStorageConfiguration",
            Self::DescribeMappedResourceConfiguration => "/describeMappedResourceConfiguration",
            Self::GetIceServerConfig => "/v1/get-ice-server-config",
            Self::SendAlexaOfferToMaster => "/v1/send-alexa-offer-to-master",
            Self::JoinStorageSession => "/joinStorageSession",
            Self::JoinStorageSessionAsViewer => "/joinStorageSessionAsViewer",
        }
    }

    /// The operation's action in policies: `kinesisvideo:` and its AWS name, in all three models.
    ///
    /// Source: Service Authorization Reference, "Actions, resources, and condition keys for Amazon Kinesis Video
    /// Streams".
    #[must_use]
    pub fn action(self) -> &'static str {
        self.into()
    }

    /// The operation's AWS name: its metrics label.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.action().split_at(ACTION_PREFIX.len()).1
    }

    /// The action that policies are asked about when the operation is called.
    #[must_use]
    pub const fn policy_action(self) -> Action {
        match self {
            Self::CreateSignalingChannel => Action::CreateSignalingChannel,
            Self::DescribeSignalingChannel => Action::DescribeSignalingChannel,
            Self::ListSignalingChannels => Action::ListSignalingChannels,
            Self::UpdateSignalingChannel => Action::UpdateSignalingChannel,
            Self::DeleteSignalingChannel => Action::DeleteSignalingChannel,
            Self::TagResource => Action::TagResource,
            Self::UntagResource => Action::UntagResource,
            Self::ListTagsForResource => Action::ListTagsForResource,
            Self::GetSignalingChannelEndpoint => Action::GetSignalingChannelEndpoint,
            Self::DescribeMediaStorageConfiguration => Action::DescribeMediaStorageConfiguration,
            Self::UpdateMediaStorageConfiguration => Action::UpdateMediaStorageConfiguration,
            Self::DescribeMappedResourceConfiguration => {
                Action::DescribeMappedResourceConfiguration
            }
            Self::GetIceServerConfig => Action::GetIceServerConfig,
            Self::SendAlexaOfferToMaster => Action::SendAlexaOfferToMaster,
            Self::JoinStorageSession => Action::JoinStorageSession,
            Self::JoinStorageSessionAsViewer => Action::JoinStorageSessionAsViewer,
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
            | Self::UpdateSignalingChannel
            | Self::DeleteSignalingChannel
            | Self::TagResource
            | Self::UntagResource
            | Self::ListTagsForResource
            | Self::GetSignalingChannelEndpoint
            | Self::DescribeMediaStorageConfiguration
            | Self::UpdateMediaStorageConfiguration
            | Self::DescribeMappedResourceConfiguration => Family::ControlPlane,
            Self::GetIceServerConfig | Self::SendAlexaOfferToMaster => Family::Signaling,
            Self::JoinStorageSession | Self::JoinStorageSessionAsViewer => Family::Storage,
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

/// The prefix of every action's name.
const ACTION_PREFIX: &str = "kinesisvideo:";

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn paths_are_exact() {
        for operation in Operation::ALL.iter().copied() {
            assert_eq!(Operation::from_path(operation.path()), Some(operation));
            assert_eq!(Operation::from_path(&operation.path().to_uppercase()), None);
            assert_eq!(
                Operation::from_path(&format!("{}/", operation.path())),
                None
            );
            assert_eq!(
                Operation::from_path(&format!("/{}", operation.path())),
                Some(operation)
            );
            assert_eq!(Operation::ALL[operation.index()], operation);
        }
        for path in [
            "",
            "/",
            "/CreateSignalingChannel",
            "createSignalingChannel",
            "/listStreams",
            "///listSignalingChannels",
            "//listSignalingChannels/",
            "//v1//get-ice-server-config",
            "//",
        ] {
            assert_eq!(Operation::from_path(path), None, "{path}");
        }
    }

    #[test]
    fn names_and_actions_are_those_of_the_paths() {
        for operation in Operation::ALL.iter().copied() {
            assert_eq!(format!("{operation:?}"), operation.name());
            let action = format!("kinesisvideo:{}", operation.name());
            assert_eq!(operation.action(), action);
            let squeezed = operation.path().replace("v1/", "").replace('-', "");
            let name = format!("/{}", operation.name());
            assert!(squeezed.eq_ignore_ascii_case(&name), "{squeezed} {name}");
        }
    }
}
