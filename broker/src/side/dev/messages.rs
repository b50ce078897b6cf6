//! `GET /dev/messages`: returns messages between clients, decoded and summarized. A request can wait for messages.

use crate::side::admin::http::{Fault, JSON, rfc3339};
use crate::side::dev::captures::{Captures, NewestCopies};
use crate::side::dev::fault_rule;
use crate::side::dev::request::Parameters;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::IntoResponse;
use broker_core::shard::{Captured, Glob, Towards};
use codec::signal::Action;
use serde_json::{Value, json as value};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

#[derive(Clone)]
pub(crate) struct MessagePage {
    pub(crate) captures: Captures,
    pub(crate) are_kept: bool,
}

#[derive(Debug)]
struct MessageQuery {
    channel: Option<Glob>,
    action: Option<Action>,
    from: Option<Glob>,
    to: Option<Glob>,
    after: u64,
    limit: usize,
    min: usize,
    wait: Duration,
}

/// Returns the oldest messages that match the query and come after `after`. Waits for up to `wait` until at least `min`
/// messages match.
pub(crate) async fn list(
    State(page): State<MessagePage>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Fault> {
    if !page.are_kept {
        return Err(NOT_KEPT);
    }
    let wanted = parse(query.as_deref())?;
    let document = wait_for(&page.captures, &wanted).await;
    Ok(([(header::CONTENT_TYPE, JSON)], document))
}

async fn wait_for(captures: &Captures, wanted: &MessageQuery) -> String {
    let until = Instant::now() + wanted.wait;
    loop {
        let mut news = std::pin::pin!(captures.news());
        news.as_mut().enable();
        let missed = captures.missed();
        let min = if Instant::now() < until {
            wanted.min
        } else {
            0
        };
        let page = captures.with(|kept| page(kept, wanted, min, missed)).await;
        if let Some(page) = page {
            return page;
        }
        let _ = timeout_at(until, news).await;
    }
}

/// Formats the response, or returns `None` if there are fewer than `min` messages. Messages are written one at a time,
/// since a payload of a few KiB may take several MiB once parsed.
fn page(kept: &NewestCopies, wanted: &MessageQuery, min: usize, missed: u64) -> Option<String> {
    let after = kept.after(wanted.after);
    let found = after.filter(|(_, copy)| wanted.covers(copy));
    let rows: Vec<_> = found.take(wanted.limit).collect();
    if rows.len() < min {
        return None;
    }
    // If this page is full, the next page starts after its last row. Otherwise, it starts after the newest message.
    let next = match rows.last() {
        Some((number, _)) if rows.len() == wanted.limit => *number,
        Some(_) | None => kept.last().max(wanted.after),
    };
    let mut page = String::from("{\"messages\":[");
    for (place, (seq, copy)) in rows.into_iter().enumerate() {
        if place > 0 {
            page.push(',');
        }
        page.push_str(&row(*seq, copy).to_string());
    }
    page.push_str(&format!("],\"missed\":{missed},\"next\":{next}}}"));
    Some(page)
}

impl MessageQuery {
    fn covers(&self, copy: &Captured) -> bool {
        let (from, to) = ends(copy);
        let glob = |glob: &Option<Glob>, text: Option<&str>| {
            let covers = |glob: &Glob| text.is_some_and(|text| glob.covers(text));
            glob.as_ref().is_none_or(covers)
        };
        glob(&self.channel, Some(&copy.channel))
            && glob(&self.from, Some(from))
            && glob(&self.to, to)
            && (self.action.is_none() || self.action == copy.action)
    }
}

fn parse(query: Option<&str>) -> Result<MessageQuery, String> {
    let parameters = Parameters::parse(query, &PARAMETERS)?;
    let limit = parameters.number("limit", 1..=LIMIT_MAX)?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    let min = parameters.number("min", 0..=limit)?.unwrap_or(1);
    let action = parameters
        .text("action")
        .map(fault_rule::action)
        .transpose();
    Ok(MessageQuery {
        channel: parameters.glob("channel"),
        action: action.map_err(|rule| format!("action: {rule}"))?,
        from: parameters.glob("from"),
        to: parameters.glob("to"),
        after: parameters
            .number("after", 0..=u64::MAX)?
            .unwrap_or_default(),
        limit,
        min,
        wait: parameters.wait()?,
    })
}

fn row(seq: u64, copy: &Captured) -> Value {
    let (from, to) = ends(copy);
    let payload = decoded(&copy.payload);
    value!({
        "seq": seq,
        "at": rfc3339(copy.at),
        "channel": copy.channel,
        "from": from,
        "to": to,
        "action": copy.action.map(Action::as_str),
        "bytes": copy.payload.len(),
        "outcome": copy.fate.as_str(),
        "sdp": payload.as_ref().and_then(description),
        "candidate": payload.as_ref().and_then(candidate),
        "payload": payload,
    })
}

/// Returns the sender of a message and, if known, the recipient.
fn ends(copy: &Captured) -> (&str, Option<&str>) {
    match copy.towards {
        Some(Towards::Master) => (&copy.viewer, Some(MASTER)),
        Some(Towards::Viewer) => (MASTER, Some(&copy.viewer)),
        None if copy.viewer.is_empty() => (MASTER, None),
        None => (&copy.viewer, None),
    }
}

const PARAMETERS: [&str; 8] = [
    "channel", "action", "from", "to", "after", "limit", "min", "wait",
];
const NOT_KEPT: Fault =
    Fault::conflict("no messages are kept: dev_capture is false in the configuration");
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
const MASTER: &str = "MASTER";

// Payload summaries, meant for tests. Payloads are session descriptions or candidates.

/// Decodes base64-encoded JSON. Returns `None` for any other payload.
pub(crate) fn decoded(payload: &str) -> Option<Value> {
    let bytes = base64_simd::STANDARD.decode_to_vec(payload).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Summarizes a session description as `{"type","media","iceUfrag","fingerprint","candidates","characters"}`.
pub(crate) fn description(payload: &Value) -> Option<Value> {
    let sdp = payload.get("sdp")?.as_str()?;
    let attribute = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name));
    let candidates = sdp.lines().filter(|line| line.starts_with("a=candidate:"));
    Some(value!({
        "type": payload.get("type"),
        "media": media(sdp),
        "iceUfrag": attribute("a=ice-ufrag:"),
        "fingerprint": attribute("a=fingerprint:"),
        "candidates": candidates.count(),
        "characters": sdp.chars().count(),
    }))
}

/// Summarizes a candidate as `{"type","protocol"}` (RFC 8839, section 5.1).
fn candidate(payload: &Value) -> Option<Value> {
    let text = payload.get("candidate")?.as_str()?;
    let mut words = text.split(' ');
    let protocol = words.nth(2)?.to_ascii_lowercase();
    words.find(|word| *word == "typ")?;
    Some(value!({ "type": words.next()?, "protocol": protocol }))
}

fn media(sdp: &str) -> Vec<String> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in sdp.lines() {
        if let Some(section) = line.strip_prefix("m=") {
            let mut words = section.split(' ');
            sections.push(Section {
                kind: words.next().unwrap_or_default(),
                format: words.nth(2),
                codec: None,
                direction: None,
            });
        } else if let (Some(section), Some(attribute)) =
            (sections.last_mut(), line.strip_prefix("a="))
        {
            section.read(attribute);
        }
    }
    sections.truncate(SECTIONS_MAX);
    sections.iter().map(Section::words).collect()
}

/// A media section of an SDP, which starts with an `m=` line.
struct Section<'a> {
    kind: &'a str,
    format: Option<&'a str>,
    codec: Option<&'a str>,
    direction: Option<&'a str>,
}

impl<'a> Section<'a> {
    fn read(&mut self, attribute: &'a str) {
        if DIRECTIONS.contains(&attribute) {
            self.direction = Some(attribute);
        }
        let Some((format, map)) = attribute
            .strip_prefix("rtpmap:")
            .and_then(|rest| rest.split_once(' '))
        else {
            return;
        };
        if Some(format) == self.format {
            self.codec = map.split('/').next();
        }
    }

    fn words(&self) -> String {
        // A media section without a direction is sendrecv (RFC 8866, section 6.7).
        let direction = match self.kind {
            "application" => self.direction,
            _ => self.direction.or(Some("sendrecv")),
        };
        let words = [Some(self.kind), self.codec, direction];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        words.join(" ")
    }
}

const DIRECTIONS: [&str; 4] = ["sendrecv", "sendonly", "recvonly", "inactive"];

const SECTIONS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::shard::Fate;
    use broker_core::time::Wall;

    fn copy(channel: &str, towards: Towards, action: Action) -> Captured {
        Captured {
            at: Wall(0),
            channel: channel.into(),
            towards: Some(towards),
            viewer: "v1".into(),
            action: Some(action),
            payload: "eyJhIjoxfQ==".into(),
            fate: Fate::Delivered,
        }
    }

    fn numbers(page: &Value) -> Vec<u64> {
        let rows = page["messages"].as_array().unwrap();
        rows.iter()
            .map(|row| row["seq"].as_u64().unwrap())
            .collect()
    }

    async fn answer(captures: &Captures, wanted: &MessageQuery) -> Value {
        let text = wait_for(captures, wanted).await;
        let page: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(page.to_string(), text, "written as any other document");
        page
    }

    #[tokio::test]
    async fn messages_are_found_by_what_they_are() {
        let captures = Captures::default();
        let mut shard = captures.of_shard();
        shard.take(copy("cam-1", Towards::Master, Action::SdpOffer));
        shard.take(copy("cam-1", Towards::Viewer, Action::SdpAnswer));
        shard.take(copy("cam-2", Towards::Master, Action::SdpOffer));
        for (query, found, next) in [
            ("", &[1, 2, 3][..], 3),
            ("channel=cam-1", &[1, 2], 3),
            ("channel=cam-*&action=SDP_OFFER", &[1, 3], 3),
            ("from=MASTER", &[2], 3),
            ("to=v?", &[2], 3),
            ("after=1", &[2, 3], 3),
            ("limit=2", &[1, 2], 2),
            ("after=9", &[], 9),
        ] {
            let page = answer(&captures, &parse(Some(query)).unwrap()).await;
            assert_eq!(numbers(&page), found, "{query}");
            assert_eq!(page["next"], next, "{query}");
        }
        let page = answer(&captures, &parse(Some("limit=1")).unwrap()).await;
        let first = &page["messages"][0];
        assert_eq!(first["from"], "v1");
        assert_eq!(first["to"], "MASTER");
        assert_eq!(first["payload"], value!({ "a": 1 }));
        assert_eq!(first["sdp"], Value::Null);
    }

    #[tokio::test]
    async fn a_request_waits_for_messages_to_come_and_no_longer_than_it_said() {
        let captures = Captures::default();
        let began = Instant::now();
        let wanted = parse(Some("wait=50ms")).unwrap();
        let page = answer(&captures, &wanted).await;
        assert!(numbers(&page).is_empty() && began.elapsed() >= Duration::from_millis(50));
        let mut shard = captures.of_shard();
        let wanted = parse(Some("min=2&wait=25s&action=SDP_OFFER")).unwrap();
        let (page, ()) = tokio::join!(answer(&captures, &wanted), async {
            for action in [Action::SdpOffer, Action::SdpAnswer, Action::SdpOffer] {
                tokio::task::yield_now().await;
                shard.take(copy("cam-1", Towards::Master, action));
            }
        });
        assert_eq!(numbers(&page), [1, 3]);
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "it came before the time was over"
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (query, name) in [
            ("limit=1001", "limit: expected 1 to 1000"),
            ("min=101", "min: expected 0 to 100"),
            ("wait=31s", "wait: expected"),
            (
                "action=SDP_OFER",
                "action: expected SDP_OFFER, SDP_ANSWER, ICE_CANDIDATE",
            ),
            ("chanel=x", "chanel: unknown parameter"),
        ] {
            let fault = parse(Some(query)).unwrap_err();
            assert!(fault.starts_with(name), "{fault}");
        }
    }
}

#[cfg(test)]
mod summary_tests {
    use super::*;

    const SDP: &str = "v=0\r\na=ice-ufrag:aB3\r\na=fingerprint:sha-256 AB:CD\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n\
                       a=rtpmap:97 VP8/90000\r\na=rtpmap:96 H264/90000\r\na=recvonly\r\na=candidate:1 1 udp 1 1.2.3.4 \
                       5 typ host\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nm=application 9 UDP/DTLS/SCTP \
                       webrtc-datachannel\r\n";

    #[test]
    fn a_description_in_words() {
        let shown = description(&value!({ "type": "offer", "sdp": SDP })).unwrap();
        assert_eq!(
            shown["media"],
            value!(["video H264 recvonly", "audio sendrecv", "application"])
        );
        assert_eq!(shown["type"], "offer");
        assert_eq!(shown["iceUfrag"], "aB3");
        assert_eq!(shown["fingerprint"], "sha-256 AB:CD");
        assert_eq!(shown["candidates"], 1);
        assert_eq!(shown["characters"], value!(SDP.len()));
        assert_eq!(description(&value!({ "candidate": "" })), None);
    }

    #[test]
    fn a_candidate_has_a_type_and_a_protocol() {
        let text = "candidate:842163049 1 UDP 1677729535 203.0.113.9 61665 typ srflx raddr 0.0.0.0 rport 0";
        assert_eq!(
            candidate(&value!({ "candidate": text })),
            Some(value!({ "type": "srflx", "protocol": "udp" }))
        );
        for bad in [
            value!({}),
            value!({ "candidate": "" }),
            value!({ "candidate": "a b c typ" }),
        ] {
            assert_eq!(candidate(&bad), None, "{bad}");
        }
    }

    #[test]
    fn payloads_that_are_no_json_are_none() {
        assert_eq!(decoded("eyJhIjoxfQ=="), Some(value!({ "a": 1 })));
        for bad in ["", "%%%", "b2ZmZXI="] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }
}
