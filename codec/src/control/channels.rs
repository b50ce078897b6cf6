//! Operations on channels: made, described, listed, altered, deleted, and found.

pub(super) mod channel_info;
pub(super) mod create_signaling_channel;
pub(super) mod delete_signaling_channel;
pub(super) mod describe_signaling_channel;
pub(super) mod get_signaling_channel_endpoint;
pub(super) mod list_signaling_channels;
pub(super) mod update_signaling_channel;
