//! Processes a text in a rival: the same steps as in the broker, but with serde_json.

use crate::relay::place::Place;
use crate::rival::SerdeJson;
use crate::rival::serde_json::event_text;
use codec::signal::{Delivery, Role};

/// Size in bytes of a connection's read buffer, for libraries that require one. Two SDPs fit into the buffer.
pub(crate) const READ_BYTES: usize = 8 * 1024;

/// Parses and checks a text sent by `from`. Passes the text of the resulting event to `see`, together with the
/// recipient if a master named one. Returns `None` if a check fails.
pub(crate) fn translate<T>(
    text: &str,
    from: &Place,
    see: impl FnOnce(Option<&str>, String) -> T,
) -> Option<T> {
    let role = match from.viewer {
        None => Role::Master,
        Some(_) => Role::Viewer,
    };
    SerdeJson::parse_from(role, text, |request| {
        let event = event_text(&Delivery {
            action: request.action,
            payload: request.payload,
            sender: from.viewer.as_deref(),
        });
        see(request.recipient.map(|id| id.as_str()), event)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_what_the_broker_makes_of_them() {
        let place = |viewer: Option<&str>| Place {
            channel: "c".into(),
            viewer: viewer.map(str::to_owned),
        };
        let from_master =
            r#"{"action":"SDP_ANSWER","messagePayload":"QUJD","recipientClientId":"v"}"#;
        let seen = translate(from_master, &place(None), |to, event| {
            assert_eq!(to, Some("v"));
            event
        });
        assert_eq!(
            seen.as_deref(),
            Some(r#"{"messagePayload":"QUJD","messageType":"SDP_ANSWER"}"#)
        );
        let from_viewer = r#"{"action":"ICE_CANDIDATE","messagePayload":"QUJD"}"#;
        let seen = translate(from_viewer, &place(Some("v")), |_, event| event);
        assert_eq!(
            seen.as_deref(),
            Some(r#"{"messagePayload":"QUJD","messageType":"ICE_CANDIDATE","senderClientId":"v"}"#)
        );
        let wrong = r#"{"action":"ICE_CANDIDATE","messagePayload":"QU*D"}"#;
        assert_eq!(translate(wrong, &place(Some("v")), |_, event| event), None);
    }
}
