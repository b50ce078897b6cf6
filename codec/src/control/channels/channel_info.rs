//! A channel in the responses of Describe and List.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// A channel as its record has it.
#[derive(Clone, Copy, Debug)]
pub struct ChannelInfo<'a> {
    /// The channel's name.
    pub name: &'a str,
    /// The channel's ARN.
    pub arn: &'a str,
    /// The state in the channel's life.
    pub status: ChannelStatus,
    /// When it was created, in milliseconds since the epoch.
    pub created_ms: u64,
    /// The time that undelivered messages are kept, in seconds.
    pub ttl_seconds: u32,
    /// The record's version: 1 to 64 characters of `[a-zA-Z0-9]`.
    pub version: &'a str,
}

/// The states that AWS knows. Here a call that makes or changes a channel is answered after the change, so that no
/// caller sees a state in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, Serialize, Deserialize)]
#[strum(serialize_all = "UPPERCASE")]
pub enum ChannelStatus {
    /// Being made.
    Creating,
    /// In use.
    Active,
    /// Being changed.
    Updating,
    /// Being deleted: the C SDK does not connect to such a channel.
    Deleting,
}

impl ChannelStatus {
    /// The state's AWS name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Appends a channel as an object. Members are in this order and `SingleMasterConfiguration` has one member only:
/// the C SDK reads the tokens flat, whatever object they are in.
pub(crate) fn channel_info(out: &mut Vec<u8>, info: &ChannelInfo<'_>) {
    crate::control::write::member(out, b'{', "ChannelName");
    crate::json::write::string(out, info.name);
    crate::control::write::member(out, b',', "ChannelARN");
    crate::json::write::string(out, info.arn);
    crate::control::write::member(out, b',', "ChannelType");
    crate::json::write::string(out, "SINGLE_MASTER");
    crate::control::write::member(out, b',', "ChannelStatus");
    crate::json::write::string(out, info.status.as_str());
    crate::control::write::member(out, b',', "CreationTime");
    crate::control::write::epoch_seconds(out, info.created_ms);
    crate::control::write::member(out, b',', "SingleMasterConfiguration");
    crate::control::write::member(out, b'{', "MessageTtlSeconds");
    crate::control::write::number(out, u64::from(info.ttl_seconds));
    out.push(b'}');
    crate::control::write::member(out, b',', "Version");
    crate::json::write::string(out, info.version);
    out.push(b'}');
}
