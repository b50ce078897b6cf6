//! Operations on channels: made, described, listed, altered, deleted, and found.

pub(crate) mod channel_info;
pub(crate) mod create_signaling_channel;
pub(crate) mod delete_signaling_channel;
pub(crate) mod describe_signaling_channel;
pub(crate) mod get_signaling_channel_endpoint;
pub(crate) mod list_signaling_channels;
pub(crate) mod update_signaling_channel;
