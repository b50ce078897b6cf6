//! The texts that senders and recipients of messages get. See codec/PROTOCOL.md, MSG.

use broker_core::event::Kind;
use broker_core::journal::Unaccepted;
use broker_core::settings::Settings;
use codec::signal::Action;

/// The kind in counters of a message that breaks a rule, and the description that its sender gets, if any.
pub(crate) fn refusal(settings: &Settings, fault: Unaccepted) -> (Kind, Option<String>) {
    let most = settings.limits.payload_bytes;
    let payload = format!("messagePayload must be 1 to {most} base64 characters.");
    let text = match fault {
        Unaccepted::NotJson => return (Kind::Unknown, None),
        Unaccepted::UnknownAction => "Unsupported action.",
        Unaccepted::NoPayload | Unaccepted::TooLong | Unaccepted::NotBase64 => &payload,
        Unaccepted::UnknownRecipient => {
            "recipientClientId is required and must match [a-zA-Z0-9_.-]{1,256}."
        }
        Unaccepted::MasterOffer => {
            let text = "A master cannot send an SDP offer.".to_owned();
            return (Kind::Known(Action::SdpOffer), Some(text));
        }
        _ => "Malformed message.",
    };
    (Kind::Unknown, Some(text.to_owned()))
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
