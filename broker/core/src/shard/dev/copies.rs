//! The copies that are made of messages, for tests of clients: under `--dev` only.

use super::capture::{Captured, Fate};
use crate::channel::{Message, Towards};
use crate::id::SessionKey;
use crate::shard::books::Books;
use crate::shard::road::passing::Passing;
use crate::shard::sockets::Sockets;
use crate::shard::todo::{Todo, TodoList};
use crate::time::Moment;
use codec::signal::{Action, Delivery, Request};

/// A copy except its channel's name.
struct CopySource<'a> {
    towards: Option<Towards>,
    viewer: &'a str,
    action: Option<Action>,
    payload: &'a str,
    fate: Fate,
}

impl CopySource<'_> {
    fn of_channel(&self, name: &str, at: Moment) -> Captured {
        Captured {
            at: at.wall,
            channel: name.into(),
            towards: self.towards,
            viewer: self.viewer.into(),
            action: self.action,
            payload: self.payload.into(),
            fate: self.fate,
        }
    }
}

impl Passing<'_> {
    /// Hands a copy over, once it is known what becomes of the message. `channel`: its channel's name.
    pub(in crate::shard) fn copy(&self, books: &mut Books, channel: &str, fate: Fate, at: Moment) {
        let (towards, viewer) = match self.delivery.sender {
            Some(viewer) => (Towards::Master, viewer),
            None => (Towards::Viewer, self.recipient),
        };
        let source = CopySource {
            towards: Some(towards),
            viewer,
            action: Some(self.launch.action),
            payload: self.delivery.payload,
            fate,
        };
        books.copy(|| source.of_channel(channel, at), at);
    }
}

/// Hands over another copy of a message that was kept, which a fault drops in place of its delivery.
pub(in crate::shard) fn copy_dropped(
    books: &mut Books,
    (channel, towards, viewer): (&str, Towards, &str),
    message: &Message,
    at: Moment,
) {
    let source = CopySource {
        towards: Some(towards),
        viewer,
        action: Some(message.action),
        payload: Delivery::payload_of(&message.frame),
        fate: Fate::Dropped,
    };
    books.copy(|| source.of_channel(channel, at), at);
}

/// Leaves a copy of what went nowhere: too much of it, or not understood. The shard knows the channel's name.
#[cold]
pub(in crate::shard) fn copy_refused(
    sockets: &mut Sockets,
    todo: &mut TodoList,
    from: SessionKey,
    request: Option<&Request<'_>>,
    at: Moment,
) {
    let Some(web_socket) = sockets.web_socket(from) else {
        return;
    };
    let source = CopySource {
        towards: None,
        viewer: web_socket.role.client_id().unwrap_or_default(),
        action: request.map(|request| request.action),
        payload: request.map_or("", |request| request.payload),
        fate: request.map_or(Fate::Refused, |_| Fate::Throttled),
    };
    let copy = (web_socket.channel, source.of_channel("", at));
    todo.push(Todo::Copy(Box::new(copy)));
}
