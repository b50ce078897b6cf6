//! UntagResource, `/UntagResource`.

use crate::aws::ChannelArn;
use crate::control::constraint::{BodyRules, arn, required};
use crate::control::error::ApiError;
use crate::control::tags::tag::{self, TAGS_MAX};
use crate::json::value::Object;

/// Takes tags off a channel; keys that it does not have are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntagResource {
    /// Which channel.
    pub arn: ChannelArn,
    /// 1 to 50 keys that a tag can have, in the order of the request, possibly repeated.
    pub keys: Vec<Box<str>>,
}

impl UntagResource {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [resource, keys] = object.members(["ResourceARN", "TagKeyList"])?;
        let (resource, keys) = (resource.text()?, keys.texts()?);

        let arn = arn("ResourceARN", resource, rules)?;
        let keys = required("TagKeyList", keys)?;
        if !(1..=TAGS_MAX).contains(&keys.len()) {
            return Err(ApiError::invalid("TagKeyList must have 1 to 50 entries."));
        }
        let keys = keys
            .into_iter()
            .map(|key| tag::key("Key of TagKeyList", key));
        Ok(Self {
            arn,
            keys: keys.collect::<Result<_, _>>()?,
        })
    }
}
