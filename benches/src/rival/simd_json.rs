//! simd-json alone, without a scanner in front of it. Parses into a tape and serialises with serde, both in reused
//! buffers.

use crate::rival::Parse;
use crate::rival::text::{Text, judge};
use codec::signal::Request;
use simd_json::tape::{Node, Tape};
use simd_json::{Buffers, StaticNode, fill_tape};
use std::borrow::Cow;
use std::mem;

/// An adaptor for simd-json.
#[derive(Debug)]
pub struct SimdJson<T>(T);

/// The buffers that the reader reuses.
pub struct Reader {
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Parse for SimdJson<Reader> {
    const LIBRARY: &'static str = "simd-json";

    fn new() -> Self {
        Self(Reader {
            buffers: Buffers::new(0),
            tape: Tape(Vec::new()),
        })
    }

    fn parse<T>(&mut self, text: &mut [u8], see: impl FnOnce(&Request<'_>) -> T) -> Option<T> {
        let Reader {
            buffers,
            tape: kept,
        } = &mut self.0;
        let mut tape = mem::replace(kept, Tape(Vec::new())).reset();
        let parsed = fill_tape(text, buffers, &mut tape);
        let seen = parsed
            .ok()
            .and_then(|()| members(&tape.0))
            .and_then(|text| Some(see(&judge(&text)?)));
        *kept = tape.reset();
        seen
    }
}

/// Returns the known members of an object. Returns `None` if the value is not an object, a member is duplicated, or a
/// member is not a string.
fn members<'a>(nodes: &[Node<'a>]) -> Option<Text<'a>> {
    let (Node::Object { .. }, mut rest) = nodes.split_first()? else {
        return None;
    };
    let mut text = Text::default();
    while let Some((Node::String(name), after)) = rest.split_first() {
        let value = after.first()?;
        let place = match *name {
            "action" | "Action" => Some(&mut text.action),
            "messagePayload" | "MessagePayload" => Some(&mut text.payload),
            "recipientClientId" | "RecipientClientId" => Some(&mut text.recipient),
            "correlationId" | "CorrelationId" => Some(&mut text.correlation),
            _ => None,
        };
        if let Some(place) = place {
            if place.0.is_some() {
                return None;
            }
            place.0 = match value {
                Node::String(text) => Some(Cow::Borrowed(text)),
                Node::Static(StaticNode::Null) => None,
                Node::Static(_) | Node::Object { .. } | Node::Array { .. } => return None,
            };
        }
        let nodes = match value {
            Node::Object { count, .. } | Node::Array { count, .. } => count + 1,
            Node::String(_) | Node::Static(_) => 1,
        };
        rest = after.get(nodes..)?;
    }
    Some(text)
}
