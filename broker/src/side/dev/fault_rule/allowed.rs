//! The values of a fault: the closed sets that the reader, its errors and `GET /dev/faults/allowed` share.

use broker_core::shard::{Corruption, FaultError};
use codec::control::Operation;
use codec::signal::{Action, Role};
use serde_json::{Value, json};
use strum::{EnumString, VariantNames};

/// The places where a fault acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum On {
    Connect,
    Api,
    Message,
    Delivery,
    Session,
}

impl On {
    /// The keys that `match` may name.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Api => &["channel", "operation"],
            Self::Connect | Self::Session => &["channel", "role", "clientId"],
            Self::Message | Self::Delivery => &["channel", "role", "clientId", "action"],
        }
    }

    /// The acts that `do` may name.
    pub(crate) fn acts(self) -> &'static [&'static str] {
        match self {
            Self::Connect | Self::Api => &["refuse", "throttle", "delay", "hang", "reset"],
            Self::Message => &MESSAGE,
            Self::Delivery => &DELIVERY,
            Self::Session => &SESSION,
        }
    }
}

/// The answer of `GET /dev/faults/allowed`. Each entry of a `do` is one that a fault may have as it is.
pub(crate) fn document() -> Value {
    let on = On::VARIANTS.iter().filter_map(|name| {
        let on: On = name.parse().ok()?;
        let acts: Vec<Value> = on.acts().iter().map(|act| example(act)).collect();
        Some(json!({ "name": name, "match": on.keys(), "do": acts }))
    });
    let on: Vec<Value> = on.collect();
    json!({
        "on": on,
        "role": ROLES.map(|(name, _)| name),
        "operation": Operation::ALL.iter().map(|it| it.name()).collect::<Vec<_>>(),
        "action": Action::ALL.map(Action::as_str),
        "corrupt": CORRUPTIONS.map(|(name, _)| name),
        "error": FaultError::names().collect::<Vec<_>>(),
    })
}

/// An act with what it needs, and with what readers would look for.
fn example(act: &str) -> Value {
    let how = match act {
        "refuse" => json!({ "error": "AccessDeniedException" }),
        "throttle" => json!({}),
        "delay" => json!("3s"),
        "corrupt" => json!("payload"),
        "misdirect" => json!("phone-2"),
        "status" => json!({ "errorType": "InternalFailure", "statusCode": 500 }),
        "goAway" => json!({ "grace": "5s" }),
        "close" => json!({ "code": 1001, "after": "2s" }),
        "stall" => json!({ "for": "30s" }),
        _ => return act.into(),
    };
    json!({ act: how })
}

const SESSION: [&str; 5] = ["goAway", "close", "reset", "stall", "reconnectIce"];

/// Those of messages, and those of the sender's session.
const MESSAGE: [&str; 10] = [
    "drop",
    "delay",
    "status",
    "expire",
    "misdirect",
    "goAway",
    "close",
    "reset",
    "stall",
    "reconnectIce",
];

/// Those of deliveries, and those of the recipient's session.
const DELIVERY: [&str; 10] = [
    "drop",
    "delay",
    "duplicate",
    "reorder",
    "corrupt",
    "goAway",
    "close",
    "reset",
    "stall",
    "reconnectIce",
];

/// `do.corrupt`.
pub(crate) const CORRUPTIONS: [(&str, Corruption); 3] = [
    ("payload", Corruption::Payload),
    ("base64", Corruption::Base64),
    ("message", Corruption::Message),
];

/// `match.role`.
pub(crate) const ROLES: [(&str, Role); 2] = [("master", Role::Master), ("viewer", Role::Viewer)];
