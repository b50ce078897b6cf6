//! Summaries of payloads: the session description or the candidate in one, as it is of use in a test.

use serde_json::{Value, json as value};

/// The payload as JSON, if it is base64 of that.
pub(crate) fn decoded(payload: &str) -> Option<Value> {
    let bytes = base64_simd::STANDARD.decode_to_vec(payload).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// `{"type","media","iceUfrag","fingerprint","candidates","characters"}` of a session description.
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

/// `{"type","protocol"}` of a candidate (RFC 8839 section 5.1).
pub(crate) fn candidate(payload: &Value) -> Option<Value> {
    let text = payload.get("candidate")?.as_str()?;
    let mut words = text.split(' ');
    let protocol = words.nth(2)?.to_ascii_lowercase();
    words.find(|word| *word == "typ")?;
    Some(value!({ "type": words.next()?, "protocol": protocol }))
}

/// Each section in words: what it is, its first codec, its direction.
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

/// A section that begins with `m=`.
struct Section<'a> {
    kind: &'a str,
    /// The first of its formats.
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
        // RFC 8866 section 6.7: a section without a direction is sendrecv.
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

/// Sections that are described.
const SECTIONS_MAX: usize = 32;

#[cfg(test)]
mod tests {

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
        assert_eq!(
            (&shown["type"], &shown["iceUfrag"], &shown["fingerprint"]),
            (&value!("offer"), &value!("aB3"), &value!("sha-256 AB:CD"))
        );
        assert_eq!(
            (&shown["candidates"], &shown["characters"]),
            (&value!(1), &value!(SDP.len()))
        );
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
