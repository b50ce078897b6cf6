//! The API calls that a party makes before it connects, to discover its endpoint and TURN servers.

use crate::address::Endpoint;
use codec::sigv4::signer::{self, JSON, Signer};
use serde_json::{Value, json};

/// A party's API calls, made one after another on one or more connections.
#[derive(Debug)]
pub struct DiscoveryCalls {
    role: Role,
    answered: u8,
    bytes: Vec<u8>,
    endpoints: Option<EndpointList>,
    /// Whether the service will close this connection, so that the next call needs a new one.
    pub over: bool,
}

/// The role of the party that makes the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A channel's master, which requests only its endpoint.
    Master,
    /// A viewer, which requests its endpoints and TURN servers.
    Viewer,
}

/// The response to GetSignalingChannelEndpoint. Source: AWS "GetSignalingChannelEndpoint", `ResourceEndpointList`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct EndpointList {
    wss: Endpoint,
    https: Endpoint,
}

/// An API call made by a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// GetSignalingChannelEndpoint.
    Endpoint,
    /// GetIceServerConfig.
    IceServers,
}

/// The result of processing received bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The response is incomplete.
    Part,
    /// The call succeeded.
    Answered,
    /// The call failed. Contains the name under which to count the failure, and the request id, which may be empty.
    Refused(String, String),
}

impl Reply {
    fn refused(kind: &str) -> Self {
        Self::Refused(kind.to_owned(), String::new())
    }
}

impl DiscoveryCalls {
    /// Creates the state before the first call.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            answered: 0,
            bytes: Vec::new(),
            endpoints: None,
            over: false,
        }
    }

    /// Returns the next call, or `None` if all calls have been answered.
    #[must_use]
    pub const fn next(&self) -> Option<Call> {
        match (self.answered, self.role) {
            (0, _) => Some(Call::Endpoint),
            (1, Role::Viewer) => Some(Call::IceServers),
            (_, Role::Master | Role::Viewer) => None,
        }
    }

    /// Returns the endpoint for the next call or, after the last call, for the WebSocket connection. `None` means the
    /// run's own target.
    #[must_use]
    pub fn place(&self) -> Option<&Endpoint> {
        let endpoints = self.endpoints.as_ref()?;
        Some(match self.next() {
            Some(Call::Endpoint | Call::IceServers) => &endpoints.https,
            None => &endpoints.wss,
        })
    }

    /// Processes the next bytes of a response.
    pub fn take_in(&mut self, bytes: &[u8]) -> Reply {
        self.bytes.extend_from_slice(bytes);
        let answer = match Answer::parse(&self.bytes) {
            Ok(None) if self.bytes.len() <= ANSWER_BYTES_MAX => return Reply::Part,
            Ok(None) | Err(_) => return Reply::refused("bad_answer_to_a_call"),
            Ok(Some(answer)) => answer,
        };
        match answer.status {
            200 if self.next() == Some(Call::Endpoint) => {
                self.endpoints = EndpointList::read(&answer.body);
                if self.endpoints.is_none() {
                    return Reply::refused("bad_endpoint_in_answer");
                }
            }
            200 => {}
            // Some services, such as `broker --dev`, only create a channel when its master connects. The master
            // therefore connects to the target even though the channel does not exist yet. Other services will refuse
            // the connection.
            404 if self.role == Role::Master => {}
            status => {
                let kind = format!("call_{status}_{}", answer.error_type);
                return Reply::Refused(kind, answer.request_id);
            }
        }
        self.answered += 1;
        self.bytes = Vec::new();
        self.over = answer.closes;
        Reply::Answered
    }
}

impl EndpointList {
    fn read(body: &[u8]) -> Option<Self> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let list = answer.get("ResourceEndpointList")?.as_array()?;
        let of = |protocol: &str| {
            let mut items = list.iter();
            let item = items.find(|item| item.get("Protocol").is_some_and(|p| p == protocol))?;
            let url = item.get("ResourceEndpoint")?.as_str()?;
            // The path names the role, which the client id already implies, so remove the path.
            let bare = url
                .strip_suffix("/master")
                .or_else(|| url.strip_suffix("/viewer"));
            Endpoint::parse(bare.unwrap_or(url)).ok()
        };
        Some(Self {
            wss: of("WSS")?,
            https: of("HTTPS")?,
        })
    }
}

impl Call {
    /// Returns the path and JSON body of a request, in the exact form that the JavaScript SDK sends. The request is
    /// made for a viewer if there is a client id, and for the master otherwise.
    #[must_use]
    pub fn request(self, arn: &str, client_id: Option<&str>) -> (&'static str, String) {
        match self {
            Self::Endpoint => {
                let role = if client_id.is_some() {
                    "VIEWER"
                } else {
                    "MASTER"
                };
                let wanted = json!({ "Protocols": ["WSS", "HTTPS"], "Role": role });
                let body = json!({ "ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": wanted });
                ("/getSignalingChannelEndpoint", body.to_string())
            }
            Self::IceServers => {
                let mut body = json!({ "ChannelARN": arn, "Service": "TURN" });
                if let Some(client_id) = client_id {
                    body["ClientId"] = client_id.into();
                }
                ("/v1/get-ice-server-config", body.to_string())
            }
        }
    }
}

/// Appends the request for a call, with keep-alive. Signs the request if there is a signer.
pub fn write_call(out: &mut Vec<u8>, call: &signer::Call<'_>, signer: Option<&mut Signer<'_>>) {
    let &signer::Call {
        host, path, body, ..
    } = call;
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {JSON}\r\n");
    if let Some(signed) = signer.map(|signer| signer.sign(call)) {
        for (name, value) in signed.lines() {
            head.extend([name, ": ", value, "\r\n"]);
        }
    }
    let length = body.len();
    out.extend_from_slice(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes());
}

/// Maximum response size in bytes. The C SDK accepts less.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A complete HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code, which is 200 on success.
    pub status: u16,
    /// The AWS error type, for a failed call.
    pub error_type: String,
    /// The request id, or an empty string if there is none.
    pub request_id: String,
    /// Whether the service closes the connection after this response.
    pub closes: bool,
    /// The response body.
    pub body: Vec<u8>,
}

/// The bytes are not HTTP, or lack a valid `Content-Length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

impl Answer {
    /// Parses the response at the start of `bytes`. Returns `None` if the response is incomplete.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, NoAnswer> {
        let mut lines = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut lines);
        let parsed = head.parse(bytes).map_err(|_| NoAnswer)?;
        let httparse::Status::Complete(head_bytes) = parsed else {
            return Ok(None);
        };
        let value = |name: &str| {
            let mut lines = head.headers.iter();
            let line = lines.find(|line| line.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(line.value).ok()
        };
        let length = value("Content-Length").and_then(|length| length.parse::<usize>().ok());
        let length = length.ok_or(NoAnswer)?;
        let body = bytes.get(head_bytes..).and_then(|rest| rest.get(..length));
        Ok(body.map(|body| Self {
            status: head.code.unwrap_or_default(),
            error_type: value("x-amzn-ErrorType").unwrap_or("unnamed").to_owned(),
            request_id: value("x-amzn-RequestId").unwrap_or_default().to_owned(),
            closes: value("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
            body: body.to_vec(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

    fn endpoints(list: &str) -> Vec<u8> {
        let body = format!("{{\"ResourceEndpointList\":[{list}]}}");
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    }

    const WSS: &str = r#"{"Protocol":"WSS","ResourceEndpoint":"wss://v-1.example.test"}"#;
    const HTTPS: &str =
        r#"{"Protocol":"HTTPS","ResourceEndpoint":"https://r-1.example.test:8443"}"#;

    #[test]
    fn calls_follow_each_other_and_their_endpoints() {
        let mut discovery = DiscoveryCalls::new(Role::Viewer);
        let found = (discovery.next(), discovery.place());
        assert_eq!(found, (Some(Call::Endpoint), None));
        let answer = endpoints(&format!("{HTTPS},{WSS}"));
        assert_eq!(discovery.take_in(&answer[..20]), Reply::Part);
        assert_eq!(discovery.take_in(&answer[20..]), Reply::Answered);
        let authority = |discovery: &DiscoveryCalls| discovery.place().unwrap().authority.clone();
        assert_eq!(discovery.next(), Some(Call::IceServers));
        assert_eq!(authority(&discovery), "r-1.example.test:8443");
        assert!(!discovery.over);
        assert_eq!(discovery.take_in(WELL), Reply::Answered);
        assert_eq!(discovery.next(), None);
        assert_eq!(authority(&discovery), "v-1.example.test");

        let mut master = DiscoveryCalls::new(Role::Master);
        assert_eq!(master.take_in(&answer), Reply::Answered);
        assert_eq!(master.next(), None);
        assert_eq!(authority(&master), "v-1.example.test");
    }

    #[test]
    fn each_role_makes_its_own_calls() {
        let body = |client_id| Call::Endpoint.request("arn:x", client_id).1;
        assert!(body(None).contains("\"MASTER\"") && body(Some("v")).contains("\"VIEWER\""));
        let (_, body) = Call::IceServers.request("arn:x", Some("v"));
        assert!(body.contains("\"ClientId\":\"v\""));
    }

    #[test]
    fn calls_are_requests_with_the_headers_of_their_signature() {
        let call = signer::Call {
            host: "h:1",
            path: "/p",
            body: "{}",
            now_s: 1_767_323_045,
        };
        let plain = "POST /p HTTP/1.1\r\nHost: h:1\r\nContent-Type: application/json\r\n";
        let rest = "Content-Length: 2\r\n\r\n{}";
        let mut out = Vec::new();
        write_call(&mut out, &call, None);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{plain}{rest}"));

        let keys = signer::Keys {
            access_key_id: "ASIAEXAMPLE",
            secret_access_key: "secret",
            session_token: Some("token"),
        };
        let mut out = Vec::new();
        write_call(&mut out, &call, Some(&mut Signer::new(keys, "us-west-2")));
        let text = String::from_utf8(out).unwrap();
        let signature = text
            .strip_prefix(plain)
            .unwrap()
            .strip_suffix(rest)
            .unwrap();
        let names = signature
            .lines()
            .map(|line| line.split_once(": ").unwrap().0);
        let wanted = ["Authorization", "X-Amz-Date", "X-Amz-Security-Token"];
        assert!(names.eq(wanted), "{signature}");
    }

    #[test]
    fn answers_without_both_endpoints_are_refused() {
        let bad = Reply::refused("bad_endpoint_in_answer");
        let injected = r#"{"Protocol":"WSS","ResourceEndpoint":"wss://a\r\nX: y"}"#;
        for list in ["", WSS, HTTPS, "1", &format!("{HTTPS},{injected}")] {
            let reply = DiscoveryCalls::new(Role::Viewer).take_in(&endpoints(list));
            assert_eq!(reply, bad, "{list}");
        }
        assert_eq!(DiscoveryCalls::new(Role::Viewer).take_in(WELL), bad);
    }

    #[test]
    fn refusals_are_named() {
        let refused = b"HTTP/1.1 404 No\r\nx-amzn-ErrorType: ResourceNotFoundException\r\n\
                        x-amzn-RequestId: 0a-1\r\nContent-Length: 0\r\n\r\n";
        let name = Reply::Refused("call_404_ResourceNotFoundException".into(), "0a-1".into());
        assert_eq!(DiscoveryCalls::new(Role::Viewer).take_in(refused), name);
        let mut master = DiscoveryCalls::new(Role::Master);
        assert_eq!(master.take_in(refused), Reply::Answered);
        assert_eq!((master.next(), master.place()), (None, None));
        let bad = Reply::refused("bad_answer_to_a_call");
        assert_eq!(DiscoveryCalls::new(Role::Viewer).take_in(b"\0"), bad);
        let endless = "a".repeat(ANSWER_BYTES_MAX);
        let found = DiscoveryCalls::new(Role::Viewer)
            .take_in(format!("HTTP/1.1 200 OK\r\nA: {endless}").as_bytes());
        assert_eq!(found, bad);
    }
}

#[cfg(test)]
mod answer_tests {
    use super::*;

    #[test]
    fn answers_are_read_when_they_are_whole() {
        let text =
            b"HTTP/1.1 400 Bad Request\r\nx-amzn-ErrorType: E\r\nContent-Length: 2\r\nConnection: \
                     close\r\n\r\n{}";
        for length in 0..text.len() {
            assert_eq!(Answer::parse(&text[..length]), Ok(None), "{length}");
        }
        let answer = Answer::parse(text).unwrap().unwrap();
        let found = (answer.status, answer.error_type.as_str(), answer.closes);
        assert_eq!(found, (400, "E", true));
        assert_eq!(answer.body, b"{}");
        assert_eq!(Answer::parse(b"HTTP/1.1 200 OK\r\n\r\n"), Err(NoAnswer));
        assert_eq!(Answer::parse(b"nonsense\r\n\r\n"), Err(NoAnswer));
    }
}
