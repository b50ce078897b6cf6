//! Signaling messages: those sent by clients ([`Parser`], [`Request`]) and those sent by the service ([`Delivery`],
//! [`StatusFault`]).
//!
//! A client sends one JSON object per text message:
//! ```text
//! {"action":"SDP_ANSWER","messagePayload":"eyJ0…","recipientClientId":"viewer-1","correlationId":"c1"}
//! ```
//! The service writes its messages as complete WebSocket frames:
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
use crate::json::{self, Member, Members, TapeReader, TextSpan};
use crate::limits;
use ascii::AsciiStr;
pub use event::{Delivery, GO_AWAY, RECONNECT_ICE_SERVER, StatusFault, status_response};
use serde::{Deserialize, Serialize};
use std::fmt;

// Messages from a client to the service. They consist of an action, a payload, a recipient if the sender is a master,
// and a correlation id if the sender wants error responses.
//
// Messages are checked in this order: JSON; form (types, duplicate members, correlation id); action; payload; whether a
// master sent an offer; recipient. Only the first fault is reported. An offer from a master is rejected before its
// recipient is checked, since no recipient would make the offer valid.

/// The kind of a signaling message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// A session description that starts or updates a session.
    SdpOffer,
    /// A session description that answers an offer.
    SdpAnswer,
    /// An ICE candidate of a peer.
    IceCandidate,
}

impl Action {
    /// All actions, in the order of [`Action::index`].
    pub const ALL: [Self; 3] = [Self::SdpOffer, Self::SdpAnswer, Self::IceCandidate];

    /// Returns the case-sensitive name that is used on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SdpOffer => "SDP_OFFER",
            Self::SdpAnswer => "SDP_ANSWER",
            Self::IceCandidate => "ICE_CANDIDATE",
        }
    }

    /// Returns the index of the action, from 0 to 2, for use in tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Parses the name of an action, as written on the wire.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        // Slices of known length are compared, since a match pattern would compare byte by byte.
        if name == b"ICE_CANDIDATE" {
            Some(Self::IceCandidate)
        } else if name == b"SDP_ANSWER" {
            Some(Self::SdpAnswer)
        } else {
            (name == b"SDP_OFFER").then_some(Self::SdpOffer)
        }
    }
}

/// The role in which the sender of a message has joined the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The device. Every message from a master names the viewer that receives it.
    Master,
    /// A viewer, whose messages always go to the master.
    Viewer,
}

/// The configurable rules for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRules {
    /// Maximum length of a payload, in bytes of base64 text.
    pub payload_bytes: usize,
    /// Whether `-` and `_` in a payload are rewritten to `+` and `/`. If not, payloads that contain them are rejected.
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
    /// The rules documented by AWS.
    pub const STRICT: Self = Self {
        payload_bytes: limits::PAYLOAD_BYTES_STRICT,
        url_safe: false,
        master_offers: false,
    };
}

/// A message from a client that has passed all checks. Borrowed from the received text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The action of the message.
    pub action: Action,
    /// The payload: 1 to [`MessageRules::payload_bytes`] bytes of base64 text in the standard alphabet, which is never
    /// decoded. It is not a `str`, because validating UTF-8 would cost as much as checking the alphabet (see
    /// [`base64::text`](crate::base64::text)).
    pub payload: &'a [u8],
    /// The recipient that a master named. `None` for viewers, even if they named a recipient.
    pub recipient: Option<ClientId<'a>>,
    /// Correlation id to echo in error responses.
    pub correlation_id: Option<CorrelationId<'a>>,
}

/// The reason why a message from a client is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A known member is duplicated or has the wrong JSON type, or the correlation id is invalid. The sender is never
    /// told about an invalid correlation id, since it cannot be echoed.
    Malformed,
    /// The action is missing or unknown.
    UnsupportedAction,
    /// The payload is missing or empty.
    NoPayload,
    /// The payload is too long. Contains the payload's length in bytes.
    PayloadTooLong(usize),
    /// The payload contains characters outside the permitted alphabet.
    PayloadAlphabet,
    /// The recipient of a master's message is missing or does not match the pattern of client ids.
    Recipient,
    /// A master sent an offer. The rules permit offers only from viewers.
    MasterOffer,
    /// The text is not a single JSON object or is nested too deeply. Not reported to the sender, because no part of the
    /// text can be trusted.
    NotJson,
}

impl FaultKind {
    /// Returns the status to report to the sender under these `rules`, or `None` if the fault is not reported.
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

/// A rejected message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault<'a> {
    /// Why the message is rejected.
    pub kind: FaultKind,
    /// Correlation id for the status response. Without a correlation id, no response is sent.
    pub correlation_id: Option<CorrelationId<'a>>,
}

impl From<FaultKind> for Fault<'_> {
    fn from(kind: FaultKind) -> Self {
        Self {
            kind,
            correlation_id: None,
        }
    }
}

/// A parser for client messages. Each shard has one. Its buffers are reused, and grow to the size of the largest
/// message.
#[derive(Default)]
pub struct Parser {
    tape: TapeReader,
}

impl Parser {
    /// Creates a parser with empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses a message in place. `text` must be valid UTF-8. Unescapes its strings, and converts URL-safe base64 to
    /// the standard alphabet.
    ///
    /// # Errors
    /// Returns the first rule that the message violates.
    pub fn parse<'a>(
        &'a mut self,
        text: &'a mut [u8],
        role: Role,
        rules: &MessageRules,
    ) -> Result<Request<'a>, Fault<'a>> {
        let mut members = Members::default();
        json::read(text, &mut self.tape, &mut members).ok_or(FaultKind::NotJson)?;
        judge(&members, text, role, rules)
    }
}

impl fmt::Debug for Parser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Parser").finish_non_exhaustive()
    }
}

fn judge<'a>(
    members: &Members,
    text: &'a mut [u8],
    role: Role,
    rules: &MessageRules,
) -> Result<Request<'a>, Fault<'a>> {
    let payload = check_payload(members, text, rules);
    let text = &*text;
    let correlation_id = correlation(members, text)?;
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

/// Returns the message's correlation id, or `None` if it is absent or empty. An id that cannot be echoed is an error,
/// which is not reported to the sender.
fn correlation<'a>(all: &Members, text: &'a [u8]) -> Result<Option<CorrelationId<'a>>, FaultKind> {
    match all.correlation {
        _ if all.correlation_twice => Err(FaultKind::Malformed),
        Member::Absent => Ok(None),
        Member::Text(span) if span.is_empty() => Ok(None),
        Member::Text(span) => {
            let id = str_of(text, span).and_then(|id| CorrelationId::parse(id).ok());
            id.map(Some).ok_or(FaultKind::Malformed)
        }
        Member::Other => Err(FaultKind::Malformed),
    }
}

/// Checks the payload's length and alphabet, and returns its range. Converts it to the standard alphabet if necessary.
/// Returns `None` if a check fails.
fn check_payload(members: &Members, text: &mut [u8], rules: &MessageRules) -> Option<TextSpan> {
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

/// Returns the text of a string that may be an id, or `None` if it is not ASCII and therefore no id.
fn str_of(text: &[u8], span: TextSpan) -> Option<&str> {
    let text = AsciiStr::from_ascii(span.of(text)).ok()?;
    Some(text.as_str())
}
