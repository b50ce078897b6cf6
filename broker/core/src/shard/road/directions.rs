//! The directions of messages: to and from a role, and the viewer at the other end.

use crate::channel::Towards;
use crate::channel::members::Slot;
use crate::channel::pending::Message;
use crate::session::outbox::Launch;
use crate::session::web_socket::Role;

/// The members' slot of a role.
pub(crate) fn slot_of(role: &Role) -> Slot {
    match role {
        Role::Master => Slot::Master,
        Role::Viewer(id) => Slot::Viewer(id.clone()),
    }
}

/// The direction of messages for a role.
pub(crate) fn towards(role: &Role) -> Towards {
    match role {
        Role::Master => Towards::Master,
        Role::Viewer(_) => Towards::Viewer,
    }
}

/// The direction of messages of a role.
pub(crate) fn away_from(role: &Role) -> Towards {
    match role {
        Role::Master => Towards::Viewer,
        Role::Viewer(_) => Towards::Master,
    }
}

/// The viewer at the other end of a message for `role`, or at this one. In a frame for a master the sender's id is
/// before the closing quote and brace.
pub(crate) fn viewer_of<'a>(role: &'a Role, frame: &'a [u8], sender_bytes: u16) -> &'a str {
    if let Role::Viewer(id) = role {
        return id;
    }
    let end = frame.len().saturating_sub(2);
    let begin = end.saturating_sub(usize::from(sender_bytes));
    frame
        .get(begin..end)
        .and_then(|id| std::str::from_utf8(id).ok())
        .unwrap_or_default()
}

/// A message as it is kept until its recipient connects.
pub(crate) fn kept_message(launch: Launch, frame: Box<[u8]>) -> Message {
    let Launch {
        action,
        expires,
        order,
        sender_bytes,
        call: _,
        counted: _,
        accepted_us: _,
    } = launch;
    Message {
        action,
        expires,
        order,
        sender_bytes,
        frame,
    }
}

/// A message that was kept, on its way to its recipient.
pub(crate) fn kept_launch(message: &Message) -> Launch {
    Launch {
        action: message.action,
        expires: message.expires,
        order: message.order,
        sender_bytes: message.sender_bytes,
        call: false,
        counted: true,
        accepted_us: None,
    }
}
