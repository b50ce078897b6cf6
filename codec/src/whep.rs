//! WHEP, by which players fetch a camera's answer with one HTTP request: codec/PROTOCOL.md, WHEP.
//!
//! A player speaks SDP; a camera speaks payloads, base64 of JSON, and sends candidates before, in and after its answer:
//! ```text
//! player ─ SDP ─ offer_payload ──▶ SDP_OFFER ──▶ camera
//! player ◀─ SDP ─ Gathered::into_answer ◀─ take_answer, take_candidate ◀─ SDP_ANSWER, ICE_CANDIDATE ─ camera
//! ```
//! An SDP is lines and sections here; nothing else of it is parsed.

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

// Requests: the path and the token.

/// Start of every path of players.
pub const PATH: &str = "/whep/";

/// Content type of offers and answers.
pub const CONTENT_TYPE: &str = "application/sdp";

/// Client id of a player whose token names none.
pub const CLIENT_ID: &str = "whep";

/// Length of the id of an answered call in its `Location`: letters and digits.
pub const CALL_ID_BYTES: usize = 16;

/// The thing that a player asks for: `/whep/NAME`, or `/whep/NAME/ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Name of the channel.
    pub channel: ChannelName<'a>,
    /// Id of an answered call.
    pub call: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// The target of a path; `None` if it is none of a player. Names need no percent-encoding, so none is undone.
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

/// The token of a player's request, a presigned query: `Authorization: Bearer`, else the query of the URL. Empty
/// without one; other schemes of authorization do not count.
#[must_use]
pub fn token<'a>(head: &Head<'a>) -> &'a str {
    bearer(head).or_else(|| head.query()).unwrap_or_default()
}

/// The text behind `Authorization: Bearer`, unless it is empty.
#[must_use]
pub fn bearer<'a>(head: &Head<'a>) -> Option<&'a str> {
    head.values("authorization").find_map(|value| {
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim_matches(' ');
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    })
}

/// The client id that a token names, percent-encoded and unchecked; `None` for [`CLIENT_ID`].
#[must_use]
pub fn client_id(token: &str) -> Option<&str> {
    let is_named = |name: &str| {
        let name = decode(name).unwrap_or_default();
        Parameter::of(name.as_bytes()) == Some(Parameter::ClientId)
    };
    let mut all = pairs(token);
    all.find_map(|(name, value)| is_named(name).then_some(value))
}

// Offers.

/// Why an offer or an answer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An offer that is not UTF-8, or an answer's payload that is not base64 of a JSON object with the text `sdp`.
    Malformed,
    /// An SDP without `m=`. A camera that takes no codec of an offer may answer so.
    NoMedia,
    /// An offer whose payload, or an answer whose SDP, is beyond its bound.
    TooLong,
}

/// The payload of an SDP_OFFER, with at most this many bytes of base64 text. The token `trickle` leaves every
/// `a=ice-options` line, and an empty line goes: cameras then answer with all their candidates, as far as they can.
/// Nothing else changes.
///
/// # Errors
/// See [`Fault`].
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

/// Writes a line of options without `trickle`; none if it was the only one.
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

// Answers and their candidates.

/// The answer of one camera to one call, and candidates that came beside it. Debug output hides both.
///
/// Invariant: at most [`WHEP_CANDIDATES`] candidates, and [`WHEP_GATHERED_BYTES`] bytes in all.
#[derive(Default)]
pub struct Gathered {
    answer: Option<String>,
    candidates: Vec<Candidate>,
    /// Bytes of answer and candidates.
    bytes: usize,
    /// No candidate follows.
    is_ended: bool,
}

/// A candidate for one line of an answer.
struct Candidate {
    /// `candidate:` and visible ASCII.
    text: Box<str>,
    section: Section,
}

/// Section of an answer that a candidate belongs to.
enum Section {
    /// Number of its `m=` line.
    Number(usize),
    /// Value of its `a=mid` line.
    Mid(Box<str>),
}

impl Gathered {
    /// Takes the payload of an SDP_ANSWER; a second one is ignored. Candidates beyond the bound of bytes make room.
    ///
    /// # Errors
    /// See [`Fault`].
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

    /// Takes the payload of an ICE_CANDIDATE, and returns whether it is kept. An empty candidate ends the gathering;
    /// malformed ones and those beyond a bound are left out.
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

    /// Whether the answer is there.
    #[must_use]
    pub const fn has_answer(&self) -> bool {
        self.answer.is_some()
    }

    /// Whether nothing more is worth waiting for: the answer is there and has a candidate of a server or the end of its
    /// candidates, or an empty candidate came.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.has_answer() && self.is_ended
    }

    /// Number of candidates that are kept.
    #[must_use]
    pub const fn candidates(&self) -> usize {
        self.candidates.len()
    }

    /// Bytes of the answer and the candidates that are kept.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The answer with each candidate as a line at the end of its section, at most
    /// [`crate::limits::WHEP_ANSWER_BYTES`]; `None` without an answer. Candidates of a section that is not there are
    /// left out.
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
    /// The candidate of a payload, with an empty text if it ends the gathering; `None` if it is malformed.
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

    /// Bytes on the heap.
    fn bytes(&self) -> usize {
        self.text.len()
            + match &self.section {
                Section::Number(_) => 0,
                Section::Mid(mid) => mid.len(),
            }
    }
}

impl Section {
    /// Number of the section in this SDP; `None` if it has no such section.
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

/// The SDP with these lines, each at the end of the section of its number.
fn merge(sdp: &str, placed: &[(usize, &str)]) -> String {
    let end = match lines(sdp).next() {
        Some(line) if line.ends_with('\n') && !line.ends_with("\r\n") => "\n",
        Some(_) | None => "\r\n",
    };
    let added: usize = placed.iter().map(|(_, text)| text.len() + 6).sum();
    let mut out = String::with_capacity(sdp.len() + added);
    let mut media: usize = 0;
    // The last line closes the last section.
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

/// Whether an answer has a candidate of a server, or the end of its candidates.
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

/// The lines of an SDP with their ends.
fn lines(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.split_inclusive('\n')
}

/// Start of a section's first line.
const MEDIA: &str = "m=";

/// Reads a payload; `None` if it is not base64 of a JSON object, or the object lacks what is looked for.
fn read<T>(payload: &[u8], look: impl FnOnce(Object<'_, '_>) -> Option<T>) -> Option<T> {
    let mut json = base64::decode_forgiving(payload)?;
    let tape = simd_json::to_tape(&mut json).ok()?;
    look(Value::of(&tape.0).object()?)
}

fn text<'b>(object: Object<'_, 'b>, name: &str) -> Option<&'b str> {
    member(object, name)?.text()
}

/// The first member of this name.
fn member<'t, 'b>(object: Object<'t, 'b>, name: &str) -> Option<Value<'t, 'b>> {
    let mut all = object.entries();
    all.find_map(|(key, value)| (key == name).then_some(value))
}

impl fmt::Debug for Gathered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Gathered({} bytes)", self.bytes)
    }
}
