//! A client of a transcript: what the server sent it, and how far it has read.

use crate::shard_transcripts::words::words;
use crate::sim::wire::{self, Item};
use broker_core::id::{NodeId, SessionKey};
use broker_core::machine::{FailedPass, Input, PassFailure, Peer};
use broker_core::shard::Letter;

/// The origin of a connection: a client, without TLS.
pub(crate) fn peer() -> Peer {
    Peer {
        remote: ([127, 0, 0, 1], 4000).into(),
        listener: 0,
        tls: false,
        inner: false,
    }
}

/// The socket accepted `bytes` of a session, without TLS.
pub(crate) fn sent(session: SessionKey, bytes: usize) -> Input<'static, Letter> {
    let on_wire = bytes;
    Input::Sent {
        session,
        bytes,
        on_wire,
    }
}

/// A connection is gone; its peer did not acknowledge the last `unacknowledged` bytes.
pub(crate) fn gone(session: SessionKey, unacknowledged: u32) -> Input<'static, Letter> {
    Input::Gone {
        session,
        unacknowledged,
    }
}

/// A request that could not be passed on comes back, with these bytes unsent.
pub(crate) fn failed(node: NodeId, why: PassFailure, unsent: Vec<u8>) -> FailedPass {
    FailedPass { node, why, unsent }
}

/// One connection of a transcript.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) shard: usize,
    pub(crate) key: SessionKey,
    /// Bytes that the server sent, how many of them were read, and whether they are frames.
    pub(crate) stream: Vec<u8>,
    pub(crate) read: usize,
    pub(crate) upgraded: bool,
    /// The machine announced that it has something to send, and it was not all taken.
    pub(crate) announced: bool,
    pub(crate) stalled: bool,
    pub(crate) ending: bool,
    pub(crate) over: bool,
    /// Bytes sent and not acknowledged since the client's machine was cut off.
    pub(crate) cut: Option<u32>,
}

impl Client {
    /// A connection that has said nothing, on shard 0.
    pub(crate) fn new(name: &str, key: SessionKey) -> Self {
        Self {
            name: name.to_owned(),
            key,
            ..Self::default()
        }
    }

    /// Returns the items that it has received whole and that were not returned before.
    pub(crate) fn reads(&mut self) -> Vec<String> {
        let mut received = Vec::new();
        while let Some(end) = whole(&self.stream[self.read..], self.upgraded) {
            let end = self.read + end;
            let item = wire::read(&self.stream[..end], self.read, self.upgraded).remove(0);
            self.read = item.end;
            if let Item::Response(response) = &item.item {
                self.upgraded |= response.status == 101;
            }
            received.push(format!("{} < {}", self.name, words(&item.item)));
        }
        received
    }
}

/// The length of the first thing, if all of it has come.
fn whole(bytes: &[u8], upgraded: bool) -> Option<usize> {
    let length = if upgraded {
        let head = if *bytes.get(1)? == 126 { 4 } else { 2 };
        let long = || {
            Some(usize::from(u16::from_be_bytes([
                *bytes.get(2)?,
                *bytes.get(3)?,
            ])))
        };
        head + if head == 4 {
            long()?
        } else {
            usize::from(bytes[1])
        }
    } else {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let text = std::str::from_utf8(&bytes[..head]).expect("ASCII");
        let length = text.split("Content-Length: ").nth(1);
        head + length.map_or(0, |rest| {
            rest.split('\r')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a number")
        })
    };
    (bytes.len() >= length).then_some(length)
}
