//! The HTTP API operations: typed requests, response bodies and errors.
//!
//! In reading order: [`Operation`] maps paths to operations, [`call`] parses a body into a [`Call`], `channels`,
//! `tags`, `media_storage` and `signaling` hold the requests and write the responses, [`ApiError`] is an error and its
//! form on the wire.
//!
//! ```text
//!  path ──► Operation ──┐
//!  body ──► simd-json tape ──► members, typed ──► constraints ──► Call ──► (broker) ──► response body
//!               └ SerializationException ┘     └ InvalidArgumentException
//! ```
//! Types come before constraints, as on AWS: one member of a wrong JSON type makes the whole body a
//! `SerializationException`, whatever else is wrong with it. Unknown members are ignored, `null` is absence, and a
//! known member given twice is refused, because two readers of such a body might disagree about what was signed.
//!
//! Bodies are untrusted: the tape is built and walked without recursion, so nesting costs no stack, and simd-json
//! refuses nesting deeper than 1,023. Numbers beyond 64 bits are refused too, even in unknown members: no client uses
//! them.

pub mod call;
mod channels;
mod constraint;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod json;
mod media_storage;
mod signaling;
mod tags;

use crate::policy::Action;
pub use call::{Call, parse};
pub use channels::{
    ChannelInfo, ChannelStatus, CreateSignalingChannel, DeleteSignalingChannel,
    DescribeSignalingChannel, GetSignalingChannelEndpoint, LIST_ENTRIES_MAX, ListSignalingChannels,
    Protocol, Selector, UpdateSignalingChannel, create, describe, endpoint, list, page_token,
};
pub use constraint::{BodyRules, OwnedClientId, OwnedName, message_ttl_seconds};
pub use media_storage::{
    DescribeMappedResourceConfiguration, DescribeMediaStorageConfiguration, JoinStorageSession,
    JoinStorageSessionAsViewer, MEDIA_STORAGE_REFUSED, StreamSelector,
    UpdateMediaStorageConfiguration, describe_mapped_resource, describe_media_storage,
};
pub use signaling::{GetIceServerConfig, IceServer, SendAlexaOfferToMaster, alexa, ice};
use std::borrow::Cow;
use strum::{IntoStaticStr, VariantArray};
pub use tags::{
    ListTagsForResource, TAGS_MAX, Tag, TagResource, UntagResource, checked_tags, list_tags,
};

// The operations and their paths.

/// One HTTP API operation. All are `POST`.
///
/// Source: service models `kinesisvideo` 2017-09-30, `kinesis-video-signaling` 2019-12-04 and
/// `kinesis-video-webrtc-storage` 2018-05-10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(prefix = "kinesisvideo:")]
pub enum Operation {
    /// Creates a channel.
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
    /// Removes tags from a channel.
    UntagResource,
    /// Lists the tags of a channel.
    ListTagsForResource,
    /// Returns where to connect.
    GetSignalingChannelEndpoint,
    /// Returns whether a channel's media is stored.
    DescribeMediaStorageConfiguration,
    /// Switches a channel's media storage on or off.
    UpdateMediaStorageConfiguration,
    /// Returns which channels store into a stream.
    DescribeMappedResourceConfiguration,
    /// Returns STUN and TURN servers with credentials.
    GetIceServerConfig,
    /// Delivers an offer to the master and waits for the answer.
    SendAlexaOfferToMaster,
    /// Asks the service to connect to the master, to store its media.
    JoinStorageSession,
    /// Asks the service to connect to a viewer of a stored channel.
    JoinStorageSessionAsViewer,
}

impl Operation {
    /// Every operation, in the order of [`Self::index`].
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Operation of a request path (without query), or `None` for an unknown path. Case matters.
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

    /// The operation's path. Paths of tag operations begin with a capital letter, all others do not.
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

    /// The action that policies must allow for the operation.
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

    /// The operation's index in [`Self::ALL`], for tables of counters.
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

    /// Error for a request with a valid signature that the policy denies.
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

// Errors of API calls, and their form on the wire.
//
// The type is in the header `x-amzn-ErrorType`; the body has only the text.

/// Refusal of a call: an error type with the text for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The error type.
    pub kind: ErrorKind,
    /// One or two sentences, ending in a period.
    pub message: Cow<'static, str>,
}

impl ApiError {
    /// An error of this kind with this text.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// A member breaks its constraints.
    #[must_use]
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// The body cannot be read as the operation's input.
    #[must_use]
    pub fn serialization(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Serialization, message)
    }
}

/// Service model of an operation, or a WebSocket upgrade: decides an error's status and text member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `kinesisvideo`: create, find, change, delete channels.
    ControlPlane,
    /// `kinesis-video-signaling`: TURN credentials and Alexa offers.
    Signaling,
    /// `kinesis-video-webrtc-storage`: joining storage sessions.
    Storage,
    /// Upgrades: no model, hence AWS's common form.
    WebSocket,
}

impl Family {
    /// Error for a request with a valid signature that the policy denies.
    #[must_use]
    pub const fn denied(self) -> ErrorKind {
        match self {
            Self::ControlPlane | Self::Storage | Self::WebSocket => ErrorKind::AccessDenied,
            Self::Signaling => ErrorKind::NotAuthorized,
        }
    }

    /// The name of the member that carries an error's text.
    #[must_use]
    pub const fn message_member(self) -> &'static str {
        match self {
            Self::ControlPlane | Self::Signaling => "Message",
            Self::Storage | Self::WebSocket => "message",
        }
    }
}

/// The error types that this service sends, except those of signature checks.
///
/// Source: the models' errors; `SerializationException`, `UnknownOperationException`, `InternalFailure` and
/// `ServiceUnavailable` are common to AWS services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The body is not one JSON object, or a known member has a wrong JSON type.
    Serialization,
    /// A member is missing or breaks its constraints.
    InvalidArgument,
    /// There is no such channel, or it has another creation time.
    ResourceNotFound,
    /// The name is taken, or the channel is not ACTIVE.
    ResourceInUse,
    /// `CurrentVersion` is not the current one.
    VersionMismatch,
    /// The account has reached its limit of channels.
    AccountChannelLimitExceeded,
    /// More than 50 tags.
    TagsPerResourceExceededLimit,
    /// A rate limit or a full table.
    ClientLimitExceeded,
    /// Denied by policy (control plane, storage and upgrades).
    AccessDenied,
    /// Denied by policy (signaling operations).
    NotAuthorized,
    /// Unknown path.
    UnknownOperation,
    /// Fault of the service.
    InternalFailure,
    /// Full or draining: try again elsewhere or later.
    ServiceUnavailable,
}

impl ErrorKind {
    /// The bare type name, as `x-amzn-ErrorType` carries it.
    #[must_use]
    pub const fn error_type(self) -> &'static str {
        match self {
            Self::Serialization => "SerializationException",
            Self::InvalidArgument => "InvalidArgumentException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::VersionMismatch => "VersionMismatchException",
            Self::AccountChannelLimitExceeded => "AccountChannelLimitExceededException",
            Self::TagsPerResourceExceededLimit => "TagsPerResourceExceededLimitException",
            Self::ClientLimitExceeded => "ClientLimitExceededException",
            Self::AccessDenied => "AccessDeniedException",
            Self::NotAuthorized => "NotAuthorizedException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::InternalFailure => "InternalFailure",
            Self::ServiceUnavailable => "ServiceUnavailable",
        }
    }

    /// The HTTP status. The C SDK branches on it (404 on Describe creates the channel, 401 and 403 fetch credentials
    /// again), so throttling is 400 and never 429.
    #[must_use]
    pub const fn status(self, family: Family) -> u16 {
        match self {
            Self::Serialization
            | Self::InvalidArgument
            | Self::ResourceInUse
            | Self::VersionMismatch
            | Self::AccountChannelLimitExceeded
            | Self::TagsPerResourceExceededLimit
            | Self::ClientLimitExceeded => 400,
            Self::ResourceNotFound | Self::UnknownOperation => 404,
            Self::NotAuthorized => 401,
            Self::AccessDenied => match family {
                Family::ControlPlane | Family::Signaling => 401,
                Family::Storage | Family::WebSocket => 403,
            },
            Self::InternalFailure => 500,
            Self::ServiceUnavailable => 503,
        }
    }
}

/// Appends an error's body: `{"Message":"…"}` for a known operation, but `{"message":"…"}` for those of storage and
/// without one, which is the form of refused upgrades, unknown paths, and signature refusals of every operation.
pub fn error_body(out: &mut Vec<u8>, operation: Option<Operation>, message: &str) {
    let family = operation.map_or(Family::WebSocket, Operation::family);
    crate::control::json::member(out, b'{', family.message_member());
    crate::json::write::string(out, message);
    out.push(b'}');
}

#[cfg(test)]
mod operation_tests {
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

#[cfg(test)]
mod error_tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_the_table() {
        let table = [
            (ErrorKind::Serialization, [400, 400, 400, 400]),
            (ErrorKind::InvalidArgument, [400, 400, 400, 400]),
            (ErrorKind::ResourceNotFound, [404, 404, 404, 404]),
            (ErrorKind::ResourceInUse, [400, 400, 400, 400]),
            (ErrorKind::VersionMismatch, [400, 400, 400, 400]),
            (ErrorKind::AccountChannelLimitExceeded, [400, 400, 400, 400]),
            (
                ErrorKind::TagsPerResourceExceededLimit,
                [400, 400, 400, 400],
            ),
            (ErrorKind::ClientLimitExceeded, [400, 400, 400, 400]),
            (ErrorKind::AccessDenied, [401, 401, 403, 403]),
            (ErrorKind::NotAuthorized, [401, 401, 401, 401]),
            (ErrorKind::UnknownOperation, [404, 404, 404, 404]),
            (ErrorKind::InternalFailure, [500, 500, 500, 500]),
            (ErrorKind::ServiceUnavailable, [503, 503, 503, 503]),
        ];
        for (kind, statuses) in table {
            let families = [
                Family::ControlPlane,
                Family::Signaling,
                Family::Storage,
                Family::WebSocket,
            ];
            assert_eq!(
                families.map(|family| kind.status(family)),
                statuses,
                "{kind:?}"
            );
        }
        assert_eq!(
            Operation::CreateSignalingChannel.denied(),
            ErrorKind::AccessDenied
        );
        assert_eq!(
            Operation::GetIceServerConfig.denied(),
            ErrorKind::NotAuthorized
        );
        assert_eq!(
            Operation::JoinStorageSession.denied(),
            ErrorKind::AccessDenied
        );
    }

    #[test]
    fn bodies_spell_the_member_by_operation_and_escape() {
        let body = |operation, message: &str| {
            let mut out = b"before ".to_vec();
            error_body(&mut out, operation, message);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            body(Some(Operation::ListSignalingChannels), "No."),
            r#"before {"Message":"No."}"#
        );
        assert_eq!(
            body(Some(Operation::GetIceServerConfig), "No."),
            r#"before {"Message":"No."}"#
        );
        assert_eq!(
            body(Some(Operation::JoinStorageSession), "No."),
            r#"before {"message":"No."}"#
        );
        assert_eq!(
            body(None, "a\"b\\c\n\u{1}é"),
            "before {\"message\":\"a\\\"b\\\\c\\n\\u0001é\"}"
        );
    }
}
