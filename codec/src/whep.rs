//! WHEP, the protocol by which a player obtains a camera's answer in a single HTTP request. See codec/PROTOCOL.md,
//! WHEP.
//!
//! Players exchange SDP. Cameras exchange payloads that contain base64-encoded JSON, and may send candidates before,
//! within and after their answer:
//! ```text
//! player ─ SDP ─ offer_payload ──▶ SDP_OFFER ──▶ camera
//! player ◀─ SDP ─ Gathered::into_answer ◀─ take_answer, take_candidate ◀─ SDP_ANSWER, ICE_CANDIDATE ─ camera
//! ```
//! An SDP is split into lines and sections, but is not parsed any further.

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;

use crate::base64;
use crate::http::{Head, decode, pairs};
use crate::identifiers::ChannelName;
use crate::json::{Object, Value, write};
use crate::limits::{
    WHEP_CANDIDATE_BYTES, WHEP_CANDIDATE_PAYLOAD_BYTES, WHEP_CANDIDATES, WHEP_GATHERED_BYTES,
};
use crate::sigv4::Parameter;
use std::fmt;

/// Prefix of the request paths of all players.
pub const PATH: &str = "/whep/";

/// Content type of offers and answers.
pub const CONTENT_TYPE: &str = "application/sdp";

/// Client id of a player whose token does not contain one.
pub const CLIENT_ID: &str = "whep";

/// Length of a call id, which consists of letters and digits. The `Location` of an answered call contains the id.
pub const CALL_ID_BYTES: usize = 16;

/// The resource that a player requests: `/whep/NAME` or `/whep/NAME/ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Name of the channel to play.
    pub channel: ChannelName<'a>,
    /// Id of an answered call, if the path contains one.
    pub call: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Parses a path. Returns `None` if it is not a player's path. The path is not decoded, because names never need
    /// percent-encoding.
    #[must_use]
    pub fn parse(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix(PATH)?;
        let (name, call) = match rest.split_once('/') {
            Some((name, call)) => (name, Some(call)),
            None => (rest, None),
        };
        let is_id = |id: &str| {
            id.len() == CALL_ID_BYTES && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let channel = ChannelName::parse(name).ok()?;
        call.is_none_or(is_id).then_some(Self { channel, call })
    }
}

/// Returns the token in a player's request. The token is in `Authorization: Bearer`, or is the whole query if there is
/// no such header. The result may be empty. Other authorization schemes are ignored.
#[must_use]
pub fn token<'a>(head: &Head<'a>) -> &'a str {
    bearer(head).or_else(|| head.query()).unwrap_or_default()
}

/// Returns the token in `Authorization: Bearer`, or `None` if it is missing or empty.
#[must_use]
pub fn bearer<'a>(head: &Head<'a>) -> Option<&'a str> {
    head.values("authorization").find_map(|value| {
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim_matches(' ');
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    })
}

/// Returns the client id in a token, percent-encoded and not validated, or `None` if [`CLIENT_ID`] applies.
#[must_use]
pub fn client_id(token: &str) -> Option<&str> {
    let is_named = |name: &str| {
        let name = decode(name).unwrap_or_default();
        Parameter::of(name.as_bytes()) == Some(Parameter::ClientId)
    };
    let mut all = pairs(token);
    all.find_map(|(name, value)| is_named(name).then_some(value))
}

/// The reason why an offer or an answer is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The offer is not UTF-8, or the answer's payload is not the base64 encoding of a JSON object with a string `sdp`.
    Malformed,
    /// The SDP contains no `m=` line. A camera may send such an answer if it supports none of the offered codecs.
    NoMedia,
    /// The payload of the offer or the SDP of the answer exceeds its limit.
    TooLong,
}

/// Builds the payload of an SDP_OFFER, at most `payload_bytes` bytes of base64 text. Removes the `trickle` option from
/// all `a=ice-options` lines, and the lines that are then empty, so that cameras include all candidates in the answer
/// if they can.
pub fn offer_payload(sdp: &[u8], payload_bytes: usize) -> Result<Vec<u8>, Fault> {
    let sdp = str::from_utf8(sdp).map_err(|_| Fault::Malformed)?;
    if !has_media(sdp) {
        return Err(Fault::NoMedia);
    }
    let mut asked = String::with_capacity(sdp.len());
    for line in lines(sdp) {
        match line.strip_prefix(ICE_OPTIONS) {
            Some(options) if options.split_whitespace().any(|word| word == TRICKLE) => {
                push_options(&mut asked, options);
            }
            Some(_) | None => asked.push_str(line),
        }
    }
    let mut json = br#"{"type":"offer","sdp":"#.to_vec();
    write::string(&mut json, &asked);
    json.push(b'}');
    if json.len().div_ceil(3) * 4 > payload_bytes {
        return Err(Fault::TooLong);
    }
    let mut payload = Vec::new();
    base64::encode(&mut payload, &json);
    Ok(payload)
}

fn push_options(out: &mut String, options: &str) {
    let kept = options.split_whitespace().filter(|word| *word != TRICKLE);
    let start = out.len();
    for word in kept {
        out.push_str(if out.len() == start { ICE_OPTIONS } else { " " });
        out.push_str(word);
    }
    if out.len() > start {
        out.push_str(options.get(options.trim_end().len()..).unwrap_or_default());
    }
}

const ICE_OPTIONS: &str = "a=ice-options:";
const TRICKLE: &str = "trickle";

/// A camera's answer to a call, and the candidates that arrived separately. Debug output hides all of them.
///
/// Invariant: there are at most [`WHEP_CANDIDATES`] candidates, and their total size, including the answer, is at most
/// [`WHEP_GATHERED_BYTES`] bytes.
#[derive(Default)]
pub struct Gathered {
    answer: Option<String>,
    candidates: Vec<Candidate>,
    bytes: usize,
    is_ended: bool,
}

struct Candidate {
    text: Box<str>,
    section: Section,
}

enum Section {
    Number(usize),
    Mid(Box<str>),
}

impl Gathered {
    /// Adds the payload of an SDP_ANSWER. Ignores all answers after the first. If the total size exceeds its limit,
    /// evicts candidates, newest first.
    pub fn take_answer(&mut self, payload: &[u8]) -> Result<(), Fault> {
        if self.answer.is_some() {
            return Ok(());
        }
        let sdp = read(payload, |object| text(object, "sdp").map(str::to_owned));
        let sdp = sdp.ok_or(Fault::Malformed)?;
        if !has_media(&sdp) {
            return Err(Fault::NoMedia);
        }
        if sdp.len() > WHEP_GATHERED_BYTES {
            return Err(Fault::TooLong);
        }
        self.is_ended |= is_complete(&sdp);
        self.bytes += sdp.len();
        self.answer = Some(sdp);
        while self.bytes > WHEP_GATHERED_BYTES
            && let Some(candidate) = self.candidates.pop()
        {
            self.bytes -= candidate.bytes();
        }
        Ok(())
    }

    /// Adds the payload of an ICE_CANDIDATE. An empty candidate marks the end of candidates. Returns whether a
    /// candidate was stored. Discards candidates that are malformed or exceed a limit.
    pub fn take_candidate(&mut self, payload: &[u8]) -> bool {
        let is_short = payload.len() <= WHEP_CANDIDATE_PAYLOAD_BYTES;
        let Some(candidate) = is_short.then(|| read(payload, Candidate::read)).flatten() else {
            return false;
        };
        let (is_end, bytes) = (candidate.text.is_empty(), self.bytes + candidate.bytes());
        self.is_ended |= is_end;
        let is_full = self.candidates.len() == WHEP_CANDIDATES || bytes > WHEP_GATHERED_BYTES;
        let is_kept = !is_end && !is_full;
        if is_kept {
            self.bytes = bytes;
            self.candidates.push(candidate);
        }
        is_kept
    }

    /// Returns whether the answer has arrived.
    #[must_use]
    pub const fn has_answer(&self) -> bool {
        self.answer.is_some()
    }

    /// Returns whether there is no point in waiting for more candidates: the answer contains a server-reflexive or
    /// relay candidate or the end of candidates, or an empty candidate has arrived in addition to the answer.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.has_answer() && self.is_ended
    }

    /// Returns the number of stored candidates.
    #[must_use]
    pub const fn candidates(&self) -> usize {
        self.candidates.len()
    }

    /// Returns the total size of the answer and the stored candidates, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the answer, with each candidate appended to its section. The answer is at most
    /// [`crate::limits::WHEP_ANSWER_BYTES`] long. Candidates for nonexistent sections are omitted. Returns `None` if no
    /// answer has arrived.
    #[must_use]
    pub fn into_answer(self) -> Option<String> {
        let sdp = self.answer?;
        let placed: Vec<_> = (self.candidates.iter())
            .filter_map(|candidate| Some((candidate.section.number(&sdp)?, &*candidate.text)))
            .collect();
        Some(merge(&sdp, &placed))
    }
}

impl Candidate {
    fn read(object: Object<'_, '_>) -> Option<Self> {
        let text_of = |name| text(object, name);
        let candidate = text_of("candidate")?;
        let is_plain = candidate.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let is_candidate = candidate.starts_with("candidate:") && is_plain;
        if !candidate.is_empty() && !is_candidate || candidate.len() > WHEP_CANDIDATE_BYTES {
            return None;
        }
        let number = member(object, "sdpMLineIndex").and_then(Value::integer);
        let section = match (number, text_of("sdpMid").filter(|mid| !mid.is_empty())) {
            (Some(number), _) => Section::Number(usize::try_from(number).unwrap_or(usize::MAX)),
            (None, Some(mid)) => Section::Mid(mid.into()),
            (None, None) => Section::Number(0),
        };
        Some(Self {
            text: candidate.into(),
            section,
        })
    }

    fn bytes(&self) -> usize {
        self.text.len()
            + match &self.section {
                Section::Number(_) => 0,
                Section::Mid(mid) => mid.len(),
            }
    }
}

impl Section {
    fn number(&self, sdp: &str) -> Option<usize> {
        let mut media = 0;
        for line in lines(sdp) {
            media += usize::from(line.starts_with(MEDIA));
            let is_mid = |mid: &str| line.strip_prefix("a=mid:").map(str::trim_end) == Some(mid);
            let is_found = match self {
                Self::Number(number) => *number < media,
                Self::Mid(mid) => media > 0 && is_mid(mid),
            };
            if is_found {
                return Some(media - 1);
            }
        }
        None
    }
}

fn merge(sdp: &str, placed: &[(usize, &str)]) -> String {
    let end = match lines(sdp).next() {
        Some(line) if line.ends_with('\n') && !line.ends_with("\r\n") => "\n",
        Some(_) | None => "\r\n",
    };
    let added: usize = placed.iter().map(|(_, text)| text.len() + 6).sum();
    let mut out = String::with_capacity(sdp.len() + added);
    let mut media: usize = 0;
    // The additional line ends the last section.
    for line in lines(sdp).chain([MEDIA]) {
        if line.starts_with(MEDIA) {
            let own = |(number, _): &&(usize, &str)| number + 1 == media;
            for (_, text) in placed.iter().filter(own) {
                let before = if out.ends_with('\n') { "" } else { end };
                out.extend([before, "a=", text, end]);
            }
            media += 1;
        }
        out.push_str(line);
    }
    out.truncate(out.len() - MEDIA.len());
    out
}

fn is_complete(sdp: &str) -> bool {
    lines(sdp).map(str::trim_end).any(|line| {
        let mut words = line.split(' ');
        let is_candidate = line.starts_with("a=candidate:") && words.any(|word| word == "typ");
        line == "a=end-of-candidates"
            || is_candidate && matches!(words.next(), Some("srflx" | "relay"))
    })
}

fn has_media(sdp: &str) -> bool {
    lines(sdp).any(|line| line.starts_with(MEDIA))
}

fn lines(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.split_inclusive('\n')
}

const MEDIA: &str = "m=";

/// Calls `look` with the JSON object in a payload. Returns `None` if the payload is not the base64 encoding of a JSON
/// object, or if `look` returns `None`.
fn read<T>(payload: &[u8], look: impl FnOnce(Object<'_, '_>) -> Option<T>) -> Option<T> {
    let mut json = base64::decode_forgiving(payload)?;
    let tape = simd_json::to_tape(&mut json).ok()?;
    look(Value::of(&tape.0).object()?)
}

fn text<'b>(object: Object<'_, 'b>, name: &str) -> Option<&'b str> {
    member(object, name)?.text()
}

fn member<'t, 'b>(object: Object<'t, 'b>, name: &str) -> Option<Value<'t, 'b>> {
    let mut all = object.entries();
    all.find_map(|(key, value)| (key == name).then_some(value))
}

impl fmt::Debug for Gathered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Gathered({} bytes)", self.bytes)
    }
}
