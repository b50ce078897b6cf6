//! The members that a JSON library has found in a message, and the checks that it leaves to its caller: the same calls
//! that ours makes.

use codec::aws::{ClientId, CorrelationId};
use codec::base64::{Alphabet, alphabet, is_well_formed};
use codec::signal::{Action, MessageRules, Request, Role};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The known members of a message, as serde reads them: in both spellings, once, borrowed where no escape is in the
/// way.
#[derive(Debug, Default, Deserialize)]
pub struct Text<'a> {
    /// `action`.
    #[serde(borrow, default, alias = "Action")]
    pub action: Member<'a>,
    /// `messagePayload`.
    #[serde(borrow, default, rename = "messagePayload", alias = "MessagePayload")]
    pub payload: Member<'a>,
    /// `recipientClientId`.
    #[serde(
        borrow,
        default,
        rename = "recipientClientId",
        alias = "RecipientClientId"
    )]
    pub recipient: Member<'a>,
    /// `correlationId`.
    #[serde(borrow, default, rename = "correlationId", alias = "CorrelationId")]
    pub correlation: Member<'a>,
}

/// The value of a known member.
#[derive(Debug, Default)]
pub enum Member<'a> {
    /// Not there, or null.
    #[default]
    Absent,
    /// A string.
    Text(Cow<'a, str>),
    /// Anything else.
    Other,
}

/// Applies the rules of the default profile to a master's message.
#[must_use]
pub fn judge<'t>(text: &'t Text<'_>) -> Option<Request<'t>> {
    judge_from(Role::Master, text)
}

/// Applies the rules of the default profile to a message of this role. A viewer's goes to its master, whatever it
/// names.
#[must_use]
pub fn judge_from<'t>(role: Role, text: &'t Text<'_>) -> Option<Request<'t>> {
    let action = Action::parse(text.action.as_str()?.as_bytes())?;
    let payload = text.payload.as_str()?;
    let lawful =
        is_well_formed(payload.as_bytes()) || alphabet(payload.as_bytes()) == Alphabet::Standard;
    if payload.is_empty() || payload.len() > MessageRules::DEFAULT.payload_bytes || !lawful {
        return None;
    }
    let correlation_id = match &text.correlation {
        Member::Absent => None,
        Member::Text(id) => Some(CorrelationId::parse(id).ok()?),
        Member::Other => return None,
    };
    let recipient = match role {
        Role::Master if action == Action::SdpOffer && !MessageRules::DEFAULT.master_offers => {
            return None;
        }
        Role::Master => Some(ClientId::parse(text.recipient.as_str()?).ok()?),
        Role::Viewer => None,
    };
    Some(Request {
        action,
        payload,
        recipient,
        correlation_id,
    })
}

impl Member<'_> {
    fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::Other => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Member<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Value)
    }
}

/// Takes any value, and keeps strings.
struct Value;

impl<'de> Visitor<'de> for Value {
    type Value = Member<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Member::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Member::Text(Cow::Owned(text.into())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Member::Absent)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }
}
