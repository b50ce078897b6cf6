//! Inquiries and replies as bytes. A further kind goes at the end of its `enum`: an earlier version replies nothing.

use crate::limits::{ADMIN_BODY_BYTES_MAX, ADMIN_HEAD_BYTES_MAX};
use crate::side::Posted;
use broker_core::limits::LIST_PAGE_MAX;
use broker_core::record::Holding;
use broker_core::shard::{PagePart, PageQuestion};
use broker_core::wire;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A question or request of another node.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Inquiry {
    /// Its part of a page.
    Page(PageQuestion),
    /// The channels of an account: `region:account:`.
    Count(Box<str>),
    /// The admin listener's answer at this path.
    Get(String),
    /// That its admin listener takes this at a path, once.
    Post(String, Posted),
}

impl Inquiry {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        wire::write(self)
    }

    /// The inquiry of these bytes; `None` if this version knows none such.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut inquiry = wire::read(bytes, BYTES_MAX)?;
        if let Self::Page(question) = &mut inquiry {
            question.limit = question.limit.clamp(1, LIST_PAGE_MAX);
        }
        Some(inquiry)
    }
}

/// The answer to an inquiry.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// To [`Inquiry::Page`].
    Page(Box<PagePart>),
    /// To [`Inquiry::Count`].
    Count(Holding),
    /// Status and document of an admin listener; the document is JSON.
    Admin(u16, Box<str>),
}

impl Reply {
    pub(crate) fn admin(status: u16, document: &Value) -> Self {
        Self::Admin(status, document.to_string().into())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        wire::write(self)
    }

    /// The reply of these bytes; `None` if they are none.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        wire::read(bytes, REPLY_BYTES_MAX)
    }
}

/// Bytes of a reply, at most: of a page of an operator, which is refused there if it is longer. One of channels is a
/// quarter.
pub(crate) const REPLY_BYTES_MAX: usize = 4 << 20;

/// Bytes of an inquiry, at most: what an admin listener takes of a request.
const BYTES_MAX: usize = ADMIN_HEAD_BYTES_MAX + ADMIN_BODY_BYTES_MAX;

#[cfg(test)]
mod tests {

    use super::*;
    use broker_core::cluster::slot_maps::SlotSet;
    use broker_core::id::Slot;
    use broker_core::record::{Listed, VERSION_BYTES, Version};
    use broker_core::time::Wall;
    use codec::control::ChannelStatus;
    use codec::identifiers::ChannelArn;
    use serde_json::json;

    fn listed() -> Listed {
        let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam/17";
        Listed {
            arn: ChannelArn::parse(arn, true).unwrap(),
            ttl_seconds: 60,
            created: Wall(17),
            version: Version::from_bytes([b'v'; VERSION_BYTES]).unwrap(),
            status: ChannelStatus::Deleting,
        }
    }

    fn part(channels: usize) -> Reply {
        let mut slots = SlotSet::default();
        slots.insert(Slot(4095));
        Reply::Page(Box::new(PagePart {
            records: vec![listed(); channels],
            complete_to: Some("cam".into()),
            slots,
        }))
    }

    /// Cut off anywhere, with a byte more, and with any byte changed: refused, or something else, but read.
    fn bear(bytes: &[u8], read: impl Fn(&[u8]) -> Option<String>) {
        for at in 0..bytes.len() {
            assert_eq!(read(&bytes[..at]), None, "{at} bytes");
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.to_vec();
                changed[at] = byte;
                read(&changed);
            }
        }
        assert_eq!(read(&[bytes, &[0]].concat()), None);
    }

    #[test]
    fn inquiries_arrive_as_they_were_sent() {
        let page = |after: Option<&str>, limit| {
            Inquiry::Page(PageQuestion {
                prefix: "us-west-2:1:c".into(),
                after: after.map(Into::into),
                limit,
            })
        };
        let posted = Posted {
            body: "{\"role\":\"all\"}".into(),
            remote: ([127, 0, 0, 1], 9).into(),
        };
        for inquiry in [
            page(None, 1),
            page(Some("us-west-2:1:cam"), LIST_PAGE_MAX),
            Inquiry::Count("us-west-2:1:".into()),
            Inquiry::Get("/channels?prefix=a%22".into()),
            Inquiry::Post("/log".into(), posted),
        ] {
            let bytes = inquiry.bytes();
            bear(&bytes, |bytes| {
                Inquiry::read(bytes).map(|read| format!("{read:?}"))
            });
            assert_eq!(Inquiry::read(&bytes), Some(inquiry));
        }
        for (asked, limit) in [(0, 1), (usize::MAX, LIST_PAGE_MAX)] {
            let read = Inquiry::read(&page(None, asked).bytes());
            assert_eq!(read, Some(page(None, limit)));
        }
        let long = Inquiry::Get("/".repeat(BYTES_MAX));
        assert_eq!(Inquiry::read(&long.bytes()), None);
        for former in ["{\"get\":\"/live\"}", "{\"count\":\"us-west-2:1:\"}"] {
            assert_eq!(Inquiry::read(former.as_bytes()), None, "{former}");
        }
    }

    #[test]
    fn replies_arrive_as_they_were_sent() {
        let holding = Holding {
            channels: 7,
            bytes: 1 << 33,
        };
        let document = json!({ "error": "no such channel" });
        for reply in [part(1), Reply::Count(holding), Reply::admin(404, &document)] {
            let bytes = reply.bytes();
            let read = |bytes: &[u8]| Reply::read(bytes).map(|read| format!("{read:?}"));
            assert_eq!(read(&bytes), Some(format!("{reply:?}")));
            bear(&bytes, read);
        }
        assert!(Reply::read(&part(LIST_PAGE_MAX).bytes()).is_some());
        assert!(Reply::read(&part(LIST_PAGE_MAX + 1).bytes()).is_none());
        let mut unknown = part(1).bytes();
        let text = listed().version.as_str().to_owned();
        let at = unknown
            .windows(text.len())
            .position(|bytes| bytes == text.as_bytes());
        unknown[at.unwrap()] = b'-';
        assert!(
            Reply::read(&unknown).is_none(),
            "no version has such a character"
        );
    }
}
