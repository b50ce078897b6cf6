//! Requests, frames and responses of clients, in the words of a transcript.

use crate::sim::wire::Item;
use broker_core::time::{Moment, Now, Wall};
use codec::signal::{Action, client::Outgoing};
use codec::ws::{self, Opcode};

/// A thing in the words of a transcript.
pub(crate) fn words(item: &Item) -> String {
    let member = |text: &str, name: &str| {
        let rest = text
            .split_once(&format!(r#""{name}":""#))
            .map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split('"').next())
            .unwrap_or("-")
            .to_owned()
    };
    match item {
        Item::Response(response) if response.status == 101 => "101".to_owned(),
        Item::Response(response) if response.error.is_empty() => {
            let text = format!("{} {}", response.status, response.body);
            text.trim_end().replace("\r\n", "/") // an SDP on one line
        }
        Item::Response(response) => format!("{} {}", response.status, response.error),
        Item::Message { text, payload } => {
            let (action, sender) = (member(text, "messageType"), member(text, "senderClientId"));
            let from = if sender == "-" {
                String::new()
            } else {
                format!(" from {sender}")
            };
            format!("{action} {payload}{from}")
        }
        Item::Status(text) => format!(
            "status {} {} {} {}",
            member(text, "correlationId"),
            member(text, "statusCode"),
            member(text, "errorType"),
            member(text, "description")
        ),
        Item::GoAway => "GO_AWAY".to_owned(),
        Item::ReconnectIce => "RECONNECT_ICE_SERVER".to_owned(),
        Item::Ping => "ping".to_owned(),
        Item::ProofPing(number) => format!("ping {number}"),
        Item::Pong(payload) => format!("pong {}", String::from_utf8_lossy(payload))
            .trim()
            .to_owned(),
        Item::Close(code, reason) => format!("close {code} {reason}").trim().to_owned(),
    }
}

/// The bytes that a client sends for these words.
pub(crate) fn spoken(text: &str, at: &Moment) -> Vec<u8> {
    let mut out = Vec::new();
    let frame = |out: &mut Vec<u8>, opcode, payload: &[u8]| {
        ws::frame_masked(out, opcode, payload, MASK);
    };
    match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["ping"] => frame(&mut out, Opcode::Ping, b"x"),
        ["pong"] => frame(&mut out, Opcode::Pong, b""),
        ["pong", number] => {
            let number: u32 = number.parse().expect("that of a ping");
            frame(&mut out, Opcode::Pong, &number.to_be_bytes());
        }
        ["empty"] => frame(&mut out, Opcode::Text, b""),
        ["binary"] => frame(&mut out, Opcode::Binary, b"x"),
        ["unmasked"] => ws::frame(&mut out, Opcode::Text, b"x"),
        ["huge"] => out.extend_from_slice(b"\x81\xff\0\0\0\0\0\x01\0\x01\0\0\0\0"),
        ["close", code] => {
            ws::close_frame_masked(&mut out, code.parse().expect("a code"), "", MASK)
        }
        ["raw", ..] => {
            let words = text["raw".len()..].trim();
            frame(&mut out, Opcode::Text, words.as_bytes());
        }
        ["bytes", ..] => out.extend_from_slice(&unescaped(text["bytes".len()..].trim())),
        ["http", ..] => out.extend_from_slice(&unescaped(text["http".len()..].trim())),
        ["create", name] => {
            out = post(
                "/createSignalingChannel",
                &format!(r#"{{"ChannelName":"{name}"}}"#),
            )
        }
        ["create", name, ttl] => {
            let body = format!(
                r#"{{"ChannelName":"{name}","SingleMasterConfiguration":{{"MessageTtlSeconds":{ttl}}}}}"#
            );
            out = post("/createSignalingChannel", &body);
        }
        ["describe", name] => {
            let body = format!(r#"{{"ChannelName":"{name}"}}"#);
            out = post("/describeSignalingChannel", &body);
        }
        ["delete", name] => {
            out = post(
                "/deleteSignalingChannel",
                &format!(r#"{{"ChannelARN":"{}"}}"#, arn(name)),
            )
        }
        ["delete", name, "created-now"] => {
            let born = arn(name).replace(BORN, &at.wall.0.to_string());
            out = post(
                "/deleteSignalingChannel",
                &format!(r#"{{"ChannelARN":"{born}"}}"#),
            );
        }
        ["list"] => out = post("/listSignalingChannels", "{}"),
        ["api", path, ..] => {
            let body = text.split_once(path).expect("it is there").1.trim();
            out = post(path, &named(body));
        }
        ["alexa", payload, "as", sender, rest @ ..] => {
            let channel = arn(rest.last().unwrap_or(&CHANNEL));
            let body = format!(
                r#"{{"ChannelARN":"{channel}","SenderClientId":"{sender}","MessagePayload":"{payload}"}}"#
            );
            out = post("/v1/send-alexa-offer-to-master", &body);
        }
        [action, payload, rest @ ..] => message(&mut out, action, payload, rest),
        other => panic!("what is {other:?}?"),
    }
    out
}

fn message(out: &mut Vec<u8>, action: &str, payload: &str, rest: &[&str]) {
    let after = |word: &str| {
        let place = rest.iter().position(|other| *other == word)?;
        rest.get(place + 1).copied()
    };
    let outgoing = Outgoing {
        action: Action::parse(action.as_bytes()).unwrap_or_else(|| panic!("what is {action}?")),
        payload,
        recipient: after("to"),
        correlation_id: after("id"),
    };
    outgoing.write(out, &mut Vec::new(), MASK);
}

/// A request for a WebSocket: a viewer's with this id, or a master's.
pub(crate) fn upgrade(arn: &str, client_id: Option<&str>) -> Vec<u8> {
    let encoded = arn.replace(':', "%3A").replace('/', "%2F");
    let mut target = format!("/?X-Amz-ChannelARN={encoded}");
    if let Some(id) = client_id {
        target.push_str(&format!("&X-Amz-ClientId={id}"));
    }
    let mut head = Vec::new();
    ws::request(
        &mut head,
        "localhost:8080",
        &target,
        "dGhlIHNhbXBsZSBub25jZQ==",
    );
    head
}

/// A call of the API.
pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// `<NAME>` stands for the ARN of a channel that was created in the first moment of a transcript.
fn named(body: &str) -> String {
    let mut out = String::new();
    for (number, part) in body.split(['<', '>']).enumerate() {
        match number % 2 {
            0 => out.push_str(part),
            _ => out.push_str(&arn(&format!("{part}@{FIRST_MOMENT}"))),
        }
    }
    out
}

/// `\r`, `\n` and `\xNN` stand for their bytes.
fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match (byte, byte == b'\\') {
            (_, true) => match rest.next() {
                Some(b'r') => out.push(b'\r'),
                Some(b'n') => out.push(b'\n'),
                Some(b'x') => {
                    let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
                    let digits = std::str::from_utf8(&digits).expect("ASCII");
                    out.push(u8::from_str_radix(digits, 16).expect("hex"));
                }
                other => panic!("what is {other:?}?"),
            },
            (byte, false) => out.push(byte),
        }
    }
    out
}

/// When channels that nobody created by a call were born.
const BORN: &str = "1700000000000";

/// The calendar in the first moment of a transcript.
pub(crate) const FIRST_MOMENT: u64 = 1_767_323_075_123;

/// The first moment of a transcript.
pub(crate) fn first_moment() -> Moment {
    Moment {
        now: Now(1_000),
        wall: Wall(FIRST_MOMENT),
        micros: 0,
    }
}

/// The channel of every step that names no other.
pub(crate) const CHANNEL: &str = "cam";

const MASK: [u8; 4] = [1, 2, 3, 4];

/// The ARN of a channel: `name`, or `name@birth`.
pub(crate) fn arn(name: &str) -> String {
    let (name, born) = name.split_once('@').unwrap_or((name, BORN));
    format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{name}/{born}")
}

/// A span such as `5s`, in milliseconds.
pub(crate) fn millis(span: &str) -> u64 {
    let (number, unit) = span.split_at(span.find(|c: char| !c.is_ascii_digit()).expect("a unit"));
    let number: u64 = number.parse().expect("a number");
    number
        * match unit {
            "ms" => 1,
            "s" => 1_000,
            "min" => 60_000,
            other => panic!("what is {other}?"),
        }
}
