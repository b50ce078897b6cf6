//! Signaling messages: what clients send ([`Parser`], [`Request`]) and what the service sends ([`Delivery`],
//! [`StatusFault`], [`Presence`]).
//!
//! Client → service, one JSON object in a text message:
//! ```text
//! {"action":"SDP_ANSWER","messagePayload":"eyJ0…","recipientClientId":"viewer-1","correlationId":"c1"}
//! ```
//! Service → client, written as whole WebSocket frames:
//! ```text
//! {"messagePayload":"eyJ0…","messageType":"SDP_ANSWER"}
//! {"messageType":"STATUS_RESPONSE",
//!  "statusResponse":{"correlationId":"c1","errorType":"…","statusCode":"400","description":"…"}}
//! ```

pub mod client;
mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;

use crate::base64::{self, Alphabet};
use crate::identifiers::{ClientId, CorrelationId};
use crate::json::{self, Member, Members, Span, tape};
use crate::limits;
pub use event::{Delivery, GO_AWAY, RECONNECT_ICE_SERVER, StatusFault, status_response};
use serde::{Deserialize, Serialize};
use std::fmt;

// Client → service: an action, a payload, for a master also the recipient, and a correlation id if the sender wants
// responses to faults.
//
// Order of the checks: is it JSON; is it well-formed (types, repeated members, correlation id); then action,
// payload, whether a master offers, recipient. The first fault is the one reported, so each message has at most one. A
// master's offer is refused before its recipient is looked at, since naming one would not help.

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// A session description that opens or changes a session.
    SdpOffer,
    /// A session description that answers an offer.
    SdpAnswer,
    /// One way to reach a peer.
    IceCandidate,
}

impl Action {
    /// Every action, in the order of [`Action::index`].
    pub const ALL: [Self; 3] = [Self::SdpOffer, Self::SdpAnswer, Self::IceCandidate];

    /// The name on the wire, exact case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SdpOffer => "SDP_OFFER",
            Self::SdpAnswer => "SDP_ANSWER",
            Self::IceCandidate => "ICE_CANDIDATE",
        }
    }

    /// A small number for tables of counters: 0, 1, 2.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The action of a wire name.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        // As slices of known length: a pattern is compared byte by byte.
        if name == b"ICE_CANDIDATE" {
            Some(Self::IceCandidate)
        } else if name == b"SDP_ANSWER" {
            Some(Self::SdpAnswer)
        } else {
            (name == b"SDP_OFFER").then_some(Self::SdpOffer)
        }
    }
}

/// Which end of a channel the sender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The device: names the viewer it sends to.
    Master,
    /// A viewer: sends to the master only.
    Viewer,
}

/// The operator's choices about messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRules {
    /// Longest payload in bytes of base64 text.
    pub payload_bytes: usize,
    /// Whether `-` and `_` are taken and rewritten to `+` and `/`; else they are outside the alphabet.
    pub url_safe: bool,
    /// Whether a master may send offers.
    pub master_offers: bool,
}

impl MessageRules {
    /// The rules of the default profile.
    pub const DEFAULT: Self = Self {
        payload_bytes: limits::PAYLOAD_BYTES,
        url_safe: true,
        master_offers: false,
    };
    /// The rules as AWS documents them.
    pub const STRICT: Self = Self {
        payload_bytes: limits::PAYLOAD_BYTES_STRICT,
        url_safe: false,
        master_offers: false,
    };
}

/// A message that passed every check. Borrows the text it was read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The action.
    pub action: Action,
    /// Base64 text of the standard alphabet, 1 to [`MessageRules::payload_bytes`] bytes; never decoded. Bytes, since
    /// a check that they are a `str` would cost as much as that of their alphabet:
    /// [`base64::text`](crate::base64::text) makes it where a text is needed.
    pub payload: &'a [u8],
    /// The recipient that a master names; `None` for viewers, whatever they wrote.
    pub recipient: Option<ClientId<'a>>,
    /// The id that the sender wants in responses to faults.
    pub correlation_id: Option<CorrelationId<'a>>,
}

/// The kind of a message's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A known member twice or of a wrong JSON type, or a correlation id against its pattern (not reported).
    Malformed,
    /// No action, or one that does not exist.
    UnsupportedAction,
    /// The payload is missing or empty.
    NoPayload,
    /// The payload is of this many bytes, more than the rules allow.
    PayloadTooLong(usize),
    /// The payload is outside the alphabet.
    PayloadAlphabet,
    /// A master's recipient is missing or against its pattern.
    Recipient,
    /// A master sent an offer, and the rules say that offers come from viewers.
    MasterOffer,
    /// Not one JSON object, or nested too deep. Never reported: nothing in it can be trusted.
    NotJson,
}

impl FaultKind {
    /// The status to answer under `rules`; `None` for what is never answered.
    #[must_use]
    pub const fn status(self, rules: &MessageRules) -> Option<StatusFault> {
        match self {
            Self::Malformed => Some(StatusFault::Malformed),
            Self::UnsupportedAction => Some(StatusFault::UnsupportedAction),
            Self::NoPayload | Self::PayloadTooLong(_) | Self::PayloadAlphabet => {
                Some(StatusFault::Payload {
                    payload_bytes: rules.payload_bytes,
                })
            }
            Self::Recipient => Some(StatusFault::Recipient),
            Self::MasterOffer => Some(StatusFault::MasterOffer),
            Self::NotJson => None,
        }
    }
}

/// A refused message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault<'a> {
    /// The kind of the fault.
    pub kind: FaultKind,
    /// The correlation id of the status response; `None`: the sender gave none that can be echoed, and gets nothing.
    pub correlation_id: Option<CorrelationId<'a>>,
}

/// Reads messages. Owns the buffers of the JSON reader, which grow to what the largest message needed and are used
/// again: one per shard, no allocation per message.
pub struct Parser {
    tape: tape::TapeReader,
}

impl Parser {
    /// A parser without memory of its own yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tape: tape::TapeReader::new(),
        }
    }

    /// Reads one message. `text` must be valid UTF-8; it may be changed: escapes are undone and URL-safe base64 is
    /// made standard in place.
    ///
    /// # Errors
    /// A [`Fault`] with the first thing that is wrong.
    pub fn parse<'a>(
        &'a mut self,
        text: &'a mut [u8],
        role: Role,
        rules: &MessageRules,
    ) -> Result<Request<'a>, Fault<'a>> {
        let Some(members) = json::read(text, &mut self.tape) else {
            return Err(Fault {
                kind: FaultKind::NotJson,
                correlation_id: None,
            });
        };
        judge(&members, text, role, rules)
    }
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Parser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Parser").finish_non_exhaustive()
    }
}

/// Applies the rules to what a reader found.
fn judge<'a>(
    members: &Members,
    text: &'a mut [u8],
    role: Role,
    rules: &MessageRules,
) -> Result<Request<'a>, Fault<'a>> {
    let payload = check_payload(members, text, rules);
    let text = &*text;
    let correlation_id = match correlation(members, text) {
        Ok(id) => id,
        Err(kind) => {
            return Err(Fault {
                kind,
                correlation_id: None,
            });
        }
    };
    let fault = |kind| Fault {
        kind,
        correlation_id,
    };
    if members.twice
        || [members.action, members.payload, members.recipient].contains(&Member::Other)
    {
        return Err(fault(FaultKind::Malformed));
    }
    let action = match members.action {
        Member::Text(span) => Action::parse(span.of(text)),
        Member::Absent | Member::Other => None,
    };
    let Some(action) = action else {
        return Err(fault(FaultKind::UnsupportedAction));
    };
    let Some(payload) = payload.map(|span| span.of(text)) else {
        return Err(fault(payload_fault(members, rules)));
    };
    if role == Role::Master && action == Action::SdpOffer && !rules.master_offers {
        return Err(fault(FaultKind::MasterOffer));
    }
    let recipient = match (role, members.recipient) {
        (Role::Master, Member::Text(span)) => {
            let id = str_of(text, span).and_then(|id| ClientId::parse(id).ok());
            Some(id.ok_or_else(|| fault(FaultKind::Recipient))?)
        }
        (Role::Master, Member::Absent | Member::Other) => return Err(fault(FaultKind::Recipient)),
        (Role::Viewer, Member::Absent | Member::Text(_) | Member::Other) => None,
    };
    Ok(Request {
        action,
        payload,
        recipient,
        correlation_id,
    })
}

/// The correlation id: absent, null and empty are none. One that cannot be echoed is a fault without an answer.
fn correlation<'a>(
    members: &Members,
    text: &'a [u8],
) -> Result<Option<CorrelationId<'a>>, FaultKind> {
    match members.correlation {
        _ if members.correlation_twice => Err(FaultKind::Malformed),
        Member::Absent => Ok(None),
        Member::Text(span) if span.is_empty() => Ok(None),
        Member::Text(span) => {
            let id = str_of(text, span).and_then(|id| CorrelationId::parse(id).ok());
            id.map(Some).ok_or(FaultKind::Malformed)
        }
        Member::Other => Err(FaultKind::Malformed),
    }
}

/// The payload's place when its length and alphabet are right; afterwards it is of the standard alphabet.
fn check_payload(members: &Members, text: &mut [u8], rules: &MessageRules) -> Option<Span> {
    let Member::Text(span) = members.payload else {
        return None;
    };
    let bytes = text.get_mut(span.start..span.end)?;
    if bytes.is_empty() || bytes.len() > rules.payload_bytes {
        return None;
    }
    if members.payload_proven || base64::is_well_formed(bytes) {
        return Some(span);
    }
    match base64::alphabet(bytes) {
        Alphabet::Standard => {}
        Alphabet::UrlSafe if rules.url_safe => base64::standardize(bytes),
        Alphabet::UrlSafe | Alphabet::Outside => return None,
    }
    Some(span)
}

/// Why there is no payload that can be passed on.
#[cold]
fn payload_fault(members: &Members, rules: &MessageRules) -> FaultKind {
    match members.payload {
        Member::Text(span) if span.end - span.start > rules.payload_bytes => {
            FaultKind::PayloadTooLong(span.end - span.start)
        }
        Member::Text(span) if !span.is_empty() => FaultKind::PayloadAlphabet,
        Member::Text(_) | Member::Absent | Member::Other => FaultKind::NoPayload,
    }
}

/// A part that may be an id. Short, and checked alone: simd-json leaves halves of characters behind strings whose
/// escapes it undid.
fn str_of(text: &[u8], span: Span) -> Option<&str> {
    std::str::from_utf8(span.of(text)).ok()
}
