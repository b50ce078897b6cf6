//! ListTagsForResource, `/ListTagsForResource`.

use crate::aws::ChannelArn;
use crate::control::constraint::{BodyRules, arn, only_page};
use crate::control::error::ApiError;
use crate::control::tags::tag::Tag;
use crate::json::value::Object;

/// Lists the tags of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTagsForResource {
    /// Which channel.
    pub arn: ChannelArn,
}

impl ListTagsForResource {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [resource, next_token] = object.members(["ResourceARN", "NextToken"])?;
        let (resource, next_token) = (resource.text()?, next_token.text()?);

        let arn = arn("ResourceARN", resource, rules)?;
        only_page(next_token)?;
        Ok(Self { arn })
    }
}

/// Appends the response: all tags, as a map from key to value. They are at most 50, one page, so no token follows.
pub fn list_tags(out: &mut Vec<u8>, tags: &[Tag]) {
    crate::control::write::member(out, b'{', "Tags");
    out.push(b'{');
    for (position, tag) in tags.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        crate::json::write::string(out, &tag.key);
        out.push(b':');
        crate::json::write::string(out, &tag.value);
    }
    out.extend_from_slice(b"}}");
}
