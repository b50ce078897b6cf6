//! DescribeMediaStorageConfiguration, `/describeMediaStorageConfiguration`.

use crate::control::channels::describe_signaling_channel::Selector;
use crate::control::constraint::BodyRules;
use crate::control::error::ApiError;
use crate::json::value::Object;

/// Returns whether what a channel's peers send each other is stored. It never is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeMediaStorageConfiguration {
    /// Which channel.
    pub channel: Selector,
}

impl DescribeMediaStorageConfiguration {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let channel = Selector::parse(object, rules)?;
        Ok(Self { channel })
    }
}

/// Appends the response: no storage. A client that reads this does not try to join a storage session.
pub fn describe_media_storage(out: &mut Vec<u8>) {
    // The C SDK takes `null`, and asks for both members.
    let text = br#"{"MediaStorageConfiguration":{"StreamARN":null,"Status":"DISABLED"}}"#;
    out.extend_from_slice(text);
}
