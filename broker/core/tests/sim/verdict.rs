//! What becomes of a message by its own text, before it is known whether there is room for it. See codec/PROTOCOL.md,
//! MSG.

use crate::sim::words::{Shape, Text};
use broker_core::event::Kind;
use broker_core::journal::Unaccepted;
use broker_core::settings::Settings;
use codec::signal::Action;

/// A message that breaks a rule: its kind in counters, why it is refused, and the description that its sender gets, if
/// any.
pub(crate) struct Faulty {
    pub(crate) kind: Kind,
    pub(crate) reason: Unaccepted,
    pub(crate) told: Option<String>,
}

/// The action of a message of a master or viewer.
///
/// # Errors
/// [`Faulty`]: it is refused.
pub(crate) fn judge(settings: &Settings, master: bool, text: &Text) -> Result<Action, Faulty> {
    let faulty = |reason, told: Option<&str>| {
        Err(Faulty {
            kind: Kind::Unknown,
            reason,
            told: told.map(str::to_owned),
        })
    };
    let malformed = |id: &String| !id.is_empty() && !is_word(id);
    if text.shape == Shape::Broken {
        return faulty(Unaccepted::NotJson, None);
    }
    if text.correlation.as_ref().is_some_and(malformed) {
        return faulty(Unaccepted::Malformed, None);
    }
    if matches!(text.shape, Shape::Twice | Shape::WrongType) {
        return faulty(Unaccepted::Malformed, Some("Malformed message."));
    }
    let Some(action) = text.action else {
        return faulty(Unaccepted::UnknownAction, Some("Unsupported action."));
    };
    let most = settings.limits.payload_bytes;
    let lawful = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || b"+/=".contains(&byte)
            || (!settings.strict() && b"-_".contains(&byte))
    };
    let reason = match text.payload.len() {
        0 => Some(Unaccepted::NoPayload),
        bytes if bytes > most => Some(Unaccepted::TooLong),
        _ if !text.payload.bytes().all(lawful) => Some(Unaccepted::NotBase64),
        _ => None,
    };
    if let Some(reason) = reason {
        let told = format!("messagePayload must be 1 to {most} base64 characters.");
        return faulty(reason, Some(&told));
    }
    if master && action == Action::SdpOffer && !settings.options.master_offers {
        return Err(Faulty {
            kind: Kind::Known(action),
            reason: Unaccepted::MasterOffer,
            told: Some("A master cannot send an SDP offer.".to_owned()),
        });
    }
    if master && !text.recipient.as_deref().is_some_and(is_word) {
        let told = "recipientClientId is required and must match [a-zA-Z0-9_.-]{1,256}.";
        return faulty(Unaccepted::UnknownRecipient, Some(told));
    }
    Ok(action)
}

fn is_word(id: &str) -> bool {
    let lawful = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=256).contains(&id.len()) && id.bytes().all(lawful)
}

/// STATUS_RESPONSE to a message.
pub(crate) fn status(correlation: &str, error: &str, description: &str) -> String {
    format!(
        r#"{{"messageType":"STATUS_RESPONSE","statusResponse":{{"correlationId":"{correlation}","errorType":"{error}","statusCode":"400","description":"{description}"}}}}"#
    )
}

/// The text that a recipient reads. `sender`: a viewer.
pub(crate) fn delivery(action: Action, payload: &str, sender: Option<&str>) -> String {
    let sender = sender.map(|id| format!(r#","senderClientId":"{id}""#));
    let (action, sender) = (action.as_str(), sender.unwrap_or_default());
    format!(r#"{{"messagePayload":"{payload}","messageType":"{action}"{sender}}}"#)
}
