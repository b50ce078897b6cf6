//! TagResource, `/TagResource`.

use crate::aws::ChannelArn;
use crate::control::constraint::{BodyRules, arn, required};
use crate::control::error::ApiError;
use crate::control::tags::tag::{self, Tag};
use crate::json::value::Object;

/// Puts tags on a channel; a key that it has already gets the new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagResource {
    /// Which channel.
    pub arn: ChannelArn,
    /// 1 to 50, no key twice, in the order of the request.
    pub tags: Vec<Tag>,
}

impl TagResource {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [resource, tags] = object.members(["ResourceARN", "Tags"])?;
        let (resource, tags) = (resource.text()?, tag::read(tags)?);

        let arn = arn("ResourceARN", resource, rules)?;
        let tags = required("Tags", tags)?;
        if tags.is_empty() {
            return Err(ApiError::invalid("Tags must have 1 to 50 entries."));
        }
        // More than 50 keys at once leave more than 50 on the channel, whatever it has now: that error, as in Create.
        let tags = tag::check(&tags)?;
        Ok(Self { arn, tags })
    }
}
