//! The identity of a peer, and the names by which the service knows it.

use std::fmt::Write;

/// A peer's place: constant for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The channel, counted from 0.
    pub channel: u32,
    /// 0: the channel's master. From 1: its viewers.
    pub place: u32,
}

/// The parts that the names of all channels have in common.
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
}

/// The client id of the viewer at this place.
#[must_use]
pub fn client_id(place: u32) -> String {
    let mut id = String::new();
    write_client_id(&mut id, place);
    id
}

/// Path and query of a request for a WebSocket, without a signature.
#[must_use]
pub fn unsigned_target(arn: &str, client_id: Option<&str>) -> String {
    let mut target = String::from("/?X-Amz-ChannelARN=");
    codec::http::encode(&mut target, arn);
    if let Some(client_id) = client_id {
        target.push_str("&X-Amz-ClientId=");
        codec::http::encode(&mut target, client_id);
    }
    target
}

/// Appends the client id of the viewer at this place.
pub(crate) fn write_client_id(out: &mut String, place: u32) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{VIEWER}{place}");
}

/// The place of the viewer with this client id.
pub(crate) fn place_of(client_id: &str) -> Option<u32> {
    client_id.strip_prefix(VIEWER)?.parse().ok()
}

const VIEWER: &str = "viewer-";
/// The creation time in every ARN, milliseconds since 1970.
const CREATED_MS: u64 = 1_700_000_000_000;

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn names_are_what_the_service_expects() {
        let naming = Naming {
            region: "us-west-2".into(),
            account: "123456789012".into(),
            prefix: "loadgen-".into(),
        };
        let arn = naming.arn(4);
        let wanted = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/loadgen-4/1700000000000";
        assert_eq!(arn, wanted);
        assert!(codec::identifiers::ChannelArn::parse(&arn, true).is_ok());
        assert_eq!(client_id(12), "viewer-12");
        assert_eq!(place_of("viewer-12"), Some(12));
        assert_eq!(place_of("viewer"), None);
    }

    #[test]
    fn targets_without_a_signature_are_what_the_service_expects() {
        let master = "/?X-Amz-ChannelARN=arn%3Aaws%3Ax%2Fdemo";
        assert_eq!(unsigned_target("arn:aws:x/demo", None), master);
        let viewer = format!("{master}&X-Amz-ClientId=viewer-12");
        assert_eq!(unsigned_target("arn:aws:x/demo", Some("viewer-12")), viewer);
    }
}
