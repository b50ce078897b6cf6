//! The texts that masters and viewers exchange (codec/PROTOCOL.md, MSG and EVT), and the queries of their URLs.

/// The query of a master.
pub(crate) fn master_query(arn: &str) -> String {
    format!("X-Amz-ChannelARN={}", percent_encoded(arn))
}

/// The query of a viewer.
pub(crate) fn viewer_query(arn: &str, client_id: &str) -> String {
    format!(
        "{}&X-Amz-ClientId={}",
        master_query(arn),
        percent_encoded(client_id)
    )
}

/// A viewer's offer.
pub(crate) fn offer(payload: &str) -> String {
    format!(r#"{{"action":"SDP_OFFER","messagePayload":"{payload}"}}"#)
}

/// A master's answer.
pub(crate) fn answer(recipient: &str, payload: &str) -> String {
    format!(
        r#"{{"action":"SDP_ANSWER","messagePayload":"{payload}","recipientClientId":"{recipient}"}}"#
    )
}

/// A viewer's candidate.
pub(crate) fn candidate(payload: &str) -> String {
    format!(r#"{{"action":"ICE_CANDIDATE","messagePayload":"{payload}"}}"#)
}

/// A master's candidate.
pub(crate) fn candidate_to(recipient: &str, payload: &str) -> String {
    format!(
        r#"{{"action":"ICE_CANDIDATE","messagePayload":"{payload}","recipientClientId":"{recipient}"}}"#
    )
}

/// A message as a master gets it.
pub(crate) fn to_master(kind: &str, payload: &str, sender: &str) -> String {
    format!(
        r#"{{"messagePayload":"{payload}","messageType":"{kind}","senderClientId":"{sender}"}}"#
    )
}

/// A message as a viewer gets it.
pub(crate) fn to_viewer(kind: &str, payload: &str) -> String {
    format!(r#"{{"messagePayload":"{payload}","messageType":"{kind}"}}"#)
}

/// The response that the sender of a faulty message gets.
pub(crate) fn status(correlation: &str, kind: &str, code: &str, text: &str) -> String {
    let fields = format!(
        r#""correlationId":"{correlation}","errorType":"{kind}","statusCode":"{code}","description":"{text}""#
    );
    format!(r#"{{"messageType":"STATUS_RESPONSE","statusResponse":{{{fields}}}}}"#)
}

/// Encodes all but the unreserved characters of RFC 3986.
pub(crate) fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
