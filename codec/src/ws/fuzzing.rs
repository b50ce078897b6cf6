//! The fuzz entry point for frames, and a reference model of the receiver.
//!
//! An input consists of a plan for the run, followed by a byte stream:
//! ```text
//!  byte 0             byte 1    n bytes                          the rest
//!  side, rules        n         lengths of reads, in turn        the stream
//! ```

use crate::ws::close::CloseFrame;
use crate::ws::header::{Header, Opcode, Side};
use crate::ws::{FrameError, FrameRules, Item, Kind, Receiver};

/// An item that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owned {
    /// A message.
    Message(Kind, Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame.
    Close(Option<(u16, String)>),
}

/// What a run on a stream produced: its items, the error that ended it, and the final state of the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenItems {
    /// The items, in order.
    pub items: Vec<Owned>,
    /// The violation that followed the last item, if any.
    pub error: Option<FrameError>,
    /// Final result of [`Receiver::is_idle`].
    pub idle: bool,
    /// Final result of [`Receiver::in_message`].
    pub in_message: bool,
}

/// Feeds the stream to one receiver in a single piece, to another in several pieces, and to the reference model.
/// Compares the results.
///
/// # Panics
/// Panics if the results differ.
pub fn fuzz(data: &[u8]) {
    let Some((&[choice, cuts], rest)) = data.split_first_chunk() else {
        return;
    };
    let Some((cuts, stream)) = rest.split_at_checked(usize::from(cuts)) else {
        return;
    };
    let side = if choice & 1 == 0 {
        Side::Server
    } else {
        Side::Client
    };
    let [message_bytes, fragments] = match choice >> 1 & 3 {
        0 => [16, 1],
        1 => [125, 3],
        2 => [300, 5],
        _ => [70_000, 100],
    };
    let rules = FrameRules {
        message_bytes,
        fragments: u32::try_from(fragments).unwrap_or(u32::MAX),
    };
    let whole = run(side, &rules, stream, [usize::MAX].into_iter());
    let cut = run(
        side,
        &rules,
        stream,
        cuts.iter().map(|&cut| usize::from(cut)).chain([1]).cycle(),
    );
    assert_eq!(whole, cut, "cut by {cuts:?} against the whole");
    assert_eq!(
        whole,
        model(side, &rules, stream),
        "the whole against the model"
    );
}

/// Runs a receiver on a stream that is split into reads of these lengths. The last read takes the rest of the stream.
pub fn run(
    side: Side,
    rules: &FrameRules,
    stream: &[u8],
    reads: impl Iterator<Item = usize>,
) -> SeenItems {
    let mut receiver = Receiver::new(side);
    let mut stream = stream.to_vec();
    let mut rest = &mut stream[..];
    let mut items = Vec::new();
    for length in reads {
        let (mut read, later) = rest.split_at_mut(length.min(rest.len()));
        rest = later;
        loop {
            let read_bytes = read.len();
            let (used, item) = match receiver.next(rules, read) {
                Ok((used, item)) => (used, item.map(own)),
                Err(error) => {
                    assert_eq!(
                        receiver.next(rules, &mut []),
                        Err(error),
                        "an error is final"
                    );
                    return SeenItems {
                        items,
                        error: Some(error),
                        idle: receiver.is_idle(),
                        in_message: false,
                    };
                }
            };
            match item {
                Some(item) => items.push(item),
                None => {
                    assert_eq!(used, read_bytes, "without an item all is used");
                    break;
                }
            }
            read = read.split_at_mut(used).1;
        }
        if rest.is_empty() {
            break;
        }
    }
    SeenItems {
        items,
        error: None,
        idle: receiver.is_idle(),
        in_message: receiver.in_message(),
    }
}

/// A reference model of a receiver, which copies the whole stream and validates UTF-8 with the standard library.
pub fn model(side: Side, rules: &FrameRules, mut stream: &[u8]) -> SeenItems {
    let mut seen = SeenItems {
        items: Vec::new(),
        error: None,
        idle: true,
        in_message: false,
    };
    let mut message: Option<(Kind, u32, Vec<u8>)> = None;
    while !stream.is_empty() {
        if let Err(error) = model_frame(side, rules, &mut stream, &mut message, &mut seen) {
            return SeenItems {
                error: Some(error),
                idle: true,
                in_message: false,
                ..seen
            };
        }
    }
    seen.idle &= message.is_none();
    seen.in_message |= message.is_some();
    seen
}

fn model_frame(
    side: Side,
    rules: &FrameRules,
    stream: &mut &[u8],
    message: &mut Option<(Kind, u32, Vec<u8>)>,
    seen: &mut SeenItems,
) -> Result<(), FrameError> {
    let Some(header) = Header::parse(stream, side)? else {
        seen.idle = false;
        seen.in_message |= stream.first().is_some_and(|first| first & 8 == 0);
        *stream = &[];
        return Ok(());
    };
    match (header.opcode, message.as_mut()) {
        (Opcode::Text, None) => *message = Some((Kind::Text, 1, Vec::new())),
        (Opcode::Binary, None) => *message = Some((Kind::Binary, 1, Vec::new())),
        (Opcode::Text | Opcode::Binary, Some(_)) => return Err(FrameError::StartInsideMessage),
        (Opcode::Continuation, None) => return Err(FrameError::ContinuationWithoutStart),
        (Opcode::Continuation, Some((_, frames, _))) if *frames >= rules.fragments => {
            return Err(FrameError::TooManyFragments);
        }
        (Opcode::Continuation, Some((_, frames, _))) => *frames += 1,
        (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {}
    }
    let control = header.opcode.is_control();
    let before = message
        .as_ref()
        .map_or(0, |(_, _, bytes)| bytes.len() as u64);
    let bytes = before.saturating_add(header.payload_bytes);
    if !control && bytes > rules.message_bytes as u64 {
        return Err(FrameError::too_big(bytes, rules.message_bytes));
    }
    let there = stream.get(header.header_bytes..).unwrap_or_default();
    let whole = there.len() as u64 >= header.payload_bytes;
    let length = if whole {
        usize::try_from(header.payload_bytes).unwrap_or(0)
    } else {
        there.len()
    };
    let (payload, rest) = there.split_at(length);
    let payload: Vec<u8> = payload
        .iter()
        .zip(header.key.iter().cycle())
        .map(|(byte, key)| byte ^ key)
        .collect();
    *stream = rest;
    if control {
        seen.idle &= whole;
        if whole {
            seen.items.push(model_control(header.opcode, payload)?);
        }
        return Ok(());
    }
    let Some((kind, frames, mut bytes)) = message.take() else {
        return Ok(());
    };
    bytes.extend(payload);
    let finished = whole && header.fin;
    if kind == Kind::Text
        && let Err(error) = std::str::from_utf8(&bytes)
        && (finished || error.error_len().is_some())
    {
        return Err(FrameError::TextNotUtf8);
    }
    if finished {
        seen.items.push(Owned::Message(kind, bytes));
    } else {
        *message = Some((kind, frames, bytes));
    }
    Ok(())
}

fn model_control(opcode: Opcode, payload: Vec<u8>) -> Result<Owned, FrameError> {
    match opcode {
        Opcode::Ping => Ok(Owned::Ping(payload)),
        Opcode::Pong => Ok(Owned::Pong(payload)),
        Opcode::Close | Opcode::Continuation | Opcode::Text | Opcode::Binary => {
            Ok(Owned::Close(CloseFrame::parse(&payload)?.map(own_close)))
        }
    }
}

fn own(item: Item<'_>) -> Owned {
    match item {
        Item::Message { kind, payload } => {
            assert!(
                kind == Kind::Binary || std::str::from_utf8(payload).is_ok(),
                "text is UTF-8"
            );
            Owned::Message(kind, payload.to_vec())
        }
        Item::Ping(payload) => Owned::Ping(payload.to_vec()),
        Item::Pong(payload) => Owned::Pong(payload.to_vec()),
        Item::Close(close) => Owned::Close(close.map(own_close)),
    }
}

fn own_close(close: CloseFrame<'_>) -> (u16, String) {
    (close.code, close.reason.to_owned())
}
