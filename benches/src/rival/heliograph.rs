//! Heliograph's own codec, used in the same way as in the broker.

use crate::rival::{Decode, Encode, Parse, ReadHead, Seen, Shake};
use codec::http::{Head, HeadLimits, HeadScanner, Meta, switching_protocols, upgrade};
use codec::signal::{MessageRules, Parser, Request, Role};
use codec::ws::{self, Item, Opcode, Receiver, Side};

/// An adaptor for the codec.
#[derive(Debug)]
pub struct Heliograph<T>(T);

/// The state of one incoming connection.
#[derive(Debug)]
pub struct Intake {
    read: Box<[u8]>,
    buffer: Box<[u8]>,
    receiver: Receiver,
    rules: ws::FrameRules,
}

impl Decode for Heliograph<Intake> {
    const LIBRARY: &'static str = "heliograph";

    fn new(read: &[u8]) -> Self {
        Self(Intake {
            read: read.into(),
            buffer: read.into(),
            receiver: Receiver::new(Side::Server),
            rules: ws::FrameRules {
                message_bytes: codec::limits::MESSAGE_BYTES,
                fragments: 64,
            },
        })
    }

    fn decode(&mut self, mut see: impl FnMut(&[u8])) {
        let Intake {
            read,
            buffer,
            receiver,
            rules,
        } = &mut self.0;
        buffer.copy_from_slice(read);
        let mut rest = &mut buffer[..];
        while let Ok((used, Some(item))) = receiver.next(rules, rest) {
            match item {
                Item::Message { kind: _, payload } => see(payload),
                Item::Ping(_) | Item::Pong(_) | Item::Close(_) => {}
            }
            rest = rest.get_mut(used..).unwrap_or_default();
        }
    }
}

impl Encode for Heliograph<Box<[u8]>> {
    const LIBRARY: &'static str = "heliograph";

    fn new(text: &[u8]) -> Self {
        Self(text.into())
    }

    fn encode(&mut self, out: &mut Vec<u8>) {
        ws::frame(out, Opcode::Text, &self.0);
    }

    fn encode_masked(&mut self, out: &mut Vec<u8>, key: [u8; 4]) {
        ws::frame_masked(out, Opcode::Text, &self.0, key);
    }
}

impl Parse for Heliograph<Parser> {
    const LIBRARY: &'static str = "heliograph";

    fn new() -> Self {
        Self(Parser::new())
    }

    fn parse<T>(&mut self, text: &mut [u8], see: impl FnOnce(&Request<'_>) -> T) -> Option<T> {
        let request = self
            .0
            .parse(text, Role::Master, &MessageRules::DEFAULT)
            .ok()?;
        Some(see(&request))
    }
}

impl ReadHead for Heliograph<()> {
    const LIBRARY: &'static str = "heliograph";

    fn read(bytes: &[u8]) -> Option<Seen> {
        let head = head(bytes)?;
        Some(Seen {
            bytes: bytes.len(),
            target_bytes: head.target().len(),
            lines: head.headers().count(),
            host_bytes: head.host()?.len(),
        })
    }
}

impl Shake for Heliograph<()> {
    const LIBRARY: &'static str = "heliograph";

    fn shake(bytes: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(head) = head(bytes) else {
            return false;
        };
        let Ok(Some(asked)) = upgrade(&head, ws::valid_key) else {
            return false;
        };
        let meta = Meta {
            wall_ms: 1_795_000_000_000,
            request_id: "b6b7b2f0-5e4b-4b7e-9d36-2f1f5b0c6a11",
            close: false,
            fields: "",
        };
        switching_protocols(out, &meta, &ws::accept_key(asked.key), asked.offers_wss);
        true
    }
}

/// Finds the end of a head and then parses the head, as a shard does.
fn head(bytes: &[u8]) -> Option<Head<'_>> {
    let limits = HeadLimits::default();
    let end = HeadScanner::new().end(bytes, &limits).ok()??;
    Head::parse(bytes.get(..end)?, &limits).ok()
}
