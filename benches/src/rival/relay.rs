//! A relay's work on a message, without sockets, built from common libraries. It uses tungstenite for frames,
//! serde_json for parsing and serialising, a hash map of recipients, and one outbox per recipient.

use crate::rival::serde_json::SerdeJson;
use crate::rival::tungstenite::{Pipe, Tungstenite};
use crate::rival::{Decode, Parse};
use codec::signal::Delivery;
use std::collections::HashMap;
use tungstenite::WebSocket;

/// The connection of one master, and the outboxes of its viewers.
#[derive(Debug)]
pub struct Relay {
    master: Tungstenite<WebSocket<Pipe>>,
    writer: SerdeJson,
    outboxes: HashMap<String, Vec<u8>>,
}

impl Relay {
    /// Name of the relay in benchmark groups.
    pub const LIBRARY: &'static str = "tungstenite+serde_json";

    /// Creates a channel with a master and these viewers. Each read from the master returns `read`, whose messages are
    /// addressed to the viewers.
    #[must_use]
    pub fn new(read: &[u8], viewers: &[String]) -> Self {
        let outbox = |viewer: &String| (viewer.clone(), Vec::new());
        Self {
            master: Decode::new(read),
            writer: Parse::new(),
            outboxes: viewers.iter().map(outbox).collect(),
        }
    }

    /// Handles one read and appends each message to the outbox of its recipient. Messages to unknown recipients are
    /// dropped.
    pub fn relay(&mut self) {
        let Self {
            master,
            writer,
            outboxes,
        } = self;
        master.messages(|text| {
            SerdeJson::parse_str(text, |request| {
                let recipient = request.recipient.map_or("", |id| id.as_str());
                if let Some(outbox) = outboxes.get_mut(recipient) {
                    let delivery = Delivery {
                        action: request.action,
                        payload: request.payload,
                        sender: None,
                    };
                    writer.write(&delivery, outbox);
                }
            });
        });
    }

    /// Passes a viewer's pending output to `see` and then clears it. Returns `None` if there is no such viewer.
    pub fn flush<T>(&mut self, viewer: &str, see: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let outbox = self.outboxes.get_mut(viewer)?;
        let seen = see(outbox);
        outbox.clear();
        Some(seen)
    }
}
