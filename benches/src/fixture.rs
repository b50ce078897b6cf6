//! Inputs for the benches: messages of three sizes, and request heads recorded from real clients.

use codec::base64;
use codec::signal::client::Outgoing;
use codec::signal::{Action, Delivery, Role};
use codec::ws::{Opcode, frame_masked};
use serde_json::Value;

/// Client id of the viewer in the recordings. The viewer receives the master's messages and also sends messages itself.
pub const VIEWER: &str = "viewer-1.A_b";

/// Masking key used for every frame, taken from RFC 6455 section 5.7.
pub const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A message to benchmark.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of the message in benchmark groups.
    pub name: &'static str,
    /// Action of the message.
    pub action: Action,
    /// Payload of the message, as base64 text.
    pub payload: String,
}

/// Returns messages of three sizes: an ICE candidate with a payload of 200 bytes, an SDP answer of 3,000 bytes, and an
/// SDP answer with the longest payload that the default profile accepts.
#[must_use]
pub fn cases() -> [Case; 3] {
    [
        Case::new("ice-200B", Action::IceCandidate, 150),
        Case::new("sdp-3KB", Action::SdpAnswer, 3_000),
        Case::new(
            "largest-32KiB",
            Action::SdpAnswer,
            codec::limits::PAYLOAD_BYTES / 4 * 3,
        ),
    ]
}

impl Case {
    fn new(name: &'static str, action: Action, bytes: usize) -> Self {
        let description = description(bytes);
        let mut payload = Vec::new();
        base64::encode(&mut payload, description.as_bytes());
        let payload = String::from_utf8(payload).expect("base64 is ASCII");
        Self {
            name,
            action,
            payload,
        }
    }

    /// Returns the text of the message as the JavaScript SDK writes it for this role.
    #[must_use]
    pub fn text(&self, role: Role) -> Vec<u8> {
        let mut out = Vec::new();
        self.outgoing(role).write_text(&mut out);
        out
    }

    /// Returns the text of the message as the C SDK writes it: its viewers add their ICE servers to an offer.
    ///
    /// The flat scanner does not parse nested values; it leaves such texts to simd-json.
    #[must_use]
    pub fn text_with_ice_servers(&self) -> Vec<u8> {
        let Self { payload, .. } = self;
        let action = self.action.as_str();
        format!(
            "{{\n\t\"action\": \"{action}\",\n\t\"RecipientClientId\": \"{VIEWER}\",\n\t\
             \"MessagePayload\": \"{payload}\",\n\t\
             \"IceServerList\": [\n\t\t{{\n\t\t\t\"Password\": \"pw\",\n\t\t\t\"Ttl\": 300,\n\t\t\t\
             \"Uris\": [\"turn:turn.example.test:443?transport=udp\", \
             \"turns:turn.example.test:443?transport=tcp\"],\n\t\t\t\
             \"Username\": \"1700000300:user\"\n\t\t}}\n\t]\n}}"
        )
        .into_bytes()
    }

    /// Returns the text of the message with the slashes in its payload escaped, as some serializers write them.
    #[must_use]
    pub fn text_with_escapes(&self) -> Vec<u8> {
        let text = String::from_utf8(self.text(Role::Master)).expect("a text is UTF-8");
        text.replace('/', "\\/").into_bytes()
    }

    /// Returns `count` masked frames in one contiguous buffer. Each contains the text that a client in this role sends.
    #[must_use]
    pub fn frames(&self, role: Role, count: usize) -> Vec<u8> {
        let (text, mut out) = (self.text(role), Vec::new());
        for _ in 0..count {
            frame_masked(&mut out, Opcode::Text, &text, KEY);
        }
        out
    }

    /// Returns the message as delivered to a master.
    #[must_use]
    pub fn delivery(&self) -> Delivery<'_> {
        Delivery {
            action: self.action,
            payload: self.payload.as_bytes(),
            sender: Some(VIEWER),
        }
    }

    fn outgoing(&self, role: Role) -> Outgoing<'_> {
        Outgoing {
            action: self.action,
            payload: &self.payload,
            recipient: match role {
                Role::Master => Some(VIEWER),
                Role::Viewer => None,
            },
            correlation_id: None,
        }
    }
}

/// A request head to benchmark.
#[derive(Clone, Debug)]
pub struct HeadCase {
    /// Name of the head in benchmark groups.
    pub name: &'static str,
    /// Bytes of the head, including the empty line at its end.
    pub bytes: Vec<u8>,
}

/// Returns the request heads: an API call of the AWS CLI, the upgrade of a JavaScript SDK viewer, and the same upgrade
/// with a session token that makes the head as long as permitted.
#[must_use]
pub fn heads() -> [HeadCase; 3] {
    let call = &recorded(include_str!("../../codec/tests/data/http_heads.json"))[0];
    let upgrade = upgrade_head("demo", "viewer-1.A_b");
    let token = "X-Amz-Security-Token=";
    let room = codec::limits::HEAD_BYTES - upgrade.len();
    let longest = upgrade.replacen(token, &format!("{token}{}", "A".repeat(room)), 1);
    assert_eq!(longest.len(), codec::limits::HEAD_BYTES);
    [
        HeadCase {
            name: "call",
            bytes: head_of("POST", text_of(&call["target"]), &call["headers"]).into_bytes(),
        },
        HeadCase {
            name: "upgrade",
            bytes: upgrade.into_bytes(),
        },
        HeadCase {
            name: "upgrade-16KiB",
            bytes: longest.into_bytes(),
        },
    ]
}

/// Returns the upgrade recorded from a JavaScript SDK viewer, with the channel and the client id replaced.
///
/// # Panics
/// Panics if the recording has changed.
#[must_use]
pub fn upgrade_head(channel: &str, client_id: &str) -> String {
    let clients = recorded(include_str!(
        "../../codec/tests/data/websocket_clients.json"
    ));
    let viewer = &clients[0];
    let target = text_of(&viewer["target"]);
    assert!(target.contains("%2Fdemo%2F") && target.contains("viewer-1.A_b"));
    let target = target
        .replacen("%2Fdemo%2F", &format!("%2F{channel}%2F"), 1)
        .replacen("viewer-1.A_b", client_id, 1);
    head_of("GET", &target, &viewer["headers"])
}

/// Returns an upgrade as a JavaScript SDK master sends it, with the channel replaced.
///
/// # Panics
/// Panics if the recording has changed.
#[must_use]
pub fn upgrade_head_of_master(channel: &str) -> String {
    upgrade_head(channel, VIEWER).replacen(&format!("&X-Amz-ClientId={VIEWER}"), "", 1)
}

fn recorded(json: &str) -> Vec<Value> {
    serde_json::from_str(json).expect("recordings are JSON")
}

fn text_of(value: &Value) -> &str {
    value.as_str().expect("a recording's text")
}

fn head_of(method: &str, target: &str, headers: &Value) -> String {
    let lines: String = headers
        .as_array()
        .expect("a recording's headers")
        .iter()
        .map(|pair| format!("{}: {}\r\n", text_of(&pair[0]), text_of(&pair[1])))
        .collect();
    format!("{method} {target} HTTP/1.1\r\n{lines}\r\n")
}

/// Builds a session description with candidates that is `bytes` bytes long. It contains question marks, which become
/// slashes in base64.
fn description(bytes: usize) -> String {
    let mut text = String::from(
        "{\"type\":\"answer\",\"sdp\":\"v=0\\r\\ns=???\\r\\no=- 4611731400430051336 2 IN IP4",
    );
    for number in 0.. {
        if text.len() >= bytes {
            break;
        }
        text.push_str(&format!(
            "\\r\\na=candidate:{number} 1 udp {} 192.0.2.{} {} typ host ufrag ???",
            2_130_706_431 - number,
            number % 250,
            50_000 + number
        ));
    }
    text.truncate(bytes);
    text
}
