//! Who a peer is, and how the service knows it.

use codec::http::encode;
use std::fmt::Write;

/// A peer's place: constant for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The channel, counted from 0.
    pub channel: u32,
    /// 0: the channel's master. From 1: its viewers.
    pub place: u32,
}

/// What the names of all channels have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// Such as `us-west-2`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// A channel's name is this and its number.
    pub prefix: String,
}

impl Naming {
    /// The name of a channel.
    #[must_use]
    pub fn name(&self, channel: u32) -> String {
        format!("{}{channel}", self.prefix)
    }

    /// The ARN of a channel.
    #[must_use]
    pub fn arn(&self, channel: u32) -> String {
        let Self {
            region,
            account,
            prefix,
        } = self;
        format!("arn:aws:kinesisvideo:{region}:{account}:channel/{prefix}{channel}/{CREATED_MS}")
    }

    /// Path and query of a peer's upgrade, without a signature.
    #[must_use]
    pub fn target(&self, name: Name) -> String {
        let mut target = String::from("/?X-Amz-ChannelARN=");
        encode(&mut target, &self.arn(name.channel));
        if name.place > 0 {
            target.push_str("&X-Amz-ClientId=");
            write_client_id(&mut target, name.place);
        }
        target
    }
}

/// Appends the client id of the viewer at this place.
pub(super) fn write_client_id(out: &mut String, place: u32) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{VIEWER}{place}");
}

/// The place of the viewer with this client id.
pub(super) fn place_of(client_id: &str) -> Option<u32> {
    client_id.strip_prefix(VIEWER)?.parse().ok()
}

const VIEWER: &str = "viewer-";
/// The creation time in every ARN, milliseconds since 1970.
const CREATED_MS: u64 = 1_700_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_what_the_service_expects() {
        let naming = Naming {
            region: "us-west-2".into(),
            account: "123456789012".into(),
            prefix: "loadgen-".into(),
        };
        let arn = "arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2Floadgen-4%2F1700000000000";
        let target = |place| naming.target(Name { channel: 4, place });
        assert_eq!(target(0), format!("/?X-Amz-ChannelARN={arn}"));
        assert_eq!(
            target(12),
            format!("/?X-Amz-ChannelARN={arn}&X-Amz-ClientId=viewer-12")
        );
        assert!(codec::aws::ChannelArn::parse(&naming.arn(4), true).is_ok());
        assert_eq!(place_of("viewer-12"), Some(12));
        assert_eq!(place_of("viewer"), None);
    }
}
