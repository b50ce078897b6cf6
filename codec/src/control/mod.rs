//! The HTTP API operations: typed requests, response bodies and errors.
//!
//! One file per operation, named as AWS names it. In reading order: [`operation`] knows paths and which operation is
//! which, [`call`] makes a [`Call`] of a body, the operation files hold the requests and write the responses,
//! [`error`] holds what may go wrong and how that looks on the wire.
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
//! A body is attacker's bytes: the tape is built and walked without recursion, so nesting costs no stack, and simd-json
//! refuses text nested deeper than 1,023. It refuses numbers beyond 64 bits as well, even in unknown members: no client
//! has a use for them.

pub mod call;
pub mod error;
pub mod fuzzing;
pub mod operation;

mod channel_info;
mod constraint;
mod create_signaling_channel;
mod delete_signaling_channel;
mod describe_mapped_resource_configuration;
mod describe_media_storage_configuration;
mod describe_signaling_channel;
mod get_ice_server_config;
mod get_signaling_channel_endpoint;
mod join_storage_session;
mod list_signaling_channels;
mod list_tags_for_resource;
mod member;
mod owned;
mod send_alexa_offer_to_master;
mod tag;
mod tag_resource;
mod untag_resource;
mod update_media_storage_configuration;
mod update_signaling_channel;
mod write;

pub use call::{Call, parse};
pub use channel_info::{ChannelInfo, ChannelStatus};
pub use constraint::BodyRules;
pub use create_signaling_channel::{CreateSignalingChannel, create};
pub use delete_signaling_channel::{DeleteSignalingChannel, delete};
pub use describe_mapped_resource_configuration::{
    DescribeMappedResourceConfiguration, StreamSelector, describe_mapped_resource,
};
pub use describe_media_storage_configuration::{
    DescribeMediaStorageConfiguration, describe_media_storage,
};
pub use describe_signaling_channel::{DescribeSignalingChannel, Selector, describe};
pub use error::{ApiError, ErrorKind, Family, error_body};
pub use get_ice_server_config::{GetIceServerConfig, IceServer, ice};
pub use get_signaling_channel_endpoint::{GetSignalingChannelEndpoint, Protocol, endpoint};
pub use join_storage_session::{JoinStorageSession, JoinStorageSessionAsViewer};
pub use list_signaling_channels::{LIST_ENTRIES_MAX, ListSignalingChannels, list, page_token};
pub use list_tags_for_resource::{ListTagsForResource, list_tags};
pub use operation::Operation;
pub use owned::{OwnedClientId, OwnedName};
pub use send_alexa_offer_to_master::{SendAlexaOfferToMaster, alexa};
pub use tag::{TAGS_MAX, Tag};
pub use tag_resource::{TagResource, tag};
pub use untag_resource::{UntagResource, untag};
pub use update_media_storage_configuration::{
    MEDIA_STORAGE_REFUSED, UpdateMediaStorageConfiguration, update_media_storage,
};
pub use update_signaling_channel::{UpdateSignalingChannel, update};
