//! The work of a relay made of well-known parts on a message, without sockets: tungstenite's frames, serde_json's
//! parser and serializer, a hash map of recipients, an outbox each.

use crate::rival::serde_json::SerdeJson;
use crate::rival::tungstenite::{Pipe, Tungstenite};
use crate::rival::{Decode, Parse};
use codec::signal::Delivery;
use std::collections::HashMap;
use tungstenite::WebSocket;

/// One master's connection, and the outboxes of its viewers.
#[derive(Debug)]
pub struct Relay {
    master: Tungstenite<WebSocket<Pipe>>,
    writer: SerdeJson,
    outboxes: HashMap<String, Vec<u8>>,
}

impl Relay {
    /// The relay's name in groups.
    pub const LIBRARY: &'static str = "tungstenite+serde_json";

    /// A channel whose master sends `read` with each read, to one of these viewers.
    #[must_use]
    pub fn new(read: &[u8], viewers: &[String]) -> Self {
        let outbox = |viewer: &String| (viewer.clone(), Vec::new());
        Self {
            master: Decode::new(read),
            writer: Parse::new(),
            outboxes: viewers.iter().map(outbox).collect(),
        }
    }

    /// Handles one read and moves each message into its recipient's outbox. A recipient that is not there gets
    /// nothing.
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

    /// Shows what waits for a viewer, and empties it.
    pub fn flush<T>(&mut self, viewer: &str, see: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let outbox = self.outboxes.get_mut(viewer)?;
        let seen = see(outbox);
        outbox.clear();
        Some(seen)
    }
}
