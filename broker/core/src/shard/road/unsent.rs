//! What a connection did not send: back to where undelivered messages are kept, and from there to the slot's current
//! connection.

use super::kept;
use super::kept::Lost;
use crate::channel::{Channel, KeyName, Message, Towards};
use crate::event::{Kind, Outcome};
use crate::id::{CallerId, ChannelKey, SessionKey};
use crate::session::{Launch, Load, Role, SessionState, Unsent};
use crate::shard::books::Books;
use crate::shard::books::recorder::{Passage, Passed};
use crate::shard::calls::alexa;
use crate::shard::dev::faults::{self, Deliveries};
use crate::shard::directory::Directory;
use crate::shard::end::leave;
use crate::shard::sockets::Sockets;
use crate::time::Moment;
use std::collections::VecDeque;
use std::rc::Rc;

/// Takes back what no byte of has left a connection that is no longer its slot's.
pub(in crate::shard) fn take_back(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    channel: ChannelKey,
    role: &Role,
    at: Moment,
) {
    let until = sockets
        .waits_from(at)
        .after(sockets.settings.timeouts.close_ms);
    let Some(session) = sockets.sessions.get_mut(key) else {
        return;
    };
    let before = session.outbox.load().messages;
    let unsent = session.outbox.take_unsent(&mut sockets.scratch.spares);
    // An edge that finds nothing to send reports nothing: what is queued later is to be announced again.
    session.dirty &= !session.outbox.unsent().is_empty();
    let freed = Load {
        messages: before - session.outbox.load().messages,
        control: 0,
    };
    if session.outbox.has_messages()
        && let Some(channel) = directory.channels.get_mut(channel)
    {
        let members = &mut channel.wake().members;
        members.hold(leave::slot_of(role), key, until);
    }
    books.unload(freed);
    sockets.weigh(key);
    give_back(sockets, directory, books, key, channel, role, unsent, at);
    leave::arm_channel(sockets, directory, channel, at);
}

/// A connection that lost its slot has handed over what it had begun: what was kept meanwhile goes to the slot's
/// current connection.
pub(in crate::shard) fn release_slot(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    by: SessionKey,
    at: Moment,
) {
    let was = match sockets.sessions.get(by).map(|session| &session.state) {
        Some(SessionState::Open(ws)) => Some((ws.channel, ws.role.clone())),
        Some(SessionState::AwaitCloseEcho(ws, _)) => Some((ws.channel, ws.role.clone())),
        Some(SessionState::AwaitGone(ending)) => ending.was.clone(),
        Some(SessionState::Http(_)) | None => None,
    };
    let Some((channel, role)) = was else { return };
    let live = directory
        .channels
        .get_mut(channel)
        .and_then(Channel::live_mut);
    if live.is_some_and(|live| live.members.release(by)) {
        deliver_kept(sockets, directory, books, channel, &role, at);
        if let Some(channel) = directory.channels.get_mut(channel) {
            channel.rest();
        }
    }
}

/// Puts messages of `from` back where undelivered ones are kept; the slot's current connection, if any, gets them from
/// there.
pub(in crate::shard) fn give_back(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    from: SessionKey,
    key: ChannelKey,
    role: &Role,
    unsent: Vec<Unsent>,
    at: Moment,
) {
    if unsent.is_empty() {
        return;
    }
    let mut messages: Vec<(Rc<str>, Message)> = Vec::new();
    for Unsent { launch, frame } in unsent {
        if launch.counted {
            books.counters.outbox_messages -= 1;
        }
        if launch.call {
            alexa::offer_came_back(directory, books, key, from, &launch);
            continue;
        }
        if !launch.counted {
            continue; // the copy of a message that has its own outcome
        }
        let viewer: Rc<str> = match role {
            Role::Viewer(id) => id.clone(),
            Role::Master => viewer_of(role, &frame, launch.sender_bytes).into(),
        };
        let message = kept_message(launch, frame);
        let passed = Passed::of(&message, towards(role), Passage::Returned);
        (books.recorder).went(at, key, passed, &viewer, Some(from));
        messages.push((viewer, message));
    }
    let towards = towards(role);
    if directory.channels.get(key).is_none() {
        for (_, message) in &messages {
            books
                .counters
                .end(Kind::Known(message.action), Outcome::Withdrawn);
        }
        return;
    }
    while let Some((viewer, _)) = messages.first() {
        let viewer = viewer.clone();
        let (mine, others): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|(other, _)| *other == viewer);
        messages = others;
        let name = KeyName {
            towards,
            viewer: &viewer,
            caller: caller_of(sockets, directory, key, towards, &viewer),
        };
        let mine = mine.into_iter().map(|(_, message)| message).collect();
        kept::put_back(directory, books, key, name, mine, at);
    }
    deliver_kept(sockets, directory, books, key, role, at);
    leave::arm_channel(sockets, directory, key, at);
}

/// The caller of messages that come back, as long as their viewer is connected.
fn caller_of(
    sockets: &Sockets,
    directory: &Directory,
    key: ChannelKey,
    towards: Towards,
    viewer: &str,
) -> Option<CallerId> {
    if towards == Towards::Viewer {
        return None;
    }
    let live = directory.channels.get(key)?.live()?;
    let session = sockets.sessions.get(live.members.viewer(viewer)?)?;
    session.open()?.caller
}

/// Moves what is kept for a role into its current connection's outbox, oldest first; to a master also the offers of
/// waiting calls.
///
/// No bound is looked at: a whole pending store fits an empty outbox, and a peer that does not read is cut off by the
/// next message.
pub(in crate::shard) fn deliver_kept(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    role: &Role,
    at: Moment,
) {
    let Some(live) = directory.channels.get_mut(key).and_then(Channel::live_mut) else {
        return;
    };
    let to = match role {
        Role::Master => live.members.to_master(),
        Role::Viewer(id) => live.members.to_viewer(id),
    };
    let Some(to) = to else { return };
    let before = live.pending.bytes();
    live.pending.expire(at.now, |towards, viewer, message| {
        kept::drop_kept(books, (key, towards, viewer), message, Lost::Expired, at);
    });
    let groups = match role {
        Role::Master => live.pending.take_for_master(),
        Role::Viewer(id) => vec![(0, live.pending.take(Towards::Viewer, id))],
    };
    kept::kept_changed(directory, books, key, before);
    let Deliveries { groups, twice } = if sockets.dev.faults.is_some() {
        faults::on_kept(sockets, directory, books, (key, to, role), groups, at)
    } else {
        let twice = Vec::new();
        Deliveries { groups, twice }
    };
    for (rank, messages) in groups {
        if *role == Role::Master {
            alexa::give_offers(sockets, directory, books, key, rank);
        }
        let whose = (key, role);
        push_kept(sockets, books, to, whose, (messages, &twice), at);
    }
    if *role == Role::Master {
        alexa::give_offers(sockets, directory, books, key, u64::MAX);
    }
    sockets.touch(to);
}

fn push_kept(
    sockets: &mut Sockets,
    books: &mut Books,
    to: SessionKey,
    (channel, role): (ChannelKey, &Role),
    (messages, twice): (VecDeque<Message>, &[u64]),
    at: Moment,
) {
    for message in messages {
        let Some(session) = sockets.sessions.get_mut(to) else {
            return;
        };
        let passed = Passed::of(&message, towards(role), Passage::Delivered);
        let viewer = viewer_of(role, &message.frame, message.sender_bytes);
        (books.recorder).went(at, channel, passed, viewer, Some(to));
        let Message {
            action,
            expires,
            order,
            sender_bytes,
            frame,
        } = message;
        let launch = Launch {
            action,
            expires,
            order,
            sender_bytes,
            call: false,
            counted: true,
            accepted_us: None,
        };
        let pushed = session
            .outbox
            .push_message(&mut sockets.scratch.spares, launch, |out| {
                out.extend_from_slice(&frame)
            });
        books.counters.outbox_bytes += pushed as u64;
        books.counters.pending_messages -= 1;
        books.counters.outbox_messages += 1;
        if twice.contains(&order) {
            faults::push_copy(sockets, books, to, launch, frame.len(), |out| {
                out.extend_from_slice(&frame)
            });
        }
    }
    sockets.weigh(to);
}

/// Which way messages for a role go.
pub(in crate::shard) fn towards(role: &Role) -> Towards {
    match role {
        Role::Master => Towards::Master,
        Role::Viewer(_) => Towards::Viewer,
    }
}

/// Which way messages of a role go.
pub(in crate::shard) fn away_from(role: &Role) -> Towards {
    match role {
        Role::Master => Towards::Viewer,
        Role::Viewer(_) => Towards::Master,
    }
}

/// The viewer at the other end of a message for `role`, or at this one. In a frame for a master the sender's id is
/// before the closing quote and brace.
pub(in crate::shard) fn viewer_of<'a>(
    role: &'a Role,
    frame: &'a [u8],
    sender_bytes: u16,
) -> &'a str {
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

/// What is kept of a message until its recipient connects.
pub(in crate::shard) fn kept_message(launch: Launch, frame: Box<[u8]>) -> Message {
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
