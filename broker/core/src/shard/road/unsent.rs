//! Unsent messages of a connection, which are returned to the pending store and sent from there to the slot's current
//! connection.

use crate::channel::members::Leaver as SlotLeaver;
use crate::channel::pending::{KeyName, Message};
use crate::channel::{Channel, Towards};
use crate::event::{Kind, Outcome};
use crate::id::{Account, ChannelKey, SessionKey};
use crate::journal::{ConnectionEnd, EndReason};
use crate::session::NEVER;
use crate::session::outbox::Unsent;
use crate::session::web_socket::{Role, Tally, viewer_of};
use crate::shard::calls::home;
use crate::shard::context::Context;
use crate::shard::flight_recorder::{NotedLeaver, NotedMessage, Passage};
use crate::shard::road::in_flight::{kept_message, mark_of_kept, slot_of, towards};
use crate::shard::state::State;
use crate::shard::todo::{Gone, Left, Todo};
use crate::shard::{Directory, Sockets};
use crate::{limits::BRIEF_MS, presence::PresenceCause};
use std::collections::VecDeque;
use std::rc::Rc;

impl Directory {
    /// Handles a WebSocket that has left its channel or lost its slot. Returns the connection that regains the slot, if
    /// any.
    pub(crate) fn left(&mut self, cx: &mut Context, left: &Left) -> Option<SessionKey> {
        let (key, role) = (left.channel, &left.role);
        let mut returning = None;
        if let Some(end) = &left.end {
            let leaver = NotedLeaver {
                session: left.session,
                role,
                remote: end.remote,
                opened: end.opened,
                reason: end.reason,
            };
            cx.telemetry.note().left(cx.at, key, &leaver);
            let leaving = SlotLeaver {
                session: left.session,
                // The slot of one that made room is free: nobody has it again.
                brief: !end.heard
                    && cx.at.now.since(end.opened) <= BRIEF_MS
                    && end.reason != EndReason::MadeRoom,
                spoke: end.spoke,
            };
            returning =
                self.leave_slot(key, &slot_of(role), (leaving, Some(end.reason)), left.from);
            if *role == Role::Master {
                self.forget_master(key, left.session);
            }
        }
        cx.todo.push(Todo::Arm(key));
        let Some(returned) = &left.returned else {
            return returning;
        };
        if *role == Role::Master {
            self.offers_lost_their_master(key, left.session, &returned.unsent);
        }
        if returned.begun.is_some() || returned.unconfirmed {
            let until = returned.begun.unwrap_or(NEVER);
            self.hold_slot(key, slot_of(role), left.session, until);
        }
        returning
    }

    /// Releases the slot held by a superseded connection once its partly sent message is complete. Messages that became
    /// pending meanwhile are sent to the slot's current connection.
    pub(crate) fn release_slot(&mut self, cx: &mut Context, by: &Recipient<'_>) {
        if self.free_slot(by.channel, by.session) {
            cx.todo.push(Todo::Deliver(by.channel, by.role.clone()));
            cx.todo.push(Todo::Arm(by.channel));
            self.rest(by.channel);
        }
    }

    /// Handles a WebSocket connection that is gone: counts and logs its end, and releases its slot.
    pub(crate) fn gone(&mut self, cx: &mut Context, gone: &mut Gone) {
        if let Some(tally) = gone.tally {
            self.note_end(cx, gone, &tally);
        }
        let &mut Gone {
            session,
            channel,
            ref role,
            ..
        } = gone;
        let by = Recipient {
            session,
            channel,
            role,
        };
        self.release_slot(cx, &by);
    }

    /// Counts and logs the end of a WebSocket connection.
    fn note_end(&mut self, cx: &mut Context, gone: &mut Gone, tally: &Tally) {
        let known = match self.channel(gone.channel) {
            Some(channel) => {
                let arn = &channel.record.arn;
                Some((Account::of(arn), Box::from(arn.name())))
            }
            None => self.former_channel(gone.channel),
        };
        let (account, name) = known.unzip();
        let end = ConnectionEnd {
            role: gone.role.on_wire(),
            client_id: gone.role.client_id().map(Box::from),
            channel: name,
            account: account.unwrap_or(Account(0)),
            remote: gone.peer.remote,
            duration_ms: cx.at.now.since(tally.opened),
            messages_in: tally.messages_in,
            messages_out: tally.messages_out,
            returned: gone.returned,
            offered_ms: tally.offered_ms(),
            answered_ms: tally.answered_ms(),
            reason: gone.reason,
            refused_by: gone.refused_by.take(),
        };
        cx.telemetry.count_connection_end(account, &end);
        let account = account.unwrap_or(Account(0));
        cx.telemetry.journal().ended(cx.at.now, account, end);
    }
}

/// Counts and notes messages returned by a connection. Returns those that have no outcome yet, with their viewers.
fn returned(shard: &mut State, of: &Recipient<'_>, unsent: Vec<Unsent>) -> Vec<(Rc<str>, Message)> {
    let &Recipient {
        session: from,
        channel: key,
        role,
    } = of;
    let State { directory, cx, .. } = shard;
    let mut messages = Vec::<(Rc<str>, Message)>::new();
    for Unsent {
        launch,
        written,
        frame,
    } in unsent
    {
        match written {
            true if launch.counted => cx.telemetry.count_returned(),
            false if launch.counted => cx.telemetry.count_taken_back(),
            true | false => {}
        }
        if launch.call && written {
            continue; // its call gives it to the next master
        }
        if launch.call {
            directory.offer_came_back(cx, key, from, &launch);
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
        let passage = match written {
            true => Passage::Unconfirmed,
            false => Passage::Returned,
        };
        let passed = NotedMessage::of(&message, towards(role), passage);
        cx.telemetry
            .note()
            .went(cx.at, key, passed, &viewer, Some(from));
        messages.push((viewer, message));
    }
    messages
}

/// Returns a connection's messages to the pending store, from which they are sent to the slot's current connection, if
/// any.
pub(crate) fn give_back(shard: &mut State, of: &Recipient<'_>, unsent: Vec<Unsent>) {
    let &Recipient {
        channel: key, role, ..
    } = of;
    if unsent.is_empty() {
        return;
    }
    let mut messages = returned(shard, of, unsent);
    let (sockets, directory, cx, ..) = shard.parts();
    let towards = towards(role);
    if directory.channel(key).is_none() {
        for (_, message) in &messages {
            cx.telemetry
                .count_ended(Kind::Known(message.action), Outcome::Withdrawn);
        }
        return;
    }
    while let Some((viewer, _)) = messages.first() {
        let viewer = viewer.clone();
        let (mine, others): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|(other, _)| *other == viewer);
        messages = others;
        // The caller of the messages, if their viewer is still connected.
        let caller_of = |viewer: &str| {
            let live = directory.channel(key)?.live()?;
            let session = sockets.session(live.members.viewer(viewer)?)?;
            session.open()?.caller
        };
        let name = KeyName {
            towards,
            viewer: &viewer,
            caller: match towards {
                Towards::Viewer => None,
                Towards::Master => caller_of(&viewer),
            },
        };
        let mine = mine.into_iter().map(|(_, message)| message).collect();
        directory.put_back(cx, key, name, mine);
    }
    if *role == Role::Master {
        directory.changed(key, PresenceCause::Waiting, None);
    }
    cx.todo.push(Todo::Deliver(key, role.clone()));
    cx.todo.push(Todo::Arm(key));
}

/// Moves a role's pending messages into the outbox of its current connection, oldest first; for a master, also sends
/// the offers of pending calls.
///
/// No limit is checked: a full pending store fits into an empty outbox, and a peer that does not read is disconnected
/// by the next message.
pub(crate) fn deliver_kept(
    sockets: &mut Sockets,
    directory: &mut Directory,
    cx: &mut Context,
    whose: (ChannelKey, &Role),
) {
    let open = |session| sockets.web_socket(session).is_some();
    if let Some((to, groups)) = directory.take_for_current(cx, whose, open) {
        let (channel, role) = whose;
        let recipient = Recipient {
            session: to,
            channel,
            role,
        };
        for group in groups {
            push_kept(sockets, directory, cx, &recipient, group);
        }
        end_kept(sockets, directory, cx, &recipient);
    }
}

/// Completes the delivery of a role's pending messages by sending the last offers of calls and flushing the outbox.
pub(crate) fn end_kept(
    sockets: &mut Sockets,
    directory: &mut Directory,
    cx: &mut Context,
    recipient: &Recipient<'_>,
) {
    push_kept(sockets, directory, cx, recipient, LAST_OFFERS);
    sockets.prove(cx, recipient.session, cx.at.now);
    sockets.touch(recipient.session);
}

/// A connection that receives pending messages, and its slot.
pub(crate) struct Recipient<'a> {
    pub(crate) session: SessionKey,
    pub(crate) channel: ChannelKey,
    pub(crate) role: &'a Role,
}

/// A group of a role's pending messages, and its position in the order of acceptance.
type KeptGroup = (u64, VecDeque<Message>);

/// An empty group, ordered after all offers.
const LAST_OFFERS: KeptGroup = (u64::MAX, VecDeque::new());

impl Directory {
    /// Takes the pending messages of a role whose current connection is `open`; also returns that connection.
    pub(crate) fn take_for_current(
        &mut self,
        cx: &mut Context,
        (key, role): (ChannelKey, &Role),
        open: impl FnOnce(SessionKey) -> bool,
    ) -> Option<(SessionKey, Vec<KeptGroup>)> {
        let live = self.channel(key).and_then(Channel::live)?;
        let to = match role {
            Role::Master => live.members.to_master(),
            Role::Viewer(id) => live.members.to_viewer(id),
        };
        let to = to.filter(|to| open(*to))?;
        Some((to, self.take_kept(cx, key, &slot_of(role))))
    }
}

/// Moves pending messages into their recipient's outbox; for a master, they follow any offers that precede them.
pub(crate) fn push_kept(
    sockets: &mut Sockets,
    directory: &mut Directory,
    cx: &mut Context,
    recipient: &Recipient<'_>,
    (rank, messages): KeptGroup,
) {
    let &Recipient {
        session: to,
        channel,
        role,
    } = recipient;
    if *role == Role::Master {
        home::give_offers(sockets, directory, cx, channel, rank);
    }
    for message in messages {
        let viewer = viewer_of(role, &message.frame, message.sender_bytes);
        if sockets.excess_for(to, message.frame.len()) > 0 {
            let passed = NotedMessage::of(&message, towards(role), Passage::Evicted);
            cx.telemetry
                .note()
                .went(cx.at, channel, passed, viewer, None);
            cx.telemetry
                .count_kept_ended(Kind::Known(message.action), Outcome::Evicted);
            continue;
        }
        let passed = NotedMessage::of(&message, towards(role), Passage::Delivered);
        cx.telemetry
            .note()
            .went(cx.at, channel, passed, viewer, Some(to));
        let Some(pushed) = sockets.push_kept(to, mark_of_kept(&message), &message.frame) else {
            return;
        };
        cx.telemetry.count_unkept();
        cx.telemetry.count_queued(pushed);
    }
}
