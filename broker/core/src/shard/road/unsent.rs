//! Handles messages that did not reach a connection's peer. They become pending again, and are then delivered to the
//! connection that holds the slot.

use crate::channel::Towards;
use crate::channel::pending::{KeyName, Message};
use crate::event::{Kind, Outcome};
use crate::id::{Account, ChannelKey, SessionKey};
use crate::journal::ConnectionEnd;
use crate::presence::PresenceCause;
use crate::session::NEVER;
use crate::session::outbox::Unsent;
use crate::session::web_socket::{Role, viewer_of};
use crate::shard::Directory;
use crate::shard::calls::home;
use crate::shard::context::Context;
use crate::shard::directory::pending::KeptGroup;
use crate::shard::flight_recorder::{NotedMessage, Passage};
use crate::shard::road::delivery::{kept_message, mark_of_kept};
use crate::shard::state::State;
use crate::shard::todo::{Gone, Left, Membership, Todo};
use std::rc::Rc;

/// Handles a WebSocket connection that has left its channel or was replaced. Returns the connection that regains the
/// slot, if any.
pub(crate) fn left(directory: &mut Directory, cx: &mut Context, left: &Left) -> Option<SessionKey> {
    let Left { member, end, .. } = left;
    let (key, is_master) = (member.channel, member.role == Role::Master);
    let mut returning = None;
    if let Some(end) = end {
        cx.note(key).left(member, end);
        returning = directory.leave_slot(left, cx.at.now);
        if is_master && let Some(live) = directory.live_mut(key) {
            // Forget which offers this connection has received.
            let calls = live.calls.iter_mut();
            calls.for_each(|call| call.had.retain(|had| *had != member.session));
        }
    }
    cx.todo.push(Todo::Arm(key));
    let Some(returned) = &left.returned else {
        return returning;
    };
    if is_master {
        directory.offers_lost_their_master(member, &returned.unsent);
    }
    if returned.begun.is_some() || returned.unconfirmed {
        directory.hold_slot(member, returned.begun.unwrap_or(NEVER));
    }
    returning
}

/// Releases the slot that was held for a connection until the outcome of its messages was known. Delivers the messages
/// that became pending in the meantime to the slot's new holder.
pub(crate) fn release_slot(directory: &mut Directory, cx: &mut Context, by: &Membership) {
    let members = directory.members_mut(by.channel);
    if members.is_some_and(|members| members.release(by.session)) {
        cx.todo.push(Todo::Deliver(by.channel, by.role.clone()));
        cx.todo.push(Todo::Arm(by.channel));
        directory.rest(by.channel);
    }
}

/// Counts and logs a WebSocket connection that has closed, and releases its slot.
pub(crate) fn gone(directory: &mut Directory, cx: &mut Context, gone: &mut Gone) {
    release_slot(directory, cx, &gone.member);
    let Some(tally) = gone.tally else { return };
    let known = match directory.channel(gone.member.channel) {
        Some(channel) => {
            let arn = &channel.record.arn;
            Some((Account::of(arn), Box::from(arn.name())))
        }
        None => directory.former_channel(gone.member.channel),
    };
    let (account, name) = known.unzip();
    let end = ConnectionEnd {
        role: gone.member.role.on_wire(),
        client_id: gone.member.role.client_id().map(Box::from),
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
    cx.telemetry.journal().ended(cx.at.now, end.account, end);
}

/// Counts and records the messages taken back from a connection. Returns the ones that become pending again, with the
/// viewer of each.
fn returned(shard: &mut State, of: &Membership, unsent: Vec<Unsent>) -> Vec<(Rc<str>, Message)> {
    let (from, key, role) = (of.session, of.channel, &of.role);
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
        if launch.call {
            // If the offer was written, it need not be returned, because the call still contains it for the next
            // master.
            if !written {
                directory.offer_returns(cx, of, &launch);
            }
            continue;
        }
        if !launch.counted {
            continue; // a copy, whose original has its own outcome
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
        let passed = NotedMessage::of(&message, Towards::to(role), passage);
        cx.note(key).went(passed, &viewer, Some(from));
        messages.push((viewer, message));
    }
    messages
}

/// Makes the messages taken back from a connection pending again. If another connection holds the slot, delivers them
/// to it.
pub(crate) fn give_back(shard: &mut State, of: &Membership, unsent: Vec<Unsent>) {
    let (key, role) = (of.channel, &of.role);
    if unsent.is_empty() {
        return;
    }
    let mut messages = returned(shard, of, unsent);
    let (sockets, directory, cx, ..) = shard.parts();
    let towards = Towards::to(role);
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
        // The caller of the viewer that sent the messages, if the viewer is still connected.
        let caller = || {
            let session = directory.live(key)?.members.viewer(&viewer)?;
            sockets.session(session)?.open()?.caller
        };
        let name = KeyName {
            towards,
            viewer: &viewer,
            caller: (towards == Towards::Master).then(caller).flatten(),
        };
        let mine = mine.into_iter().map(|(_, message)| message).collect();
        directory.put_back(cx, key, name, mine);
    }
    if *role == Role::Master {
        directory.changed(key, (PresenceCause::Waiting, None));
    }
    cx.todo.push(Todo::Deliver(key, role.clone()));
    cx.todo.push(Todo::Arm(key));
}

/// Moves all pending messages for a role to the outbox of the connection that holds the role's slot, oldest first. For
/// the master, also sends the offers of pending calls.
///
/// No limit is checked, because an empty outbox has room for all messages that may be pending. If the peer does not
/// read them, the next message disconnects it.
pub(crate) fn deliver_kept(shard: &mut State, channel: ChannelKey, role: Role) {
    if let Some(to) = current(shard, channel, role) {
        for group in shard.directory.take_kept(&mut shard.cx, &to) {
            push_kept(shard, &to, group);
        }
        end_kept(shard, &to);
    }
}

/// Completes the delivery of a role's pending messages: appends the remaining call offers, and flushes the outbox.
pub(crate) fn end_kept(shard: &mut State, to: &Membership) {
    if to.role == Role::Master {
        home::give_offers(shard, to.channel, u64::MAX);
    }
    let (sockets, _, cx, _) = shard.parts();
    sockets.prove(cx, to.session);
    sockets.touch(to.session);
}

/// Returns the connection that currently holds a role's slot, if it is open.
pub(crate) fn current(shard: &State, channel: ChannelKey, role: Role) -> Option<Membership> {
    let members = &shard.directory.live(channel)?.members;
    let session = match &role {
        Role::Master => members.to_master()?,
        Role::Viewer(id) => members.to_viewer(id)?,
    };
    shard.sockets.session(session)?.open()?;
    Some(Membership {
        session,
        channel,
        role,
    })
}

/// Moves a group of pending messages to the recipient's outbox. If the recipient is a master, first sends the call
/// offers that precede the group.
pub(crate) fn push_kept(shard: &mut State, to: &Membership, (rank, messages): KeptGroup) {
    let &Membership {
        session: to,
        channel,
        ref role,
    } = to;
    if *role == Role::Master {
        home::give_offers(shard, channel, rank);
    }
    let (sockets, _, cx, _) = shard.parts();
    for message in messages {
        let viewer = viewer_of(role, &message.frame, message.sender_bytes);
        if sockets.excess_for(to, message.frame.len()) > 0 {
            let passed = NotedMessage::of(&message, Towards::to(role), Passage::Evicted);
            cx.note(channel).went(passed, viewer, None);
            cx.telemetry
                .count_kept_ended(Kind::Known(message.action), Outcome::Evicted);
            continue;
        }
        let passed = NotedMessage::of(&message, Towards::to(role), Passage::Delivered);
        cx.note(channel).went(passed, viewer, Some(to));
        let Some(pushed) = sockets.push_kept(to, mark_of_kept(&message), &message.frame) else {
            return;
        };
        cx.telemetry.count_unkept();
        cx.telemetry.count_queued(pushed);
    }
}
