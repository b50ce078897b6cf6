//! The members that a JSON library found in a message, and the checks that the library leaves to its caller. The checks
//! call the same functions as the codec.

use codec::base64::{Alphabet, alphabet, is_well_formed};
use codec::identifiers::{ClientId, CorrelationId};
use codec::signal::{Action, MessageRules, Request, Role};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The known members of a message. Both spellings of a member's name are accepted, but each member may occur only once.
/// A string is borrowed unless it contains escapes.
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

/// Text of a known member, or `None` if the member is absent or null.
#[derive(Debug, Default)]
pub struct Member<'a>(pub Option<Cow<'a, str>>);

/// Checks a master's message by the rules of the default profile. Returns `None` if it violates a rule.
#[must_use]
pub fn judge<'t>(text: &'t Text<'_>) -> Option<Request<'t>> {
    judge_from(Role::Master, text)
}

/// Checks a message from a client in this role by the rules of the default profile. If a viewer names a recipient, it
/// is ignored.
#[must_use]
pub fn judge_from<'t>(role: Role, text: &'t Text<'_>) -> Option<Request<'t>> {
    let action = Action::parse(text.action.as_str()?.as_bytes())?;
    let payload = text.payload.as_str()?;
    let lawful =
        is_well_formed(payload.as_bytes()) || alphabet(payload.as_bytes()) == Alphabet::Standard;
    if payload.is_empty() || payload.len() > MessageRules::DEFAULT.payload_bytes || !lawful {
        return None;
    }
    let correlation_id = text.correlation.as_str().map(CorrelationId::parse);
    let correlation_id = correlation_id.transpose().ok()?;
    let recipient = match role {
        Role::Master if action == Action::SdpOffer && !MessageRules::DEFAULT.master_offers => {
            return None;
        }
        Role::Master => Some(ClientId::parse(text.recipient.as_str()?).ok()?),
        Role::Viewer => None,
    };
    Some(Request {
        action,
        payload: payload.as_bytes(),
        recipient,
        correlation_id,
    })
}

impl Member<'_> {
    fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Member<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Value)
    }
}

/// A visitor that accepts strings and null and rejects all other values. Unlike the deserialiser of `Cow`, it borrows
/// strings where possible.
struct Value;

impl<'de> Visitor<'de> for Value {
    type Value = Member<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Member(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Member(Some(Cow::Owned(text.into()))))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Member(None))
    }
}
