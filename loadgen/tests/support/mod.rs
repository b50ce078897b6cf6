//! A relay of one channel that does its work well except one fault, of which it makes one in this many messages. It
//! shares no code with the broker: JSON by serde_json, routing in ten lines.

#![expect(clippy::unwrap_used, reason = "support code of tests")]

pub(crate) mod tally;

use codec::ws::{self, FrameRules, Item, Opcode, Receiver};
use serde_json::{Value, json};

/// The bounds of the frames that a service takes from its clients.
pub(crate) const RULES: FrameRules = FrameRules {
    message_bytes: 1 << 16,
    fragments: 1,
};

/// The answer that accepts an upgrade with this head; `None` if the head has no key.
pub(crate) fn accepted(head: &str) -> Option<String> {
    let key = head.split("Key: ").nth(1)?.split('\r').next()?;
    let accept = ws::accept_key(key);
    let accept = std::str::from_utf8(&accept).ok()?;
    Some(format!(
        "HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

/// The messages in the bytes that a peer sent.
pub(crate) fn messages(receiver: &mut Receiver, mut bytes: &mut [u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let (used, item) = receiver.next(&RULES, bytes).unwrap();
        match item {
            Some(Item::Message { payload, .. }) => messages.push(payload.to_vec()),
            None => break,
            Some(other) => panic!("{other:?}"),
        }
        bytes = &mut bytes[used..];
    }
    messages
}

/// The fault of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    Loses,
    Duplicates,
    Reorders,
    Corrupts,
    Misroutes,
}

/// A message to the peer at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) text: String,
}

impl Delivery {
    /// Its frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        ws::frame(&mut frame, Opcode::Text, self.text.as_bytes());
        frame
    }
}

/// A channel of two viewers.
pub(crate) struct Relay {
    fault: Fault,
    count: u64,
    held: Option<Delivery>,
}

/// One in this many messages is spoiled. A prime, so that every direction gets its share.
const SPOILED: u64 = 17;

impl Relay {
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            fault,
            count: 0,
            held: None,
        }
    }

    /// The deliveries of a text that the peer at a place sent.
    pub(crate) fn route(&mut self, from: u32, text: &[u8]) -> Vec<Delivery> {
        let message: Value = serde_json::from_slice(text).unwrap();
        let mut event = json!({
            "messagePayload": message["messagePayload"],
            "messageType": message["action"],
        });
        let to = match message["recipientClientId"].as_str() {
            Some(recipient) if from == 0 => {
                recipient.trim_start_matches("viewer-").parse().unwrap()
            }
            _ => 0,
        };
        if from > 0 {
            event["senderClientId"] = format!("viewer-{from}").into();
        }
        self.count += 1;
        let spoiled = self.count.is_multiple_of(SPOILED);
        if spoiled && self.fault == Fault::Corrupts {
            let payload = event["messagePayload"].as_str().unwrap().replace('x', "y");
            assert_ne!(event["messagePayload"], payload.as_str());
            event["messagePayload"] = payload.into();
        }
        let delivery = Delivery {
            from,
            to,
            text: event.to_string(),
        };
        self.spoil(delivery, spoiled)
    }

    fn spoil(&mut self, delivery: Delivery, spoiled: bool) -> Vec<Delivery> {
        if let Some(held) = self
            .held
            .take_if(|held| (held.from, held.to) == (delivery.from, delivery.to))
        {
            return vec![delivery, held];
        }
        match self.fault {
            Fault::Loses if spoiled => vec![],
            Fault::Duplicates if spoiled => vec![delivery.clone(), delivery],
            Fault::Reorders if spoiled && self.held.is_none() => {
                self.held = Some(delivery);
                vec![]
            }
            Fault::Misroutes if spoiled && delivery.to > 0 => vec![Delivery {
                to: 3 - delivery.to,
                ..delivery
            }],
            Fault::Nothing
            | Fault::Loses
            | Fault::Duplicates
            | Fault::Reorders
            | Fault::Corrupts
            | Fault::Misroutes => vec![delivery],
        }
    }
}
