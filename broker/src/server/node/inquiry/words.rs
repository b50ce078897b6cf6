//! Inquiries and replies as JSON: members that a version does not know are passed over.

use crate::side::{NodeReply, Posted};
use broker_core::cluster::maps::slot_set::SlotSet;
use broker_core::limits::LIST_PAGE_MAX;
use broker_core::record::{Holding, Listed, VERSION_BYTES, Version};
use broker_core::shard::{PagePart, PageQuestion};
use broker_core::time::Wall;
use codec::aws::ChannelArn;
use codec::control::ChannelStatus;
use serde_json::{Value, json};

/// A question or request of another node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inquiry {
    /// Its part of a page.
    Page(PageQuestion),
    /// The channels of an account: `region:account:`.
    Count(Box<str>),
    /// The admin listener's answer at this path.
    Get(String),
    /// That its admin listener takes this at a path, once.
    Post(String, Posted),
}

/// The inquiry of these bytes; `None` if this version knows none such.
pub(super) fn inquiry(bytes: &[u8]) -> Option<Inquiry> {
    let asked: Value = serde_json::from_slice(bytes).ok()?;
    if let Some(prefix) = asked.get("count") {
        return Some(Inquiry::Count(prefix.as_str()?.into()));
    }
    if let Some(path) = asked.get("get") {
        return Some(Inquiry::Get(path.as_str()?.into()));
    }
    if let Some(path) = asked.get("post") {
        let posted = Posted {
            body: asked.get("body")?.as_str()?.into(),
            remote: asked.get("remote")?.as_str()?.parse().ok()?,
        };
        return Some(Inquiry::Post(path.as_str()?.into(), posted));
    }
    let page = asked.get("page")?;
    let limit = usize::try_from(page.get("limit")?.as_u64()?).ok()?;
    let after = page.get("after").and_then(Value::as_str);
    Some(Inquiry::Page(PageQuestion {
        prefix: page.get("prefix")?.as_str()?.into(),
        after: after.map(Into::into),
        limit: limit.clamp(1, LIST_PAGE_MAX),
    }))
}

pub(super) fn count_inquiry(prefix: &str) -> Vec<u8> {
    json!({ "count": prefix }).to_string().into_bytes()
}

pub(super) fn count_reply(Holding { channels, bytes }: Holding) -> Vec<u8> {
    json!({ "count": channels, "bytes": bytes })
        .to_string()
        .into_bytes()
}

/// Channels of an account on another node; an earlier version sends no bytes.
pub(super) fn count(bytes: &[u8]) -> Option<Holding> {
    let replied: Value = serde_json::from_slice(bytes).ok()?;
    let bytes = replied.get("bytes").and_then(Value::as_u64);
    Some(Holding {
        channels: replied.get("count")?.as_u64()?,
        bytes: bytes.unwrap_or(0),
    })
}

pub(super) fn get_inquiry(path: &str) -> Vec<u8> {
    json!({ "get": path }).to_string().into_bytes()
}

pub(super) fn post_inquiry(path: &str, Posted { body, remote }: &Posted) -> Vec<u8> {
    json!({ "post": path, "body": body, "remote": remote.to_string() })
        .to_string()
        .into_bytes()
}

pub(super) fn get_reply(status: u16, body: &Value) -> Vec<u8> {
    json!({ "status": status, "body": body })
        .to_string()
        .into_bytes()
}

/// The answer of a node's admin listener; `None` if the bytes are none.
pub(super) fn got(node: &str, bytes: &[u8]) -> Option<NodeReply> {
    let mut replied: Value = serde_json::from_slice(bytes).ok()?;
    Some(NodeReply {
        node: node.into(),
        status: u16::try_from(replied.get("status")?.as_u64()?).ok()?,
        body: replied.get_mut("body")?.take(),
    })
}

pub(super) fn page_inquiry(question: &PageQuestion) -> Vec<u8> {
    let PageQuestion {
        prefix,
        after,
        limit,
    } = question;
    let page = json!({ "prefix": prefix, "after": after, "limit": limit });
    json!({ "page": page }).to_string().into_bytes()
}

pub(super) fn part_reply(part: &PagePart) -> Vec<u8> {
    let channel = |listed: &Listed| {
        json!([
            listed.arn.as_str(),
            listed.ttl_seconds,
            listed.created.0,
            listed.version.as_str(),
            listed.status == ChannelStatus::Deleting,
        ])
    };
    let channels: Vec<Value> = part.records.iter().map(channel).collect();
    let slots = base64_simd::STANDARD.encode_to_string(part.slots.to_bytes());
    let page = json!({ "channels": channels, "complete_to": part.complete_to, "slots": slots });
    json!({ "page": page }).to_string().into_bytes()
}

/// The part of a page that a node replied; `None` if it is none, or longer than any page.
pub(super) fn part(bytes: &[u8]) -> Option<PagePart> {
    let replied: Value = serde_json::from_slice(bytes).ok()?;
    let page = replied.get("page")?;
    let channels = page.get("channels")?.as_array()?;
    if channels.len() > LIST_PAGE_MAX {
        return None;
    }
    let records: Option<Vec<Listed>> = channels.iter().map(listed).collect();
    let slots = page.get("slots")?.as_str()?;
    let slots = base64_simd::STANDARD.decode_to_vec(slots).ok()?;
    let complete_to = page.get("complete_to").and_then(Value::as_str);
    Some(PagePart {
        records: records?,
        complete_to: complete_to.map(Into::into),
        slots: SlotSet::from_bytes(&slots)?,
    })
}

fn listed(channel: &Value) -> Option<Listed> {
    let [arn, ttl_seconds, created, version, is_deleting, ..] = &channel.as_array()?[..] else {
        return None;
    };
    let version: [u8; VERSION_BYTES] = version.as_str()?.as_bytes().try_into().ok()?;
    Some(Listed {
        arn: ChannelArn::parse(arn.as_str()?, false).ok()?,
        ttl_seconds: u32::try_from(ttl_seconds.as_u64()?).ok()?,
        created: Wall(created.as_u64()?),
        version: Version::from_bytes(version)?,
        status: if is_deleting.as_bool()? {
            ChannelStatus::Deleting
        } else {
            ChannelStatus::Active
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::id::Slot;

    #[test]
    fn inquiries_and_parts_arrive_as_they_were_sent() {
        for after in [None, Some("us-west-2:1:cam".into())] {
            let question = PageQuestion {
                prefix: "us-west-2:1:c".into(),
                after,
                limit: 17,
            };
            let sent = inquiry(&page_inquiry(&question));
            assert_eq!(sent, Some(Inquiry::Page(question)));
        }
        let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam/17";
        let listed = Listed {
            arn: ChannelArn::parse(arn, true).unwrap(),
            ttl_seconds: 60,
            created: Wall(17),
            version: Version::from_bytes([b'v'; VERSION_BYTES]).unwrap(),
            status: ChannelStatus::Deleting,
        };
        let mut slots = SlotSet::default();
        slots.insert(Slot(4095));
        let sent = PagePart {
            records: vec![listed],
            complete_to: Some("cam".into()),
            slots,
        };
        let came = part(&part_reply(&sent)).unwrap();
        assert_eq!(format!("{came:?}"), format!("{sent:?}"));
    }

    #[test]
    fn counts_and_paths_arrive_as_they_were_sent() {
        let prefix = "us-west-2:1:";
        let sent = inquiry(&count_inquiry(prefix));
        assert_eq!(sent, Some(Inquiry::Count(prefix.into())));
        let held = Holding {
            channels: 7,
            bytes: 1 << 33,
        };
        assert_eq!(count(&count_reply(held)), Some(held));
        let of_channels = Holding { bytes: 0, ..held };
        assert_eq!(
            count(br#"{"count":7}"#),
            Some(of_channels),
            "of an earlier version"
        );
        let path = "/channels?prefix=a%22";
        assert_eq!(inquiry(&get_inquiry(path)), Some(Inquiry::Get(path.into())));
        let posted = Posted {
            body: "{\"role\":\"all\"}".into(),
            remote: ([127, 0, 0, 1], 9).into(),
        };
        let sent = post_inquiry(path, &posted);
        assert_eq!(inquiry(&sent), Some(Inquiry::Post(path.into(), posted)));
        let body = json!({ "error": "no such channel" });
        let got = got("n2", &get_reply(404, &body)).unwrap();
        assert_eq!((&*got.node, got.status, got.body), ("n2", 404, body));
        for bad in [
            "",
            "{}",
            "[1]",
            "{\"count\":-1}",
            "{\"status\":99999,\"body\":1}",
        ] {
            assert!(super::got("n2", bad.as_bytes()).is_none());
            assert_eq!(count(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_reply_is_none() {
        let good = String::from_utf8(part_reply(&PagePart::default())).unwrap();
        assert!(part(good.as_bytes()).is_some());
        for bad in [
            "",
            "{}",
            "[]",
            "{\"page\":{}}",
            &good.replace("\"slots\":\"AAAA", "\"slots\":\"AA"),
            &good.replace("[]", "[[\"arn\",1,2,\"v\",false]]"),
            &good.replace("[]", "{}"),
            &good.replace("[]", &format!("{:?}", vec![0; LIST_PAGE_MAX + 1])),
        ] {
            assert!(part(bad.as_bytes()).is_none(), "{bad}");
        }
        for bad in [
            "",
            "{}",
            "{\"page\":{\"prefix\":1,\"limit\":1}}",
            "{\"later\":{}}",
            "{\"post\":\"/\",\"body\":\"\"}",
            "{\"post\":\"/\",\"body\":\"\",\"remote\":\"here\"}",
            "{\"post\":\"/\",\"body\":{},\"remote\":\"127.0.0.1:9\"}",
        ] {
            assert_eq!(inquiry(bad.as_bytes()), None, "{bad}");
        }
    }
}
