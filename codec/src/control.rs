//! The operations of the HTTP API: typed requests, response bodies and errors.
//!
//! Suggested reading order: [`Operation`] maps paths to operations, and [`call`] parses a body into a [`Call`]. The
//! modules `channels`, `tags`, `media_storage` and `signaling` define the requests and write the responses.
//! [`ApiError`] is an error together with its wire format.
//!
//! ```text
//!  path ──► Operation ──┐
//!  body ──► simd-json tape ──► members, typed ──► constraints ──► Call ──► (broker) ──► response body
//!               └ SerializationException ┘     └ InvalidArgumentException
//! ```
//! JSON types are checked before constraints, as on AWS. A member of the wrong type makes the call fail with
//! `SerializationException`, even if other members violate constraints. Unknown members are ignored, and `null` counts
//! as absent. Duplicates of known members are rejected, because two parsers might disagree about which of them was
//! signed.
//!
//! The tape of simd-json is built and walked without recursion, so nesting consumes no stack. Bodies nested more than
//! 1,023 levels deep are rejected. Numbers that do not fit into 64 bits are also rejected, even in unknown members,
//! since no client sends such numbers.

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
    GetSignalingChannelEndpoint, LIST_ENTRIES_MAX, ListSignalingChannels, Protocol, Selector,
    UpdateSignalingChannel, create, describe, endpoint, list, page_token,
};
pub use constraint::{BodyRules, OwnedClientId, OwnedName, message_ttl_seconds};
pub use media_storage::{
    DescribeMappedResourceConfiguration, JoinStorageSession, JoinStorageSessionAsViewer,
    MEDIA_STORAGE_REFUSED, StreamSelector, UpdateMediaStorageConfiguration,
    describe_mapped_resource, describe_media_storage,
};
pub use signaling::{GetIceServerConfig, IceServer, SendAlexaOfferToMaster, alexa, ice};
use std::borrow::Cow;
use strum::{IntoStaticStr, VariantArray};
pub use tags::{
    ListTagsForResource, TAGS_MAX, Tag, TagResource, UntagResource, checked_tags, list_tags,
};

/// An operation of the HTTP API. All operations use `POST`.
///
/// Source: service models `kinesisvideo` 2017-09-30, `kinesis-video-signaling` 2019-12-04 and
/// `kinesis-video-webrtc-storage` 2018-05-10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
pub enum Operation {
    /// Creates a channel.
    CreateSignalingChannel,
    /// Describes a channel, by name or ARN.
    DescribeSignalingChannel,
    /// Lists channels by name, with pagination.
    ListSignalingChannels,
    /// Changes how long a channel keeps undelivered messages.
    UpdateSignalingChannel,
    /// Deletes a channel.
    DeleteSignalingChannel,
    /// Adds tags to a channel.
    TagResource,
    /// Removes tags from a channel.
    UntagResource,
    /// Lists the tags of a channel.
    ListTagsForResource,
    /// Returns the endpoints to connect to.
    GetSignalingChannelEndpoint,
    /// Returns whether a channel's media is stored.
    DescribeMediaStorageConfiguration,
    /// Enables or disables media storage for a channel.
    UpdateMediaStorageConfiguration,
    /// Returns the channels whose media a stream stores.
    DescribeMappedResourceConfiguration,
    /// Returns STUN and TURN servers with credentials.
    GetIceServerConfig,
    /// Delivers an offer to the master and waits for the answer.
    SendAlexaOfferToMaster,
    /// Makes the service connect to a channel's master in order to store the channel's media.
    JoinStorageSession,
    /// Makes the service connect to a viewer of a channel whose media is stored.
    JoinStorageSessionAsViewer,
}

impl Operation {
    /// All operations, in the order of [`Self::index`].
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the operation with this request path, or `None` if the path is unknown. Paths are case-sensitive and do
    /// not include the query.
    ///
    /// A doubled leading slash is accepted, since the C SDK appends the path to a URL that may already end in a slash.
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

    /// Returns the path of the operation. Only the tag operations have paths that start with a capital letter.
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

    /// Returns the AWS name of the operation, which is also its label in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the action that policies must allow for this operation.
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

    /// Returns the index of the operation in [`Self::ALL`], for use in tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns the service model that defines the operation. The status of some errors depends on it.
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

    /// Returns the error for a correctly signed request that the policy denies.
    #[must_use]
    pub const fn denied(self) -> ErrorKind {
        self.family().denied()
    }
}

// API call errors. The `x-amzn-ErrorType` header contains the error type; the body contains only the message.

/// An API error, with its type and a message for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Type of the error.
    pub kind: ErrorKind,
    /// Error message of one or two sentences, ending in a period.
    pub message: Cow<'static, str>,
}

impl ApiError {
    /// Creates an error with the given type and message.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Creates an error for a member that violates its constraints.
    #[must_use]
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// Creates an error for a body that does not match the operation's input.
    #[must_use]
    pub fn serialization(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Serialization, message)
    }
}

/// The service model of an operation, or the WebSocket upgrade. Determines an error's status and which member contains
/// its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `kinesisvideo`: creating, finding, updating and deleting channels.
    ControlPlane,
    /// `kinesis-video-signaling`: TURN credentials and Alexa offers.
    Signaling,
    /// `kinesis-video-webrtc-storage`: joining storage sessions.
    Storage,
    /// WebSocket upgrades, whose errors have the format common to AWS services.
    WebSocket,
}

impl Family {
    /// Returns the error for a correctly signed request that the policy denies.
    #[must_use]
    pub const fn denied(self) -> ErrorKind {
        match self {
            Self::ControlPlane | Self::Storage | Self::WebSocket => ErrorKind::AccessDenied,
            Self::Signaling => ErrorKind::NotAuthorized,
        }
    }

    /// Returns the name of the member that contains the error message. Case matters: botocore accepts only the service
    /// model's spelling.
    #[must_use]
    pub const fn message_member(self) -> &'static str {
        match self {
            Self::ControlPlane | Self::Signaling => "Message",
            Self::Storage | Self::WebSocket => "message",
        }
    }
}

/// The error types that this service returns, except for signature errors.
///
/// Source: the service models; `SerializationException`, `UnknownOperationException`, `InternalFailure` and
/// `ServiceUnavailable` are common to all AWS services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The body is not a single JSON object, or a known member has the wrong JSON type.
    Serialization,
    /// A member is missing or violates its constraints.
    InvalidArgument,
    /// The channel does not exist, or its creation time differs from the one in the ARN.
    ResourceNotFound,
    /// The name is already in use, or the channel is not ACTIVE.
    ResourceInUse,
    /// `CurrentVersion` is outdated.
    VersionMismatch,
    /// The account has reached its channel limit.
    AccountChannelLimitExceeded,
    /// The channel would have more than 50 tags.
    TagsPerResourceExceededLimit,
    /// A rate limit or a capacity limit has been reached.
    ClientLimitExceeded,
    /// The policy denies the request (control plane, storage and upgrades).
    AccessDenied,
    /// The policy denies the request (signaling operations).
    NotAuthorized,
    /// The path is unknown.
    UnknownOperation,
    /// Internal error of the service.
    InternalFailure,
    /// The service is at capacity or draining. The client should retry on another node or later.
    ServiceUnavailable,
}

impl ErrorKind {
    /// Returns the name of the type without a namespace, as sent in `x-amzn-ErrorType`.
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

    /// Returns the HTTP status. The C SDK depends on it: after a 404 from Describe, it creates the channel; after a 401
    /// or 403, it fetches new credentials. Throttling is therefore always reported as 400, never as 429.
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

/// Appends the body of an error response. The message is in the member `message` for storage operations, and also if
/// `operation` is `None` (a refused upgrade, an unknown path, or a signature error of any operation). For all other
/// operations, the message is in `Message`.
pub fn error_body(out: &mut Vec<u8>, operation: Option<Operation>, message: &str) {
    let family = operation.map_or(Family::WebSocket, Operation::family);
    json::strings(out, &[(family.message_member(), message)]);
}

#[cfg(test)]
mod operation_tests {
    use super::*;

    #[test]
    fn paths_are_exact() {
        for operation in Operation::ALL.iter().copied() {
            assert_eq!(Operation::from_path(operation.path()), Some(operation));
            assert_eq!(Operation::from_path(&operation.path().to_uppercase()), None);
            let found = Operation::from_path(&format!("{}/", operation.path()));
            assert_eq!(found, None);
            let found = Operation::from_path(&format!("/{}", operation.path()));
            assert_eq!(found, Some(operation));
            assert_eq!(Operation::ALL[operation.index()], operation);
        }
        #[rustfmt::skip] // a list
        let cases = [
            "", "/", "/CreateSignalingChannel", "createSignalingChannel", "/listStreams", "///listSignalingChannels",
            "//listSignalingChannels/", "//v1//get-ice-server-config", "//",
        ];
        for path in cases {
            assert_eq!(Operation::from_path(path), None, "{path}");
        }
    }

    #[test]
    fn names_and_actions_are_those_of_the_paths() {
        for operation in Operation::ALL.iter().copied() {
            assert_eq!(format!("{operation:?}"), operation.name());
            let action = format!("kinesisvideo:{}", operation.name());
            assert_eq!(operation.policy_action().as_str(), action);
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
        #[rustfmt::skip] // a table, a case per row
        let table = [
            (ErrorKind::Serialization, [400, 400, 400, 400]),
            (ErrorKind::InvalidArgument, [400, 400, 400, 400]),
            (ErrorKind::ResourceNotFound, [404, 404, 404, 404]),
            (ErrorKind::ResourceInUse, [400, 400, 400, 400]),
            (ErrorKind::VersionMismatch, [400, 400, 400, 400]),
            (ErrorKind::AccountChannelLimitExceeded, [400, 400, 400, 400]),
            (ErrorKind::TagsPerResourceExceededLimit, [400, 400, 400, 400]),
            (ErrorKind::ClientLimitExceeded, [400, 400, 400, 400]),
            (ErrorKind::AccessDenied, [401, 401, 403, 403]),
            (ErrorKind::NotAuthorized, [401, 401, 401, 401]),
            (ErrorKind::UnknownOperation, [404, 404, 404, 404]),
            (ErrorKind::InternalFailure, [500, 500, 500, 500]),
            (ErrorKind::ServiceUnavailable, [503, 503, 503, 503]),
        ];
        for (kind, statuses) in table {
            #[rustfmt::skip] // a list
            let families = [Family::ControlPlane, Family::Signaling, Family::Storage, Family::WebSocket];
            let found = families.map(|family| kind.status(family));
            assert_eq!(found, statuses, "{kind:?}");
        }
        let found = Operation::CreateSignalingChannel.denied();
        assert_eq!(found, ErrorKind::AccessDenied);
        let found = Operation::GetIceServerConfig.denied();
        assert_eq!(found, ErrorKind::NotAuthorized);
        let found = Operation::JoinStorageSession.denied();
        assert_eq!(found, ErrorKind::AccessDenied);
    }

    #[test]
    fn bodies_spell_the_member_by_operation_and_escape() {
        let body = |operation, message: &str| {
            let mut out = b"before ".to_vec();
            error_body(&mut out, operation, message);
            String::from_utf8(out).unwrap()
        };
        let found = body(Some(Operation::ListSignalingChannels), "No.");
        assert_eq!(found, r#"before {"Message":"No."}"#);
        let found = body(Some(Operation::GetIceServerConfig), "No.");
        assert_eq!(found, r#"before {"Message":"No."}"#);
        let found = body(Some(Operation::JoinStorageSession), "No.");
        assert_eq!(found, r#"before {"message":"No."}"#);
        let found = body(None, "a\"b\\c\n\u{1}é");
        assert_eq!(found, "before {\"message\":\"a\\\"b\\\\c\\n\\u0001é\"}");
    }
}
