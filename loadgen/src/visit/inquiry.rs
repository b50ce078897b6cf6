//! The API calls that a viewer makes before it connects: where to connect, and which TURN servers to use.

use super::answer::Answer;
use serde_json::json;

/// A viewer's calls, one after the other on one connection. Lives while they are made.
#[derive(Debug, Default)]
pub struct Inquiry {
    answered: u8,
    /// What of an answer has come.
    bytes: Vec<u8>,
}

/// One of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// GetSignalingChannelEndpoint.
    Endpoint,
    /// GetIceServerConfig.
    IceServers,
}

/// What came of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// More are needed.
    Part,
    /// The call was answered well.
    Answered,
    /// It was not: the name under which that is counted.
    Refused(String),
}

impl Inquiry {
    /// The call that is next; `None` when all were answered.
    #[must_use]
    pub const fn next(&self) -> Option<Call> {
        match self.answered {
            0 => Some(Call::Endpoint),
            1 => Some(Call::IceServers),
            _ => None,
        }
    }

    /// Takes in what came of the answer.
    pub fn take_in(&mut self, bytes: &[u8]) -> Reply {
        self.bytes.extend_from_slice(bytes);
        match Answer::parse(&self.bytes) {
            Ok(None) if self.bytes.len() <= ANSWER_BYTES_MAX => Reply::Part,
            Ok(None) | Err(_) => Reply::Refused("bad_answer_to_a_call".into()),
            Ok(Some(answer)) if answer.status == 200 => {
                self.answered += 1;
                self.bytes = Vec::new();
                Reply::Answered
            }
            Ok(Some(answer)) => {
                Reply::Refused(format!("call_{}_{}", answer.status, answer.error_type))
            }
        }
    }
}

impl Call {
    /// Path and JSON body for a channel and a viewer, as the SDK for JavaScript asks.
    #[must_use]
    pub fn request(self, arn: &str, client_id: &str) -> (&'static str, String) {
        match self {
            Self::Endpoint => {
                let wanted = json!({ "Protocols": ["WSS", "HTTPS"], "Role": "VIEWER" });
                let body = json!({ "ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": wanted });
                ("/getSignalingChannelEndpoint", body.to_string())
            }
            Self::IceServers => {
                let body = json!({ "ChannelARN": arn, "ClientId": client_id, "Service": "TURN" });
                ("/v1/get-ice-server-config", body.to_string())
            }
        }
    }
}

/// Longest answer that is taken in: what the C SDK holds, and more.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

    #[test]
    fn calls_follow_each_other() {
        let mut inquiry = Inquiry::default();
        assert_eq!(inquiry.next(), Some(Call::Endpoint));
        assert_eq!(inquiry.take_in(&WELL[..20]), Reply::Part);
        assert_eq!(inquiry.take_in(&WELL[20..]), Reply::Answered);
        assert_eq!(inquiry.next(), Some(Call::IceServers));
        assert_eq!(inquiry.take_in(WELL), Reply::Answered);
        assert_eq!(inquiry.next(), None);
    }

    #[test]
    fn refusals_are_named() {
        let refused = b"HTTP/1.1 404 No\r\nx-amzn-ErrorType: ResourceNotFoundException\r\nContent-Length: 0\r\n\r\n";
        let name = Reply::Refused("call_404_ResourceNotFoundException".into());
        assert_eq!(Inquiry::default().take_in(refused), name);
        let bad = Reply::Refused("bad_answer_to_a_call".into());
        assert_eq!(Inquiry::default().take_in(b"\0"), bad);
        let endless = "a".repeat(ANSWER_BYTES_MAX);
        assert_eq!(
            Inquiry::default().take_in(format!("HTTP/1.1 200 OK\r\nA: {endless}").as_bytes()),
            bad
        );
    }
}
