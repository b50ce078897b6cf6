//! CreateSignalingChannel, `/createSignalingChannel`.

use crate::control::constraint::{channel_name, message_ttl_seconds, required};
use crate::control::error::ApiError;
use crate::control::owned::OwnedName;
use crate::control::tags::tag::{self, Tag};
use crate::json::value::Object;

/// Makes a channel. Not idempotent: a name that is taken is refused with `ResourceInUseException`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSignalingChannel {
    /// The name, unique per account and region.
    pub name: OwnedName,
    /// The time that undelivered messages are kept, in seconds: 5 to 120.
    pub ttl_seconds: u32,
    /// At most 50, no key twice, in the order of the request.
    pub tags: Vec<Tag>,
}

impl CreateSignalingChannel {
    pub(crate) fn parse(object: Object<'_, '_>) -> Result<Self, ApiError> {
        let [name, channel_type, configuration, tags] = object.members([
            "ChannelName",
            "ChannelType",
            "SingleMasterConfiguration",
            "Tags",
        ])?;
        let name = name.text()?;
        let channel_type = channel_type.text()?;
        let ttl_seconds = match configuration.object()? {
            Some(configuration) => {
                let [ttl_seconds] = configuration.members(["MessageTtlSeconds"])?;
                ttl_seconds.integer()?
            }
            None => None,
        };
        let tags = tag::read(tags)?.unwrap_or_default();

        let name = channel_name("ChannelName", required("ChannelName", name)?)?;
        if channel_type.is_some_and(|channel_type| channel_type != "SINGLE_MASTER") {
            // FULL_MESH is in the model's enumeration, and no page of the documentation allows it anywhere.
            return Err(ApiError::invalid("ChannelType must be SINGLE_MASTER."));
        }
        Ok(Self {
            name,
            ttl_seconds: message_ttl_seconds(ttl_seconds)?,
            tags: tag::check(&tags)?,
        })
    }
}

/// Appends the response: the ARN of the channel that was made.
pub fn create(out: &mut Vec<u8>, arn: &str) {
    crate::control::write::member(out, b'{', "ChannelARN");
    crate::json::write::string(out, arn);
    out.push(b'}');
}
