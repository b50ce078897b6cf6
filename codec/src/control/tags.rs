//! Operations on the tags of a channel.

pub(super) mod list_tags_for_resource;
pub(super) mod tag;
pub(super) mod tag_resource;
pub(super) mod untag_resource;
