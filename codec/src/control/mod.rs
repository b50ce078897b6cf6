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
mod channels;
mod constraint;
pub mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod media_storage;
mod member;
pub mod operation;
mod owned;
mod signaling;
mod tags;
mod write;

pub use call::{Call, parse};
pub use channels::channel_info::{ChannelInfo, ChannelStatus};
pub use channels::create_signaling_channel::{CreateSignalingChannel, create};
pub use channels::delete_signaling_channel::DeleteSignalingChannel;
pub use channels::describe_signaling_channel::{DescribeSignalingChannel, Selector, describe};
pub use channels::get_signaling_channel_endpoint::{
    GetSignalingChannelEndpoint, Protocol, endpoint,
};
pub use channels::list_signaling_channels::{
    LIST_ENTRIES_MAX, ListSignalingChannels, list, page_token,
};
pub use channels::update_signaling_channel::UpdateSignalingChannel;
pub use constraint::{BodyRules, message_ttl_seconds};
pub use error::{ApiError, ErrorKind, Family, error_body};
pub use media_storage::describe_mapped_resource_configuration::{
    DescribeMappedResourceConfiguration, StreamSelector, describe_mapped_resource,
};
pub use media_storage::describe_media_storage_configuration::{
    DescribeMediaStorageConfiguration, describe_media_storage,
};
pub use media_storage::join_storage_session::{JoinStorageSession, JoinStorageSessionAsViewer};
pub use media_storage::update_media_storage_configuration::{
    MEDIA_STORAGE_REFUSED, UpdateMediaStorageConfiguration,
};
pub use operation::Operation;
pub use owned::{OwnedClientId, OwnedName};
pub use signaling::get_ice_server_config::{GetIceServerConfig, IceServer, ice};
pub use signaling::send_alexa_offer_to_master::{SendAlexaOfferToMaster, alexa};
pub use tags::list_tags_for_resource::{ListTagsForResource, list_tags};
pub use tags::tag::{TAGS_MAX, Tag, checked_tags};
pub use tags::tag_resource::TagResource;
pub use tags::untag_resource::UntagResource;
