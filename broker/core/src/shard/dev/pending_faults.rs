//! Faults of kept messages when their recipient has come: the same as of other deliveries.

use crate::channel::pending::Message;
use crate::event::{Kind, Outcome};
use crate::id::{ChannelKey, SessionKey};
use crate::limits::FAULT_REORDER_MS;
use crate::session::{outbox::DeliveryMark, web_socket::Role};
use crate::shard::Sockets;
use crate::shard::context::Context;
use crate::shard::dev::faults::{
    DeliveryAct, FaultAct, FaultCounts, HeldMessage, SessionAct, SharedRule, Subject,
};
use crate::shard::dev::message_faults::spoil;
use crate::shard::dev::observations;
use crate::shard::road::in_flight::{mark_of_kept, towards, viewer_of};
use crate::shard::road::unsent::{Recipient, end_kept, push_kept};
use crate::shard::state::State;
use crate::shard::todo::{Own, Todo};
use crate::time::Now;
use codec::signal::Delivery;
use std::collections::VecDeque;

/// Kept messages that go to their recipient, by the place of their group in the order of acceptance.
struct Deliveries {
    pub(crate) groups: Vec<(u64, VecDeque<Message>)>,
    /// Those that are sent twice, by their order.
    pub(crate) twice: Vec<u64>,
    /// The acts on the recipient's connection that follow.
    pub(crate) acts: Vec<SessionAct>,
}

/// The recipient of a delivery: its channel, connection and role.
type FaultRecipient<'a> = (ChannelKey, SessionKey, &'a Role);

/// Takes out what faults drop or hold back, and swaps what they reorder. `name`: that of the channel.
#[cold]
fn on_kept(
    sockets: &mut Sockets,
    cx: &mut Context,
    name: &str,
    to: FaultRecipient<'_>,
    groups: Vec<(u64, VecDeque<Message>)>,
) -> Deliveries {
    let mut deliveries = Deliveries {
        groups: Vec::with_capacity(groups.len()),
        twice: Vec::new(),
        acts: Vec::new(),
    };
    let mut behind: VecDeque<(Message, SharedRule)> = VecDeque::new();
    for (rank, messages) in groups {
        let mut going = VecDeque::with_capacity(messages.len());
        for mut message in messages {
            let act = act_on(sockets, name, to, &message, cx.at.now);
            let message = match act {
                Some((DeliveryAct::Drop, _)) => {
                    drop_kept(sockets, cx, name, to, &message);
                    continue;
                }
                Some((DeliveryAct::Duplicate, _)) => {
                    deliveries.twice.push(message.order);
                    going.push_back(message);
                    continue;
                }
                Some((DeliveryAct::Delay(ms), rule)) => {
                    match hold(
                        sockets,
                        to,
                        message,
                        cx.at.now.after(ms),
                        None,
                        &rule.counts,
                    ) {
                        Some(message) => message,
                        None => continue,
                    }
                }
                Some((DeliveryAct::Reorder, rule)) => {
                    behind.push_back((message, rule));
                    continue;
                }
                Some((DeliveryAct::Corrupt(part), _)) => {
                    spoil(&mut message.frame, part);
                    message
                }
                Some((DeliveryAct::Session(act), _)) => {
                    deliveries.acts.push(act);
                    message
                }
                None => message,
            };
            going.push_back(message);
            going.extend(behind.pop_front().map(|(message, _)| message));
        }
        deliveries.groups.push((rank, going));
    }
    // A message that none followed waits for one that is yet to come.
    let until = cx.at.now.after(FAULT_REORDER_MS);
    for (message, rule) in behind {
        let left = hold(sockets, to, message, until, Some(to.1), &rule.counts);
        if let Some((_, last)) = deliveries.groups.last_mut() {
            last.extend(left);
        }
    }
    deliveries
}

/// The act of the first rule that matches.
fn act_on(
    sockets: &Sockets,
    name: &str,
    (_, _, role): FaultRecipient<'_>,
    message: &Message,
    now: Now,
) -> Option<(DeliveryAct, SharedRule)> {
    let subject = Subject {
        channel: Some(name),
        role: Some(role.on_wire()),
        client_id: role.client_id(),
        operation: None,
        action: Some(message.action),
    };
    let deliveries = |act: &FaultAct| matches!(act, FaultAct::Delivery(_));
    let rule = sockets
        .dev()
        .faults
        .as_deref()?
        .pick(deliveries, &subject, now)?;
    match &rule.act {
        FaultAct::Delivery(act) => Some((act.clone(), rule)),
        FaultAct::Connect(_) | FaultAct::Api(_) | FaultAct::Message(_) | FaultAct::Session(_) => {
            None
        }
    }
}

fn drop_kept(
    sockets: &mut Sockets,
    cx: &mut Context,
    name: &str,
    (_, _, role): FaultRecipient<'_>,
    message: &Message,
) {
    cx.telemetry
        .count_kept_ended(Kind::Known(message.action), Outcome::Withdrawn);
    let viewer = viewer_of(role, &message.frame, message.sender_bytes);
    let whose = (name, towards(role), viewer);
    observations::copy_dropped(sockets, whose, message, cx.at);
}

/// Holds a message back; it stays in the gauge of pending ones. Returns it when there is no room.
fn hold(
    sockets: &mut Sockets,
    (channel, _, role): FaultRecipient<'_>,
    message: Message,
    until: Now,
    behind: Option<SessionKey>,
    counts: &FaultCounts,
) -> Option<Message> {
    let Some(faults) = sockets.dev_mut().faults.as_deref_mut() else {
        return Some(message);
    };
    let viewer = viewer_of(role, &message.frame, message.sender_bytes);
    let (viewer, recipient) = match role {
        Role::Master => (Some(viewer.into()), "".into()),
        Role::Viewer(id) => (None, (&**id).into()),
    };
    let held = HeldMessage {
        from: None,
        channel,
        viewer,
        launch: mark_of_kept(&message),
        payload: Delivery::payload_of(&message.frame).into(),
        recipient,
        behind,
    };
    let held = faults.held.hold(held, until, counts);
    (!held).then_some(message)
}

// The delivery of kept messages, with the faults of deliveries.

/// Moves what is kept for a role into its current connection's outbox, except what faults drop or hold back.
pub(crate) fn deliver_pending(shard: &mut State, whose: (ChannelKey, &Role)) {
    let (sockets, directory, cx, ..) = shard.parts();
    let open = |session| sockets.web_socket(session).is_some();
    let Some((to, groups)) = directory.take_for_current(cx, whose, open) else {
        return;
    };
    let (key, role) = whose;
    let channel = directory.channel(key);
    let name = channel.map_or("", |channel| channel.record.arn.name());
    let deliveries = on_kept(sockets, cx, name, (key, to, role), groups);
    let Deliveries {
        groups,
        twice,
        acts,
    } = deliveries;
    let recipient = Recipient {
        session: to,
        channel: key,
        role,
    };
    for (rank, messages) in groups {
        let mut run = VecDeque::new();
        for message in messages {
            let copy = twice.contains(&message.order).then(|| copy_of(&message));
            run.push_back(message);
            if let Some((launch, frame)) = copy {
                let group = (rank, std::mem::take(&mut run));
                push_kept(sockets, directory, cx, &recipient, group);
                let write = |out: &mut Vec<u8>| out.extend_from_slice(&frame);
                sockets.push_copy(cx, to, launch, frame.len(), write);
            }
        }
        push_kept(sockets, directory, cx, &recipient, (rank, run));
    }
    end_kept(sockets, directory, cx, &recipient);
    for act in acts {
        cx.todo.push(Todo::Double(Box::new(Own::Act(to, act))));
    }
}

/// A message as it is sent once more.
fn copy_of(message: &Message) -> (DeliveryMark, Box<[u8]>) {
    (mark_of_kept(message), message.frame.clone())
}
