//! Faults of kept messages when their recipient has come: the same as of other deliveries.

use crate::channel::pending::Message;
use crate::event::{Kind, Outcome};
use crate::id::{ChannelKey, SessionKey};
use crate::limits::FAULT_REORDER_MS;
use crate::session::web_socket::Role;
use crate::shard::books::Books;
use crate::shard::dev::copies;
use crate::shard::dev::faults::corrupt::spoil;
use crate::shard::dev::faults::held::HeldMessage;
use crate::shard::dev::faults::rule::{
    DeliveryAct, FaultAct, FaultCounts, SessionAct, SharedRule, Subject,
};
use crate::shard::road::directions::{kept_launch, towards, viewer_of};
use crate::shard::sockets::Sockets;
use crate::time::{Moment, Now};
use codec::signal::Delivery;
use std::collections::VecDeque;

/// Kept messages that go to their recipient, by the place of their group in the order of acceptance.
pub(crate) struct Deliveries {
    pub(crate) groups: Vec<(u64, VecDeque<Message>)>,
    /// Those that are sent twice, by their order.
    pub(crate) twice: Vec<u64>,
    /// The acts on the recipient's connection that follow.
    pub(crate) acts: Vec<SessionAct>,
}

/// The recipient of a delivery: its channel, connection and role.
type Recipient<'a> = (ChannelKey, SessionKey, &'a Role);

/// Takes out what faults drop or hold back, and swaps what they reorder. `name`: that of the channel.
#[cold]
pub(crate) fn on_kept(
    sockets: &mut Sockets,
    books: &mut Books,
    name: &str,
    to: Recipient<'_>,
    groups: Vec<(u64, VecDeque<Message>)>,
    at: Moment,
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
            let act = act_on(sockets, name, to, &message, at.now);
            let message = match act {
                Some((DeliveryAct::Drop, _)) => {
                    drop_kept(sockets, books, name, to, &message, at);
                    continue;
                }
                Some((DeliveryAct::Duplicate, _)) => {
                    deliveries.twice.push(message.order);
                    going.push_back(message);
                    continue;
                }
                Some((DeliveryAct::Delay(ms), rule)) => {
                    match hold(sockets, to, message, at.now.after(ms), None, &rule.counts) {
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
    let until = at.now.after(FAULT_REORDER_MS);
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
    (_, _, role): Recipient<'_>,
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
    books: &mut Books,
    name: &str,
    (_, _, role): Recipient<'_>,
    message: &Message,
    at: Moment,
) {
    books.count_kept_ended(Kind::Known(message.action), Outcome::Withdrawn);
    let viewer = viewer_of(role, &message.frame, message.sender_bytes);
    let whose = (name, towards(role), viewer);
    copies::copy_dropped(sockets, whose, message, at);
}

/// Holds a message back; it stays in the gauge of pending ones. Returns it when there is no room.
fn hold(
    sockets: &mut Sockets,
    (channel, _, role): Recipient<'_>,
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
        launch: kept_launch(&message),
        payload: Delivery::payload_of(&message.frame).into(),
        recipient,
        behind,
    };
    let held = faults.held.hold(held, until, counts);
    (!held).then_some(message)
}
